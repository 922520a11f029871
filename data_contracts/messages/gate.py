"""The gate's bounds and verdicts, comparisons, and what was live when."""

TABLE: dict[str, tuple[str, str]] = {
    # gate: one bound
    "gate_absolute": (
        "{metric} is {value} ({low} to {high}); it has to be {sign} {bound}.",
        "{metric} 为 {value}（{low} 至 {high}），要求 {sign} {bound}。",
    ),
    "gate_point": ("{metric} is {value}; it has to be {sign} {bound}.", "{metric} 为 {value}，要求 {sign} {bound}。"),
    "gate_champion": (
        "{metric} minus the champion's ({reference}) is {value} ({low} to {high}); it has to be {sign} {bound}.",
        "{metric} 与现役模型（{reference}）之差为 {value}（{low} 至 {high}），要求 {sign} {bound}。",
    ),
    "gate_baseline": (
        "{metric} minus the TF-IDF baseline's ({reference}) is {value} ({low} to {high}); it has to be {sign} {bound}.",
        "{metric} 与 TF-IDF 基线（{reference}）之差为 {value}（{low} 至 {high}），要求 {sign} {bound}。",
    ),
    "gate_unmeasured": (
        "{metric} cannot be measured: gold has no such calls. It has to be {sign} {bound}; label some.",
        "{metric} 无法测量：黄金集中没有相关通话。要求 {sign} {bound}，请补充标注。",
    ),
    "gate_holds": ("It holds.", "达标。"),
    "gate_missed": ("Missed, even at the good end.", "未达标，区间有利一端也不满足。"),
    "gate_undecided_about": (
        "Undecided: about {calls} gold calls in all (there are {rows}) would decide if the measured value is the true one.",
        "证据不足：若实测值就是真实值，黄金集共需约 {calls} 通通话才能判定（现有 {rows} 通）。",
    ),
    "gate_undecided_never": (
        "Undecided, and too close to the bound to say how many more calls would decide.",
        "证据不足，且与界限过近，无法估计还需多少通话。",
    ),
    "gate_not_binding": (
        "Shown only; it does not bind in profile {profile}.",
        "仅供参考，在 {profile} 配置下不作约束。",
    ),
    # gate: the smoke and speed check of slot generate
    "smoke_promote": (
        "PROMOTE: it loads, writes and holds all {of} bounds on this machine. How good its texts are was not measured.",
        "准入：能够加载和生成，本机 {of} 项要求全部达标。文本质量未作评测。",
    ),
    "smoke_reject": ("REJECT: missed on this machine: {missed}.", "拒绝：在本机未达标的有 {missed}。"),
    # gate: the verdict
    "gate_looks": (
        "This gold set has now been looked at {looks} times, more than {limit}: with every look a lucky candidate is likelier. "
        "Refresh it with newer calls (./tingsu datasets refresh-gold), or label a new one (a new data.family).",
        "该黄金集已被查看 {looks} 次，超过 {limit} 次：看得越多，越可能有侥幸通过的；"
        "请用较新的通话更新黄金集（./tingsu datasets refresh-gold），或换一套新的（新的 data.family）。",
    ),
    "not_comparable": (
        "not comparable: {a} and {b} were measured with different {what_en}; score both on the same gold calls.",
        "不可比较：{a} 与 {b} 所用的{what_zh}不同，请在同一批黄金集通话上重新评测。",
    ),
    "models_none": ("no versions yet; ./tingsu retrain", "还没有版本；请运行 ./tingsu retrain"),
    "models_not_comparable": (
        "not comparable: judged on another gold set or taxonomy than version {newest}. The calls that both answered are compared "
        "by ./tingsu compare {other} {newest}",
        "不可比较：与版本 {newest} 评测所用的黄金集或分类表不同。在共同回答过的通话上比较：./tingsu compare {other} {newest}",
    ),
    "compared_same": (
        "Both answered the same {calls} gold calls, of {customers} customers. A change whose interval holds 0 may be chance.",
        "两者回答了同样的 {calls} 通黄金集通话（{customers} 位客户）。区间包含 0 的变化可能只是偶然。",
    ),
    "compared_overlap": (
        "{a} and {b} were judged on different versions of the gold set ({rows_a} and {rows_b} calls); compared on the {calls} "
        "calls, of {customers} customers, that stand in both. A change whose interval holds 0 may be chance.",
        "{a} 与 {b} 评测所用的黄金集版本不同（{rows_a} 通与 {rows_b} 通），这里只比较两版共有的 {calls} 通（{customers} 位客户）。"
        "区间包含 0 的变化可能只是偶然。",
    ),
    "overlap_small": (
        "not comparable: {a} and {b} were judged on different versions of the gold set, which share {calls} calls; at least "
        "{least} are needed to see a difference of 10 points. Judged beside the champion, a candidate has it on the same calls: "
        "./tingsu retrain --dataset {dataset}",
        "不可比较：{a} 与 {b} 评测所用的黄金集版本不同，共有的通话只有 {calls} 通，至少需要 {least} 通才能看出 10 个百分点的差异。"
        "与现役模型一同评测即可在同一批通话上比较：./tingsu retrain --dataset {dataset}",
    ),
    "gate_promote": ("PROMOTE: all {of} bounds hold.", "晋级：{of} 项要求全部达标。"),
    "gate_reject": ("REJECT: certainly missed: {missed}.", "拒绝：确定未达标的有 {missed}。"),
    "gate_hold_never": (
        "HOLD: {held} of {of} bounds hold, {undecided} undecided.",
        "暂缓：{of} 项要求中 {held} 项达标，{undecided} 证据不足。",
    ),
    "gate_hold_about": (
        "HOLD: {held} of {of} bounds hold, {undecided} undecided. "
        "About {calls} gold calls in all (there are {rows}) would decide if the measured values are the true ones.",
        "暂缓：{of} 项要求中 {held} 项达标，{undecided} 证据不足。若实测值就是真实值，黄金集共需约 {calls} 通通话（现有 {rows} 通）。",
    ),
    "live_then": (
        "At {at} version {version} was live on {target}, at {endpoint}, since {since}, by {by}.\n"
        "Bundle {bundle_digest}.\nVerdict: {grounds}.\nHistory line {line}.",
        "{at}，{target} 上服务的是版本 {version}（{endpoint}），自 {since} 起，由 {by} 上线。\n"
        "模型包 {bundle_digest}。\n依据：{grounds}。\n历史记录第 {line} 行。",
    ),
    "live_nothing": (
        "At {at} nothing was live on {target}: no rollout to it had ended as live.",
        "{at}，{target} 上没有版本在服务：此前没有成功的上线。",
    ),
    "live_stopped": (
        "At {at} nothing was live on {target}: {stopped} had ended it at {since}, by {by}.\nHistory line {line}.",
        "{at}，{target} 上没有版本在服务：{since} 由 {by} 停止（{stopped}）。\n历史记录第 {line} 行。",
    ),
    "live_limits": (
        "This is what Tingsu's commands left. A crash, a machine that was off and what was done there by hand are not in the history.",
        "以上为听诉各命令留下的状态；进程崩溃、关机以及在目标上的手工改动不在历史记录中。",
    ),
    "live_beside": ("Being rolled out then: {beside}.", "当时正在上线：{beside}。"),
    "live_other_champion": (
        "The registry's champion then was version {champion}.",
        "当时登记的现行版本是版本 {champion}。",
    ),
}
