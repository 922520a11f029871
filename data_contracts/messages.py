"""What submitters and reviewers read, in English and Chinese, one table. Values are filled in by name.

A reason says what is wrong with this row or file; `<code>.remedy` says how to mend it.
"""

TABLE: dict[str, tuple[str, str]] = {
    # a row's shape
    "ragged_row": (
        "the row has {fields} fields, the header has {expected}",
        "这一行有 {fields} 个字段，表头有 {expected} 个",
    ),
    "ragged_row.remedy": (
        "put text that holds commas or line breaks in double quotes, or export as JSONL",
        "含逗号或换行的文本请用双引号括起来，或改用 JSONL 导出",
    ),
    "not_json": ("the line is not JSON (column {at})", "这一行不是 JSON（第 {at} 列）"),
    "not_json.remedy": (
        "write one JSON object a line, without line breaks inside",
        "每行写一个 JSON 对象，对象内部不要换行",
    ),
    "not_object": ("the line is JSON but not an object", "这一行是 JSON，但不是对象"),
    "not_object.remedy": (
        'write {{"input_text": …, "complaint_category": …}}',
        '请写成 {{"input_text": …, "complaint_category": …}}',
    ),
    "repeated_key": ("the object has the name {value} more than once", "对象中 {value} 出现了不止一次"),
    "repeated_key.remedy": ("keep one of them", "请只保留一个"),
    "too_nested": ("the line is nested too deeply to be read", "这一行嵌套过深，无法读取"),
    "too_nested.remedy": (
        "write one flat object a line; only `turns` is a list",
        "每行写一个扁平对象，只有 `turns` 是列表",
    ),
    "endless_number": ("the line holds a number of thousands of digits", "这一行含有几千位的数字"),
    "endless_number.remedy": ("write ids and other long numbers as text, in quotes", "编号等长数字请加引号写成文本"),
    "nested_text": ("{value} is a list or an object, not a text", "{value} 是列表或对象，不是文本"),
    "nested_text.remedy": (
        "write the call as one text, or give the list as `turns` (--map turns=COLUMN)",
        "请把通话写成一段文本，或把列表作为 `turns` 提交（--map turns=列名）",
    ),
    "rounded_id": (
        "{value} was rounded by a spreadsheet (like 1.38E+10), or is a decimal number of more digits than it can hold: what it was is lost",
        "{value} 已被表格软件取整（形如 1.38E+10），或以小数类型保存而位数超出其精度，无法还原",
    ),
    "rounded_id.remedy": (
        "export again with the column as text, or remove the column",
        "请把该列设为文本格式后重新导出，或删除该列",
    ),
    "id_too_long": ("{value} has more than 200 characters", "{value} 超过 200 个字符"),
    "id_too_long.remedy": (
        "an id is a short name; check that --map names the right column",
        "编号应该很短，请检查 --map 是否选错了列",
    ),
    "bad_turns": ("turn {at} of `turns` cannot be read", "`turns` 的第 {at} 轮无法读取"),
    "bad_turns.remedy": (
        'write turns as [{{"speaker": "customer" or "agent", "text": "…"}}, …]',
        '请写成 [{{"speaker": "customer" 或 "agent", "text": "…"}}, …]',
    ),
    "encoding_damage": ("the text holds characters lost in an earlier conversion", "文本中有以前转码时损坏的字符"),
    "encoding_damage.remedy": ("export again as UTF-8 from the original system", "请从原系统重新以 UTF-8 导出"),
    "mojibake": (
        "{value:.0%} of the characters are what a wrong decoding leaves behind (UTF-8 read as GBK or Latin-1)",
        "{value:.0%} 的字符像是解码错误留下的乱码（UTF-8 被当作 GBK 或 Latin-1 读取）",
    ),
    "mojibake.remedy": (
        "export again as UTF-8 and open nothing in between with the wrong encoding",
        "请重新以 UTF-8 导出，中途不要用错误的编码打开和保存",
    ),
    # a call's speech
    "symbol_runs": (
        "{value:.0%} of the call are runs of symbols; at most {max_value:.0%} is usual",
        "通话中 {value:.0%} 是成串的符号，通常不超过 {max_value:.0%}",
    ),
    "symbol_runs.remedy": (
        "look at the recording: the speech was not recognised or was lost; transcribe it again, or leave the call out",
        "请核对录音：语音未被识别或已丢失；请重新转写，或去掉这通通话",
    ),
    "little_chinese": (
        "{value:.0%} of the letters are Chinese, at least {min_value:.0%} are expected",
        "文字中只有 {value:.0%} 是汉字，预期至少 {min_value:.0%}",
    ),
    "little_chinese.remedy": (
        "leave calls in other languages out; if they are right in this family, lower data.min_cjk_share",
        "请去掉其他语言的通话；如果该数据集本来就有，请调低 data.min_cjk_share",
    ),
    "no_customer": ("nobody speaks as the customer in this call", "这通通话里没有客户的话"),
    "no_customer.remedy": (
        "the customer's channel was lost, or the speakers are swapped: correct it, or leave the call out. It cannot show "
        "what the customer complains about",
        "客户声道缺失，或说话人标反：请更正，或去掉这通通话，它看不出客户投诉什么",
    ),
    "no_agent": ("nobody speaks as the agent in this call", "这通通话里没有客服的话"),
    "no_agent.remedy": (
        "nothing to do for voice mail; otherwise the agent's channel was lost or both speak as the customer",
        "若是留言则无需处理；否则是客服声道缺失，或双方都标成了客户",
    ),
    "turns_do_not_alternate": (
        "one speaker has {value} turns in a row, more than {max_value}",
        "同一说话人连续 {value} 轮，超过 {max_value} 轮",
    ),
    "turns_do_not_alternate.remedy": (
        "join the pieces of one utterance into one turn; if both speakers are in such a run, they were not told apart",
        "请把同一句话的片段合并成一轮；若其中混有双方的话，则说话人没有分开",
    ),
    "empty_turns": (
        "{value:.0%} of the turns have no words; at most {max_value:.0%} is usual",
        "{value:.0%} 的轮次没有文字，通常不超过 {max_value:.0%}",
    ),
    "empty_turns.remedy": (
        "empty turns are left out; many of them mean that speech was not recognised",
        "空的轮次会去掉；若很多，说明语音未被识别",
    ),
    "repeated_turns": (
        "{value:.0%} of the turns say what an earlier turn said; at most {max_value:.0%} is usual",
        "{value:.0%} 的轮次重复了前面的话，通常不超过 {max_value:.0%}",
    ),
    "repeated_turns.remedy": (
        "look at the recording: recognisers loop on silence and music; transcribe it again, or leave the call out",
        "请核对录音：识别程序遇到静音或音乐会反复输出同一句；请重新转写，或去掉这通通话",
    ),
    # a row's values
    "missing_text": ("the call has no text", "通话没有文本"),
    "missing_text.remedy": ("fill the text in, or leave the row out", "请补上文本，或去掉这一行"),
    "text_too_short": (
        "after cleaning the call has {value} characters, at least {min_value} are needed",
        "清洗后只有 {value} 个字符，至少需要 {min_value} 个",
    ),
    "text_too_short.remedy": (
        "leave such calls out, or lower data.min_chars if short texts are right here",
        "请去掉这样的通话；如果短文本是正常的，请调低 data.min_chars",
    ),
    "missing_category": ("the call has no category", "通话没有类别"),
    "missing_category.remedy": ("label the call, or leave the row out", "请标注类别，或去掉这一行"),
    "unknown_category": (
        "category '{value}' is not in the taxonomy; the nearest is '{nearest}'",
        "类别“{value}”不在分类表中，最接近的是“{nearest}”",
    ),
    "unknown_category.remedy": (
        "write the category's key exactly ('{nearest}' if that is meant), or add it to the taxonomy file (--taxonomy)",
        "请原样填写类别的 key；如果指的就是“{nearest}”请填它，或把新类别加进分类表文件（--taxonomy）",
    ),
    "category_spelling": (
        "category '{value}' is '{nearest}' written otherwise",
        "类别“{value}”是“{nearest}”的另一种写法",
    ),
    "category_spelling.remedy": (
        "write '{nearest}'; `./tingsu submit FILE --fix OUT` does it for all such rows",
        "请写成“{nearest}”；`./tingsu submit FILE --fix OUT` 可一次改好所有此类行",
    ),
    "bad_confidence": ("confidence_score is not a number", "confidence_score 不是数字"),
    "bad_confidence.remedy": (
        "give a number from 0 to 1, or leave it empty for 1",
        "请填 0 到 1 的数字；留空按 1 处理",
    ),
    "confidence_range": ("confidence_score {value} is outside 0 to 1", "confidence_score {value} 不在 0 到 1 之间"),
    "confidence_range.remedy": ("give a share from 0 to 1: 85 % is 0.85", "请填 0 到 1 的比例：85% 写作 0.85"),
    "too_many_tokens": (
        "the call has {value} tokens, a model reads {max_value} of them: its head and its tail",
        "通话有 {value} 个词元，模型只读 {max_value} 个：开头和结尾",
    ),
    "too_many_tokens.remedy": (
        "nothing to do if the matter is told at the beginning or the end; else raise prompt.max_call_tokens, which costs time in "
        "proportion, for training and for the service",
        "若投诉内容在开头或结尾则无需处理；否则请调高 prompt.max_call_tokens，训练和服务的耗时会成比例增加",
    ),
    "bad_moment": ("{column} is not a date and time", "{column} 不是日期时间"),
    "bad_moment.remedy": (
        "write it as 2026-01-31T09:30:00 or 2026-01-31 09:30:00, or leave it empty",
        "请写成 2026-01-31T09:30:00 或 2026-01-31 09:30:00，也可留空",
    ),
    "ends_before_start": (
        "the call ends before it starts ({value} minutes)",
        "通话结束时间早于开始时间（{value} 分钟）",
    ),
    "ends_before_start.remedy": (
        "correct started_at or ended_at; most often the two columns are swapped or one lacks its date",
        "请更正 started_at 或 ended_at；常见原因是两列颠倒，或其中一列缺少日期",
    ),
    "starts_in_future": (
        "started_at is {value} days from now",
        "started_at 比现在晚 {value} 天",
    ),
    "starts_in_future.remedy": (
        "correct the date; most often day and month are swapped or the platform's clock is wrong. Gold sets by date would be wrong too",
        "请更正日期；常见原因是日月颠倒或平台时钟有误，否则按日期划分的黄金集也会出错",
    ),
    "bad_turn_time": (
        "the start or end of turn {value} is no time, of another kind than the other turns', or a clock far from both 0 and started_at",
        "第 {value} 轮的开始或结束时间无法读取，或与其他轮次的写法不同，或是既不接近 0 也不接近 started_at 的时钟时间",
    ),
    "bad_turn_time.remedy": (
        "write seconds since the call began (12.5), a clock time (00:00:12.5, or the time of day) or a moment (2026-01-31T09:30:12), all "
        "alike, or leave times out: only the order of turns matters",
        "请统一写成通话开始后的秒数（12.5）、时钟时间（00:00:12.5，或当天的钟点）或日期时间（2026-01-31T09:30:12）；也可不提供时间，轮次顺序正确即可",
    ),
    "turn_before_call": (
        "turn {value} has a time before the call begins",
        "第 {value} 轮的时间早于通话开始",
    ),
    "turn_before_call.remedy": (
        "correct the turn's time or started_at: one of the two clocks is wrong, or turns of another call were mixed in",
        "请更正该轮的时间或 started_at：两个时钟之一有误，或混入了其他通话的轮次",
    ),
    "turn_out_of_order": (
        "turn {value} starts before an earlier turn does, or ends before it starts",
        "第 {value} 轮的开始早于前面的轮次，或结束早于开始",
    ),
    "turn_out_of_order.remedy": (
        "sort the turns by their start (channels are often exported one after the other); a model reads them in the order they stand",
        "请按开始时间排列轮次（常见原因是两个声道先后导出）；模型按所列顺序阅读",
    ),
    "turn_after_call": (
        "the turns go on {value} s after the call ended; at most {max_value:g} s are usual",
        "通话结束 {value} 秒后仍有轮次，通常不超过 {max_value:g} 秒",
    ),
    "turn_after_call.remedy": (
        "correct ended_at or the turns' times; most often turns of the next call follow, or times are in another unit (write start_ms "
        "for milliseconds). If platforms differ by more here, raise data.max_turn_overrun_s",
        "请更正 ended_at 或轮次时间；常见原因是混入了下一通的轮次，或单位不同（毫秒请用 start_ms）。若平台时差本来较大，请调高 "
        "data.max_turn_overrun_s",
    ),
    "metadata_too_long": (
        "{column} has {value} characters, at most {max_value} are allowed",
        "{column} 有 {value} 个字符，最多 {max_value} 个",
    ),
    "metadata_too_long.remedy": (
        "{column} is a short name such as 'hotline' or '北京'; check that --map names the right column",
        "{column} 应是“hotline”“北京”这样的短名；请检查 --map 是否选错了列",
    ),
    "metadata_personal": ("{column} holds personal data", "{column} 里有个人信息"),
    "metadata_personal.remedy": (
        "remove it from {column}, or do not submit that column",
        "请从 {column} 中去掉个人信息，或不要提交这一列",
    ),
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
        "以下列不在合约中，未读取：{names}。如需使用某一列，请用 --map 名称=列名 指定",
    ),
    "likely_columns": (
        "columns that are no part of the contract were not read: {names}. Some seem to be: --map {option}",
        "以下列不在合约中，未读取：{names}。其中有些可能是所需的列：--map {option}",
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
    "merge_disputed": (
        "{calls} conversations have another category in another dataset: {shown}{more}. Mend the files and submit them "
        "again, or take the newest dataset's: --prefer newest. `./tingsu datasets diff A B` lists all.",
        "{calls} 通通话在不同数据集中类别不同：{shown}{more}。请修改文件后重新提交，或以最新数据集为准：--prefer newest。"
        "全部列表见 ./tingsu datasets diff A B。",
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
        "Gold set {digest}: {looks} looks by then, this one included: candidates that answered it, and every further judgement.",
        "黄金集 {digest}：截至当时已查看 {looks} 次（含本次）：候选模型作答与每次再评判均计入。",
    ),
    "gold_now": (
        "By now {looks} looks, {judged} of them judgements.",
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
    # service: problems
    "invalid_request": (
        "the request is not what {path} takes; look at: {fields}, and at /openapi.json",
        "请求不符合 {path} 的格式，请检查：{fields}，格式见 /openapi.json",
    ),
    "not_found": ("there is nothing at {path}; see /openapi.json", "{path} 不存在，见 /openapi.json"),
    "method_not_allowed": (
        "{path} does not answer {method}; see /openapi.json",
        "{path} 不支持 {method}，见 /openapi.json",
    ),
    "body_too_large": (
        "the request body has {size:.1f} MB or more, at most {limit:g} MB are allowed; send fewer calls at a time",
        "请求体至少 {size:.1f} MB，最多 {limit:g} MB，请分批发送",
    ),
    "too_many_calls": (
        "{calls} calls in one request, at most {limit} are allowed; send several requests",
        "一次请求含 {calls} 通，最多 {limit} 通，请分批发送",
    ),
    "too_many_turns": (
        "call {at} has {turns} turns, at most {limit} are allowed; join turns, or send the call in parts",
        "第 {at} 通有 {turns} 轮，最多 {limit} 轮，请合并轮次或拆分发送",
    ),
    "key_missing": (
        "an API key is needed; send it as 'Authorization: Bearer KEY' or as 'X-API-Key: KEY'",
        "需要 API 密钥，请用请求头 Authorization: Bearer KEY 或 X-API-Key: KEY 发送",
    ),
    "key_unknown": (
        "the API key is not known here, or was revoked; ask the operator for one",
        "API 密钥无效或已吊销，请向管理员申请",
    ),
    "host_refused": (
        "without API keys this service answers to 127.0.0.1 and localhost, not to {host!r}; make a key: ./tingsu keys add NAME",
        "没有 API 密钥时，本服务只以 127.0.0.1 和 localhost 应答，不以 {host!r} 应答；请先生成密钥：./tingsu keys add 名称",
    ),
    "scope_missing": (
        "the API key's scope is {scopes}, and {path} needs '{scope}'; ask the operator for a key with it",
        "该 API 密钥的权限为 {scopes}，{path} 需要 {scope} 权限，请向管理员申请",
    ),
    "rate_limited": (
        "key '{name}' may send {rate:g} requests a second; try again in {seconds} s",
        "密钥“{name}”每秒最多 {rate:g} 次请求，请在 {seconds} 秒后重试",
    ),
    "overloaded": ("too many requests wait; try again in {seconds} s", "排队的请求过多，请在 {seconds} 秒后重试"),
    "deadline_exceeded": (
        "not answered in time; send less at a time, or try again in {seconds} s",
        "未能按时处理，请减少每次发送的内容，或在 {seconds} 秒后重试",
    ),
    "call_too_large": (
        "call {at} does not fit into the engine's memory, though it is scored alone; send it shorter, or give the service more memory",
        "第 {at} 通即使单独处理，推理引擎内存仍不足，请缩短后重发，或为服务增加内存",
    ),
    "none_answers": (
        "no instance of the service can answer now; ask again in {seconds} s",
        "当前没有服务实例可以应答，请 {seconds} 秒后重试",
    ),
    "not_ready": ("the model is being loaded; try again in {seconds} s", "模型正在加载，请在 {seconds} 秒后重试"),
    "engine_unavailable": (
        "the engine stopped while it worked on this; try again in {seconds} s",
        "推理引擎中断，请在 {seconds} 秒后重试",
    ),
    "internal_error": (
        "something unexpected happened; the service's log has it under this request id",
        "发生意外错误，服务日志中可按此请求编号查到",
    ),
    # service: generation
    "slot_empty": (
        "this service has no model in slot '{slot}'; the operator loads one: ./tingsu serve --bundle FOLDER (classify), "
        "--generate FOLDER (generate)",
        "本服务的“{slot}”槽位没有模型；请管理员加载：./tingsu serve --bundle 目录（分类）、--generate 目录（生成）",
    ),
    "cannot_think": (
        "model {version} does not think: its chat template opens no <think> block; ask /generate, or have a thinking model loaded",
        "模型 {version} 不会思考：其对话模板没有 <think> 段；请改用 /generate，或加载会思考的模型",
    ),
    "too_long": (
        "the text has {tokens} tokens as the model reads it, at most {limit} leave room for an answer; send less",
        "文本按模型计有 {tokens} 个词元，最多 {limit} 个才留得下回答的空间，请缩短文本",
    ),
    "bad_messages": (
        "the model's chat template does not take these messages: {reason}",
        "模型的对话模板不接受这些消息：{reason}",
    ),
    # service: administration
    "reload_running": (
        "another bundle is being loaded; try again in {seconds} s",
        "正在加载另一个模型包，请在 {seconds} 秒后重试",
    ),
    "reload_memory": (
        "the new bundle needs about {needed:.0f} MB beside the one that serves, and {free:.0f} of {limit:.0f} MB are free; "
        'give the service more memory, or send {{"drain": true}} too: requests are refused with a time to come back meanwhile',
        "新模型包约需 {needed:.0f} MB，与现役模型包并存时内存不足：上限 {limit:.0f} MB，可用 {free:.0f} MB。"
        '请增加内存，或同时发送 {{"drain": true}}：先停旧的再加载新的，其间请求会被拒绝并告知重试时间',
    ),
    "reload_gpu_memory": (
        "the new bundle needs about {needed:.0f} MB of the GPU beside the one that serves, and {free:.0f} of {limit:.0f} MB are free; "
        'free some, or send {{"drain": true}} too: requests are refused with a time to come back meanwhile',
        "新模型包约需 {needed:.0f} MB 显存，与现役模型包并存时显存不足：共 {limit:.0f} MB，可用 {free:.0f} MB。"
        '请腾出显存，或同时发送 {{"drain": true}}：先停旧的再加载新的，其间请求会被拒绝并告知重试时间',
    ),
    "reload_refused": (
        "{reason}. Nothing was touched; the bundle before serves on",
        "新模型包不能上线：{reason}。未作任何改动，原模型包继续服务",
    ),
    "reload_failed": (
        "the new bundle cannot be loaded: {reason}. The bundle before serves on",
        "新模型包加载失败：{reason}。原模型包继续服务",
    ),
    "reload_undone": (
        "the new bundle cannot be loaded: {reason}. The bundle before is being loaded again",
        "新模型包加载失败：{reason}。正在重新加载原模型包",
    ),
    "candidate_memory": (
        "the candidate needs about {needed:.0f} MB beside the one that serves, and {free:.0f} of {limit:.0f} MB are free; "
        "give the service more memory, or roll out without a canary",
        "候选版本约需 {needed:.0f} MB，与现役模型包并存时内存不足：上限 {limit:.0f} MB，可用 {free:.0f} MB。"
        "请增加内存，或不经金丝雀直接上线",
    ),
    "candidate_missing": (
        "no candidate is loaded beside the one that serves; POST one to /admin/candidate",
        "现役模型包旁没有加载候选版本，请先向 /admin/candidate 提交（POST）",
    ),
    "candidate_serves": (
        "this bundle serves already, and there is none before it to compare it with; POST another one",
        "该模型包已在线上服务，且没有可比较的前一版本；请提交另一个模型包",
    ),
    "candidate_withdrawn": (
        "the candidate was withdrawn while it was being loaded; POST it again",
        "候选版本在加载过程中被撤回，请重新提交",
    ),
    "side_refused": (
        "the header X-Tingsu-Side needs a key with scope 'admin', and this key's scope is {scopes}; leave the header out",
        "请求头 X-Tingsu-Side 需要 admin 权限的密钥，而该密钥的权限为 {scopes}；请去掉该请求头",
    ),
    "side_unknown": (
        "the header X-Tingsu-Side says {side!r}; allowed are {known}",
        "请求头 X-Tingsu-Side 的值 {side!r} 无效，可选：{known}",
    ),
    "mirror_url": ("mirror_url: {reason}", "mirror_url 无效：{reason}"),
    "console_refused": ("{reason}", "未完成：{reason}"),
    "stopping": ("the service is stopping; ask again when it is back", "服务正在停止，请待恢复后重试"),
    # service: OpenAI's dialect
    "invalid_chat": (
        "the request is not a chat completion this model answers; look at: {fields}",
        "请求不是本模型可以回答的对话补全，请检查：{fields}",
    ),
    "model_not_found": ("there is no model '{model}' here; there is: {known}", "没有模型“{model}”，可用的有：{known}"),
    "unsupported_parameter": (
        "'{param}' asks for something that this model does not do; leave it out",
        "“{param}”要求的是该模型没有的功能，请去掉该参数",
    ),
    "unknown_parameter": (
        "'{param}' is no parameter of this request; leave it out, or correct its name",
        "没有“{param}”这个参数，请去掉或改正名称",
    ),
    # service: why a person should look
    "low_confidence": ("the model is not sure enough", "模型把握不足"),
    "low_label_mass": ("the model would rather answer something that is no category", "模型倾向于类别以外的回答"),
    "reviewed_category": ("calls of this category are always looked at", "该类别一律转人工复核"),
    "empty_call": ("there is no text in this call", "通话没有文字内容"),
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
    "live_beside": ("Being rolled out then: {beside}.", "当时正在上线：{beside}。"),
    "live_other_champion": (
        "The registry's champion then was version {champion}.",
        "当时登记的现行版本是版本 {champion}。",
    ),
}


def say(code: str, **values: object) -> tuple[str, str]:
    """The message in English and in Chinese.

    Raises:
        KeyError: the table lacks the code, or the message a value (a mistake in the program, not in the data).
    """
    english, chinese = TABLE[code]
    return english.format(**values), chinese.format(**values)
