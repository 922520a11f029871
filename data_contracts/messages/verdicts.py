"""Why a version may not be promoted, served or judged, and whom a rollout waits for."""

_AGAIN = ("run ./tingsu retrain on its dataset again", "请在其数据集上重新运行 ./tingsu retrain")

TABLE: dict[str, tuple[str, str]] = {
    # a verdict that does not hold
    "verdict_not_promote": (
        "verdict on bundle {bundle} is {decision}, and only PROMOTE is served",
        "模型包 {bundle} 的裁决是 {decision}，只有 PROMOTE 可以上线服务",
    ),
    "verdict_not_promote.remedy": (
        "see ./tingsu why, or serve --evaluation on loopback",
        "原因见 ./tingsu why；或用 serve --evaluation 只在本机评测",
    ),
    "verdict_other_key": (
        "verdict on bundle {bundle} is not signed by the key this home trusts ({key}…)",
        "模型包 {bundle} 的裁决不是由本目录信任的密钥（{key}…）签名的",
    ),
    "verdict_other_key.remedy": (
        "run the gate again here, or install its gate.pub",
        "请在此重新运行门禁，或安装签名方的 gate.pub",
    ),
    "verdict_edited": (
        "verdict on bundle {bundle} was changed after it was signed",
        "模型包 {bundle} 的裁决在签名后被改动",
    ),
    "verdict_edited.remedy": ("run the gate again: ./tingsu retrain", "请重新运行门禁：./tingsu retrain"),
    "verdict_of_other": (
        "verdict on bundle {bundle} does not cover bundle {other}",
        "模型包 {bundle} 的裁决不适用于模型包 {other}",
    ),
    "verdict_of_other.remedy": (
        "each bundle needs a verdict of its own",
        "每个模型包都需要自己的裁决",
    ),
    "verdict_missing": ("bundle {bundle} has no verdict at {path}", "模型包 {bundle} 在 {path} 没有裁决"),
    "verdict_missing.remedy": (
        "make one: {command}, or serve --evaluation on loopback",
        "请先取得裁决：{command}；或用 serve --evaluation 只在本机评测",
    ),
    "verdict_unreadable": ("{path} is no verdict on such a bundle", "{path} 不是此类模型包的裁决"),
    "verdict_unreadable.remedy": ("make one: {command}", "请先取得裁决：{command}"),
    "verdict_none": (
        "version {version} (bundle {bundle}) has no verdict",
        "版本 {version}（模型包 {bundle}）没有裁决",
    ),
    "verdict_none.remedy": _AGAIN,
    "verdict_broken": ("the verdict of version {version} cannot be read", "版本 {version} 的裁决无法读取"),
    "verdict_broken.remedy": _AGAIN,
    "verdict_outdated": (
        "version {version} was judged on version {then} of the gold set of {family!r}, and version {today} ({rows} calls, made by {by_en}) "
        "counts now",
        "版本 {version} 是在 {family!r} 黄金集第 {then} 版上评判的，现在以第 {today} 版（{rows} 通，{by_zh}）为准",
    ),
    "verdict_outdated.remedy": (
        "have it and the champion judged on that: ./tingsu retrain --dataset {dataset}",
        "请让它与现役模型一同在新版上评判：./tingsu retrain --dataset {dataset}",
    ),
    "verdict_other_standard": (
        "version {version} was judged by another standard than the champion, version {champion}, was ({differences})",
        "版本 {version} 的评判标准与现役模型（版本 {champion}）当时的不同（{differences}）",
    ),
    "verdict_other_standard.remedy": (
        "if that is meant, say why, and the history keeps it: ./tingsu promote {version} --new-standard 'REASON'",
        "若确属有意，请说明原因，历史中会留存：./tingsu promote {version} --new-standard 'REASON'",
    ),
    "verdict_other_champion": (
        "version {version} was judged against champion bundle {judged}, but the champion is now version {champion} (bundle {bundle})",
        "版本 {version} 是与现役模型包 {judged} 比较评判的，而现役模型现为版本 {champion}（模型包 {bundle}）",
    ),
    "verdict_other_champion.remedy": (
        "judge it again: `./tingsu retrain` on its dataset",
        "请重新评判：在其数据集上运行 `./tingsu retrain`",
    ),
    "verdict_no_champion": (
        "version {version} was judged against no champion, but the champion is now version {champion} (bundle {bundle})",
        "版本 {version} 评判时没有现役模型，而现役模型现为版本 {champion}（模型包 {bundle}）",
    ),
    "verdict_no_champion.remedy": (
        "judge it again: `./tingsu retrain` on its dataset",
        "请重新评判：在其数据集上运行 `./tingsu retrain`",
    ),
    "verdict_other_settings": (
        "version {version} was judged under profile {profile!r} and thresholds {thresholds}, today's are {profile_now!r} and "
        "{thresholds_now} (--profile and --set count)",
        "版本 {version} 是按配置 {profile!r}、阈值 {thresholds} 评判的，"
        "今天是 {profile_now!r}、{thresholds_now}（--profile 和 --set 也算）",
    ),
    "verdict_other_settings.remedy": (
        "judge it again under today's: ./tingsu gate {version} --again",
        "请按今天的配置重新评判：./tingsu gate {version} --again",
    ),
    "verdict_in_future": (
        "the verdict of version {version} is of {at}, which is {ahead} in the future",
        "版本 {version} 的裁决时间是 {at}，比现在晚 {ahead}",
    ),
    "verdict_in_future.remedy": (
        "set this machine's clock, or judge it again: ./tingsu gate {version} --again",
        "请校准本机时钟，或重新评判：./tingsu gate {version} --again",
    ),
    # evidence
    "evidence_missing": (
        "the evidence of bundle {bundle}, {name}…, is missing",
        "模型包 {bundle} 的证据 {name}… 缺失",
    ),
    "evidence_missing.remedy": (
        "restore it from a backup, or judge again: ./tingsu retrain",
        "请从备份恢复，或重新评判：./tingsu retrain",
    ),
    "evidence_edited": (
        "the evidence of bundle {bundle}, {name}…, was edited after the verdict was signed",
        "模型包 {bundle} 的证据 {name}… 在裁决签名后被改动",
    ),
    "evidence_edited.remedy": (
        "restore it from a backup, or judge again: ./tingsu retrain",
        "请从备份恢复，或重新评判：./tingsu retrain",
    ),
    "evidence_old": (
        "the evidence is of another version of Tingsu",
        "证据来自另一版本的 Tingsu",
    ),
    "evidence_old.remedy": ("run ./tingsu retrain on its dataset", "请在其数据集上运行 ./tingsu retrain"),
    "evidence_report": (
        "report of hop {hop!r} says {name} {said}, its predictions give {value}",
        "环节 {hop!r} 的报告称 {name} 为 {said}，由预测计算得 {value}",
    ),
    "evidence_report.remedy": ("evaluate again", "请重新评测"),
    "evidence_other_gold": (
        "not comparable: {what} of the champion's report is {theirs}, the candidate's {ours}",
        "不可比较：现役模型报告的 {what} 为 {theirs}，候选模型的为 {ours}",
    ),
    "evidence_other_gold.remedy": (
        "score the champion again on the same gold calls and taxonomy",
        "请在同一批黄金集通话和同一分类表上重新评测现役模型",
    ),
    "evidence_leak": (
        "{count} {what_en} are on the {side} side too: gold leaked (gate.leak_jaccard)",
        "{side} 部分中也有 {count} 个{what_zh}：黄金集泄漏（gate.leak_jaccard）",
    ),
    "evidence_leak.remedy": ("split again, then train again", "请重新划分并重新训练"),
    "evidence_other_calls": (
        "the model was trained on other calls than the {side} side holds (file {read}, now {there}), so nobody can say that gold was not "
        "among them",
        "模型训练所用的通话与 {side} 部分现有的不同（当时文件 {read}，现为 {there}），无法确认其中没有黄金集通话",
    ),
    "evidence_other_calls.remedy": ("train again", "请重新训练"),
    "evidence_other_champion": (
        "version {version} was scored beside champion bundle {then}, today's is {today}, which has to answer the same gold calls first",
        "版本 {version} 评测时的现役模型包是 {then}，现在是 {today}，须先让它回答同一批黄金集通话",
    ),
    "evidence_other_champion.remedy": (
        "have both answer: ./tingsu retrain --dataset {dataset}",
        "请让两者一同评测：./tingsu retrain --dataset {dataset}",
    ),
    # the champion, and the way back
    "champion_by_hand": (
        "alias 'champion' of {name} is on version {version}, and no version was ever promoted here: it was moved by hand",
        "{name} 的别名 'champion' 指向版本 {version}，但这里从未晋级过任何版本：别名是手工改动的",
    ),
    "champion_by_hand.remedy": (
        "`./tingsu promote {version}` asks for its verdict",
        "`./tingsu promote {version}` 会检查其裁决",
    ),
    "champion_none": ("there is no champion", "没有现役模型"),
    "champion_none.remedy": (
        "./tingsu retrain makes a version, ./tingsu promote V makes it the champion",
        "./tingsu retrain 训练出版本，./tingsu promote V 将其晋级为现役模型",
    ),
    "champion_none_to_serve": ("there is no champion to serve", "没有可供服务的现役模型"),
    "champion_none_to_serve.remedy": (
        "./tingsu retrain first, or give --bundle FOLDER --evaluation",
        "请先运行 ./tingsu retrain，或给出 --bundle FOLDER --evaluation",
    ),
    "champion_taxonomy": (
        "not comparable: the champion of {name!r} (version {version}) answers taxonomy {theirs!r} ({theirs_digest}), this dataset has "
        "{ours!r} ({ours_digest})",
        "不可比较：{name!r} 的现役模型（版本 {version}）使用分类表 {theirs!r}（{theirs_digest}），本数据集使用 {ours!r}（{ours_digest}）",
    ),
    "champion_taxonomy.remedy": (
        "give the new classifier a home of its own: export TINGSU_HOME=FOLDER",
        "请给新的分类器单独的目录：export TINGSU_HOME=FOLDER",
    ),
    "rollback_none": ("{name} has no previous version to return to", "{name} 没有可退回的前一版本"),
    "rollback_none.remedy": ("`./tingsu promote V` chooses one", "请用 `./tingsu promote V` 选择版本"),
    "rollback_elsewhere": (
        "a rollback of {name} goes to version {before}, the one before the champion, not to {to}",
        "{name} 只能回退到现役模型的前一版本 {before}，不能回退到 {to}",
    ),
    "rollback_elsewhere.remedy": (
        "`./tingsu promote {to}` asks for its verdict",
        "`./tingsu promote {to}` 会检查其裁决",
    ),
    "version_other_bundle": (
        "version {version} was recorded with bundle {recorded}, its tag 'bundle_digest' in MLflow now says {now}: it was edited",
        "版本 {version} 登记时的模型包是 {recorded}，MLflow 中的标签 'bundle_digest' 现为 {now}：已被改动",
    ),
    "version_other_bundle.remedy": ("set the tag back", "请改回该标签"),
    "version_none": (
        "{name} has no version {version}; versions: {known}",
        "{name} 没有版本 {version}，现有版本：{known}",
    ),
    "version_none.remedy": ("see `./tingsu models`", "见 `./tingsu models`"),
    "history_no_version": (
        "version {version} is not in {path}; versions there: {known}",
        "{path} 中没有版本 {version}，其中的版本：{known}",
    ),
    # a person's word
    "approval_question": (
        "**Version {version}** is staged and verified on **{target}**, and gets traffic only if you approve it. Bundle `{bundle}`.",
        "**版本 {version}** 已在 **{target}** 就位并通过核验，经您批准后才会接入流量。模型包 `{bundle}`。",
    ),
    "approval_how": (
        "Your name and reason are kept in the history. The whole case: `./tingsu why {version}`. Instead of here: "
        "`./tingsu approve {version} --target {target} --why REASON`, or `./tingsu reject {version} --target {target} --why REASON`.",
        "姓名与理由会记入历史。全部依据：`./tingsu why {version} --language zh`。也可改用命令行："
        "`./tingsu approve {version} --target {target} --why REASON` 或 `./tingsu reject {version} --target {target} --why REASON`。",
    ),
    "approval_awaited": (
        "version {version} is staged and verified on {target} and waits for a person",
        "版本 {version} 已在 {target} 就位并通过核验，等待人工批准",
    ),
    "approval_awaited.remedy": (
        "./tingsu approve {version} --target {target} --why REASON, after which the same command goes on; or ./tingsu reject {version} "
        "--target {target} --why REASON",
        "批准：./tingsu approve {version} --target {target} --why REASON，之后再运行同一命令即可继续；拒绝：./tingsu reject {version} "
        "--target {target} --why REASON",
    ),
}
