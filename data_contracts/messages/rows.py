"""One row of a file: its shape, its speech, its values. A reason, and `<code>.remedy` how to mend it."""

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
        "for milliseconds; 12:30 is read as minutes and seconds, so write a time of day as 12:30:00). If platforms differ by more here, "
        "raise data.max_turn_overrun_s",
        "请更正 ended_at 或轮次时间；常见原因是混入了下一通的轮次，或单位不同（毫秒请用 start_ms；"
        "12:30 按分和秒读取，当天的钟点请写成 12:30:00）。若平台时差本来较大，请调高 data.max_turn_overrun_s",
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
}
