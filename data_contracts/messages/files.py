"""Rows against each other, the file as a whole, and what it cannot teach."""

TABLE: dict[str, tuple[str, str]] = {
    # rows against each other
    "duplicate_id": ("conversation_id already stands in row {value}", "conversation_id 与第 {value} 行重复"),
    "duplicate_id.remedy": (
        "keep one row a call; join its parts into one text, or give each its own id and the call's id as customer_id",
        "每通通话只留一行；分段的通话请合并文本，或每段用各自的 id，并把通话 id 填到 customer_id",
    ),
    "annotators_agree": (
        "another annotator gives this call the same category in row {value}",
        "另一位标注员在第 {value} 行给出了相同的类别",
    ),
    "annotators_agree.remedy": (
        "nothing to do: the call is kept once, with the category they agree on",
        "无需处理：该通话保留一次，取一致的类别",
    ),
    "annotator_outvoted": (
        "most annotators give this call another category, as in row {value}",
        "多数标注员给出了不同的类别（见第 {value} 行）",
    ),
    "annotator_outvoted.remedy": (
        "nothing to do: the majority's category is kept; look at such calls together if there are many",
        "无需处理：以多数人的类别为准；若此类通话较多，请一起复核",
    ),
    "annotators_disagree": (
        "annotators give this call different categories (see row {value}), and none has a majority",
        "标注员给出的类别不同（见第 {value} 行），且没有多数意见",
    ),
    "annotators_disagree.remedy": (
        "have one more person label the call, or decide and keep one row; it does not count against the file",
        "请再请一人标注，或确定类别后只保留一行；不影响整份文件",
    ),
    "duplicate_text": (
        "the same text with the same category already stands in row {value}",
        "与第 {value} 行文本和类别都相同",
    ),
    "duplicate_text.remedy": (
        "nothing to do: the first one is kept, and duplicates do not count against the file",
        "无需处理：保留第一条，重复行不影响整份文件",
    ),
    "conflicting_label": ("the same text has another category in row {value}", "与第 {value} 行文本相同，类别却不同"),
    "conflicting_label.remedy": (
        "decide which category is right and keep that row alone",
        "请确定哪个类别正确，只保留那一行",
    ),
    "near_duplicate": (
        "the call says nearly what row {value} says",
        "与第 {value} 行的内容几乎相同",
    ),
    "near_duplicate.remedy": (
        "nothing to do: such calls never stand on both sides of a split, so the copies of a call that is measured on are not trained "
        "on; many of them mean that the export repeats calls",
        "无需处理：此类通话不会同时出现在训练和评测中，评测用通话的副本不参与训练；若很多，说明导出时有重复",
    ),
    "near_conflict": (
        "the call says nearly what row {value} says, under another category",
        "与第 {value} 行的内容几乎相同，类别却不同",
    ),
    "near_conflict.remedy": (
        "decide together which category is right; as they stand a model learns neither",
        "请一起确定哪个类别正确；否则模型两个都学不好",
    ),
    "customer_conflict": (
        "the customer's call in row {value}, within a day or without a time, has another category",
        "同一客户在一天之内（或时间不明）的第 {value} 行通话类别不同",
    ),
    "customer_conflict.remedy": (
        "nothing to do if these are two matters; if it is one, give both the same category",
        "若是两件事则无需处理；若是同一件事，请统一类别",
    ),
    "gold_customer": (
        "the call, or another of its customer, is in the frozen gold set",
        "这通通话或同一客户的其他通话在冻结的黄金集中",
    ),
    "gold_customer.remedy": (
        "nothing to do: it is never trained on, since models are measured on that customer",
        "无需处理：模型要在该客户的通话上评测，因此不参与训练",
    ),
    "gold_text": (
        "the call says nearly what a call of the frozen gold set says",
        "与冻结黄金集中某通通话的内容几乎相同",
    ),
    "gold_text.remedy": (
        "nothing to do: it is never trained on; many of them mean that the same calls came under other ids",
        "无需处理：不参与训练；若很多，说明同一批通话换了 id 再次提交",
    ),
    # the file
    "accepted_share": (
        "{value:.1%} of the rows were accepted, at least {min_value:.0%} are needed",
        "只有 {value:.1%} 的行被接受，至少需要 {min_value:.0%}",
    ),
    "accepted_share.remedy": (
        "mend the rows in rejects.csv and quarantine.csv and submit again",
        "请按 rejects.csv 和 quarantine.csv 逐行修改后重新提交",
    ),
    "file_refused": ("{path} is refused: {reasons_en}.", "{path} 已退回：{reasons_zh}。"),
    "file_refused.rows": ("Rows were rejected or quarantined for: {codes}.", "各行被拒绝或隔离的原因：{codes}。"),
    "file_refused.lists": (
        "Read {report}, mend the rows listed in {en}, submit again.",
        "请查看 {report}，按 {zh} 逐行修改后重新提交。",
    ),
    "file_refused.report": ("Read {report}, then submit again.", "请查看 {report} 后重新提交。"),
    "too_few_rows": (
        "{value:.0f} calls were accepted, at least {min_value} are needed",
        "只接受了 {value:.0f} 通通话，至少需要 {min_value} 通",
    ),
    "too_few_rows.remedy": (
        "submit more labelled calls (data.min_rows is the bound)",
        "请提交更多已标注的通话（界限是 data.min_rows）",
    ),
    "too_few_categories": (
        "the accepted calls have {value:.0f} category, at least {min_value} are needed",
        "被接受的通话只有 {value:.0f} 个类别，至少需要 {min_value} 个",
    ),
    "too_few_categories.remedy": (
        "submit calls of other categories too; one alone teaches nothing",
        "请同时提交其他类别的通话；只有一个类别学不到东西",
    ),
    # what a file cannot teach, said and not refused
    "rare_categories": (
        "below {least} accepted calls a model learns little of a category: {named}",
        "以下类别被接受的通话少于 {least} 通，模型学不到多少：{named}",
    ),
    "absent_categories": (
        "this file has no call of {named}: a model trained on it alone cannot answer that",
        "这份文件里没有 {named} 的通话，只用它训练的模型不会回答这些类别",
    ),
    "shortened_calls": (
        "{rows} calls were longer than {most} characters; head and tail were kept",
        "{rows} 通通话超过 {most} 个字符，只保留了头尾",
    ),
    "same_text_calls": (
        "{rows} accepted calls repeat the text of another call under another id",
        "{rows} 通被接受的通话与其他 id 的通话文本相同",
    ),
    "personal_ids": (
        "{rows} conversation ids looked like personal data and were replaced by digests",
        "{rows} 个 conversation_id 像是个人信息，已用摘要代替",
    ),
    "confidence_assumed": (
        "{rows} calls have no confidence_score; 1 was assumed",
        "{rows} 通通话没有 confidence_score，按 1 处理",
    ),
    "ignored_columns": (
        "columns that are no part of the contract were not read: {names}. If one should be: --map NAME=COLUMN",
        "以下列不在契约中，未读取：{names}。如需使用某一列，请用 --map 名称=列名 指定",
    ),
    "likely_columns": (
        "columns that are no part of the contract were not read: {names}. Some seem to be: --map {option}",
        "以下列不在契约中，未读取：{names}。其中有些可能是所需的列：--map {option}",
    ),
    "hard_to_measure": (
        "{categories} of {of} categories have, or would have, fewer than the {needed} gold calls that measure a share within ±5 points "
        "(95 % interval by Wilson, widest at one half: (1.96 / 0.10)² − 1.96²); the one with fewest is known to ±{widest:.0%}. Calls of "
        "one customer tell less than as many calls of different ones",
        "{of} 个类别中有 {categories} 个的黄金集通话不足 {needed} 通：要把比例测到 ±5 个百分点（95% Wilson 区间，最宽在 0.5 处："
        "(1.96 / 0.10)² − 1.96²）至少需要这么多；最少的类别只能测到 ±{widest:.0%}。同一客户的多通通话所含信息少于不同客户的同样多通",
    ),
    "annotators": (
        "{annotators} annotators labelled {calls} calls more than once: in {raw_share:.0%} of the comparisons they agree (Cohen's "
        "kappa {kappa}), {disputed} calls have no majority and were left out, so those that stay are the easier "
        "ones. No model can be measured better than people agree",
        "{annotators} 位标注员重复标注了 {calls} 通：两两比较 {raw_share:.0%} 一致（Cohen's kappa {kappa}），{disputed} 通没有多数意见，"
        "未采用，留下的相对容易。模型的测得水平不会超过人的一致程度",
    ),
    "lossy_encoding": ("{rows} rows hold bytes that are not {encoding}", "{rows} 行含有不属于 {encoding} 的字节"),
}
