"""What `--fix` changed, stored datasets, and the gold set's custody."""

TABLE: dict[str, tuple[str, str]] = {
    # what --fix changed
    "mended": (
        "{rows_in:,} rows in = {rows_out:,} out + {dropped:,} dropped; changed: {by_code}. {out} holds your own words, unmasked: only "
        "you may read it, and nothing of it is kept elsewhere. Every change: {listed}",
        "读入 {rows_in:,} 行 = 写出 {rows_out:,} 行 + 去掉 {dropped:,} 行；改动：{by_code}。"
        "{out} 含未脱敏的原文，只有您本人可读，其他地方不留存。逐行改动见 {listed}",
    ),
    "mended_nothing": (
        "{rows:,} rows, nothing to mend; {out} holds the same, in UTF-8",
        "{rows:,} 行，无需修改；{out} 为内容相同的 UTF-8 文件",
    ),
    "mended_encoding": ("saved as UTF-8", "已存为 UTF-8"),
    "mended_separator": ("columns separated by commas", "改用逗号分隔"),
    "mended_header": (
        "a column's name without what nobody sees; one without a name has its number",
        "列名去掉看不见的字符；无名的列以序号命名",
    ),
    "mended_duplicate": ("an equal row stands before it", "前面已有完全相同的行"),
    "mended_formula": ("Excel's text formula removed", "去掉 Excel 文本公式"),
    "mended_category": ("the category's key", "改为类别的 key"),
    "mended_whole": ("a whole number", "改为整数"),
    "mended_confidence": ("a share from 0 to 1", "改为 0 到 1 的比例"),
    "mended_moment": ("a moment as ISO 8601", "改为 ISO 8601 时间"),
    "mended_turns": ("empty turns removed", "去掉空的轮次"),
    # datasets
    "datasets_none": ("no datasets yet; ./tingsu submit FILE", "还没有数据集；请运行 ./tingsu submit FILE"),
    "merge_disputed": (
        "{calls} conversations have another category in another dataset: {shown}{more}",
        "{calls} 通通话在不同数据集中类别不同：{shown}{more}",
    ),
    "merge_disputed.remedy": (
        "mend the files and submit them again, or take the newest dataset's: --prefer newest. `./tingsu datasets diff A B` lists all",
        "请修改文件后重新提交，或以最新数据集为准：--prefer newest。全部列表见 ./tingsu datasets diff A B",
    ),
    "merged": (
        "{calls} calls of {datasets} datasets: {repeated} stood in several and are taken once, {relabelled} of them with the "
        "newest category.",
        "{datasets} 个数据集共 {calls} 通：{repeated} 通重复出现，只取一次，其中 {relabelled} 通类别不同，以最新为准。",
    ),
    "merged_before": (
        "Nothing new: dataset {id} ({name}) holds exactly these calls.",
        "没有新内容：数据集 {id}（{name}）的内容与此完全相同。",
    ),
    "diff_nothing": (
        "Both hold the same conversations under the same categories.",
        "两者包含相同的通话，类别也相同。",
    ),
    "diff_moved": (
        "{share:.1%} of the calls would have to change category for both to be spread alike.",
        "若要两者类别分布一致，需有 {share:.1%} 的通话改换类别。",
    ),
    "diff_same_calls": (
        "Both hold the same conversations: what differs was relabelled.",
        "两者包含相同的通话，差异来自重新标注。",
    ),
    "diff_by_labels": (
        "Relabelling {calls} calls moves {share:.1%} by itself; what follows is only of the calls that one of the two lacks.",
        "其中仅 {calls} 通重新标注的通话就使分布变动 {share:.1%}；下面的检验只针对新增或移除的通话。",
    ),
    "diff_too_few": (
        "Too few calls were added or removed to test whether that is chance.",
        "新增或移除的通话太少，无法检验是否为偶然。",
    ),
    "diff_added_differ": (
        "The {calls} added calls are spread otherwise than the first dataset's, and not by chance (chi-square {chi:.1f}, "
        "{degrees} degrees of freedom, p = {p:.2g}; all calls of a customer counted as one).",
        "新增的 {calls} 通与前一数据集类别分布不同，并非偶然（卡方 {chi:.1f}，自由度 {degrees}，p = {p:.2g}；同一客户的通话按一通计）。",
    ),
    "diff_added_alike": (
        "Chance alone may spread the {calls} added calls as they are (chi-square {chi:.1f}, {degrees} degrees of freedom, "
        "p = {p:.2g}; all calls of a customer counted as one).",
        "新增的 {calls} 通的分布差异可能只是偶然（卡方 {chi:.1f}，自由度 {degrees}，p = {p:.2g}；同一客户的通话按一通计）。",
    ),
    "diff_removed_differ": (
        "The {calls} removed calls are spread otherwise than those that stayed, and not by chance (chi-square {chi:.1f}, "
        "{degrees} degrees of freedom, p = {p:.2g}; all calls of a customer counted as one).",
        "移除的 {calls} 通与保留的类别分布不同，并非偶然（卡方 {chi:.1f}，自由度 {degrees}，p = {p:.2g}；同一客户的通话按一通计）。",
    ),
    "diff_removed_alike": (
        "Chance alone may spread the {calls} removed calls as they are (chi-square {chi:.1f}, {degrees} degrees of freedom, "
        "p = {p:.2g}; all calls of a customer counted as one).",
        "移除的 {calls} 通的分布差异可能只是偶然（卡方 {chi:.1f}，自由度 {degrees}，p = {p:.2g}；同一客户的通话按一通计）。",
    ),
    "gold_custody": (
        "Gold set, version {version}: {rows} frozen calls ({digest}), answered by candidates {looks} times and judged by the gate "
        "{judged} times. {in_gold} calls of this dataset stand in it, {held_out} more are of its customers: none is trained on.",
        "黄金集第 {version} 版：冻结 {rows} 通（{digest}），候选模型已作答 {looks} 次，其中门禁评判 {judged} 次。"
        "本数据集有 {in_gold} 通在其中，另有 {held_out} 通属于同一批客户：均不参与训练。",
    ),
    "gold_version": (
        "  version {version}, {at}: {rows} calls, {looks} looks ({carried} carried over), judged {judged} times (thresholds: {gates})",
        "  第 {version} 版，{at}：{rows} 通，查看 {looks} 次（沿袭 {carried} 次），评判 {judged} 次（阈值：{gates}）",
    ),
    "gold_refreshed": (
        "It was refreshed by {by}: {stayed} calls stayed, {retired} left and are never trained on either, {added} came; {looks_carried} "
        "looks count on. Reason: {reason}",
        "由 {by} 更新：保留 {stayed} 通，退出 {retired} 通（同样不参与训练），新增 {added} 通；"
        "此前的查看计入 {looks_carried} 次。原因：{reason}",
    ),
    "gold_seen": (
        "Gold set {digest}: looks at it by then: {looks}, this one included (candidates that answered it, and every further judgement).",
        "黄金集 {digest}：截至当时已查看 {looks} 次（含本次）：候选模型作答与每次再评判均计入。",
    ),
    "gold_now": (
        "Looks by now: {looks}, of them judgements: {judged}.",
        "目前共查看 {looks} 次，其中评判 {judged} 次。",
    ),
    "gold_overlap_small": (
        "Only {stayed} calls stayed. The champion answers this version anew and stays comparable; any other version judged before "
        "shares too few calls with those judged from now on ({least} are needed). An earlier --since keeps more.",
        "只保留了 {stayed} 通。现役模型会在这一版上重新评测，仍可比较；其他在此之前评测的版本与之后的版本共有通话太少"
        "（至少需要 {least} 通），无法比较。把 --since 提前可保留更多。",
    ),
    "gold_trained": (
        "{calls} calls were left out: models were trained on their customers or their words.",
        "{calls} 通未纳入：其客户或文本已被模型训练过。",
    ),
    "gold_known": (
        "Nothing new: version {version} was made so at {at}.",
        "没有新内容：第 {version} 版已于 {at} 按此更新。",
    ),
    "gold_next": (
        "The champion and every candidate answer this version anew: ./tingsu retrain --dataset {dataset}. The first promotion "
        "after it needs a reason: ./tingsu promote V --new-standard 'REASON'.",
        "现役模型和候选模型都将在这一版上重新评测：./tingsu retrain --dataset {dataset}。之后的首次晋级需说明原因："
        "./tingsu promote V --new-standard '原因'。",
    ),
}
