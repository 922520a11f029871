"""A whole file that cannot be read as calls, an option or name that stands for nothing, a dataset that cannot be made."""

_GIVE_A_PATH = (
    "give the path of a CSV, JSONL or Parquet file of labelled calls",
    "请给出已标注通话的 CSV、JSONL 或 Parquet 文件的路径",
)
_A_CALL_A_ROW = ("it needs a call a row, with a text and a category", "文件应每行一通通话，并有文本和类别")
_SAVE_AS_UTF8 = (
    "save all of it as UTF-8, or let Tingsu do so: ./tingsu submit {path} --fix OUT",
    "请把整份文件存为 UTF-8，或由 Tingsu 转换：./tingsu submit {path} --fix OUT",
)
_RENAME = ("rename or remove one", "请重命名或删除其中一列")

TABLE: dict[str, tuple[str, str]] = {
    # the path
    "file_missing": (
        "file {path!r} cannot be read: No such file or directory",
        "无法读取文件 {path!r}：文件不存在",
    ),
    "file_missing.remedy": _GIVE_A_PATH,
    "file_forbidden": (
        "file {path!r} cannot be read: Permission denied",
        "无法读取文件 {path!r}：没有读取权限",
    ),
    "file_forbidden.remedy": (
        "have its owner let you read it (chmod u+r), or give the path of another file",
        "请让文件所有者开放读取权限（chmod u+r），或给出另一个文件的路径",
    ),
    "file_is_folder": (
        "file {path!r} cannot be read: it is a folder",
        "无法读取文件 {path!r}：它是文件夹",
    ),
    "file_is_folder.remedy": _GIVE_A_PATH,
    "file_is_device": (
        "file {path!r} cannot be read: it is a pipe or a device, not a file",
        "无法读取文件 {path!r}：它是管道或设备，不是文件",
    ),
    "file_is_device.remedy": _GIVE_A_PATH,
    "file_unreadable": ("file {path!r} cannot be read: {why}", "无法读取文件 {path!r}，系统报告：{why}"),
    "file_unreadable.remedy": _GIVE_A_PATH,
    "file_changed": ("{path} was changed while it was read", "{path} 在读取过程中被改动"),
    "file_changed.remedy": ("wait until it is whole, then submit it again", "请等文件写完后重新提交"),
    # what kind of file it is
    "file_empty": ("{path} is empty", "{path} 是空文件"),
    "file_empty.remedy": _A_CALL_A_ROW,
    "file_workbook": ("{path} is an Excel workbook or an archive", "{path} 是 Excel 工作簿或压缩包"),
    "file_workbook.remedy": (
        "save the sheet as 'CSV UTF-8' and submit that",
        "请把工作表另存为 'CSV UTF-8' 后提交",
    ),
    "file_archive": ("{path} is packed with {kind}", "{path} 是 {kind} 压缩文件"),
    "file_archive.remedy": (
        "unpack it ({command}) and submit what is in it",
        "请先解压（{command}），再提交其中的文件",
    ),
    "file_foreign": ("{path} is of another kind: {kind}", "{path} 是另一种文件：{kind}"),
    "file_foreign.remedy": (
        "export the calls as CSV, JSONL or Parquet",
        "请把通话导出为 CSV、JSONL 或 Parquet",
    ),
    "file_web_page": (
        "{path} is a web page or XML, as some platforms export 'Excel'",
        "{path} 是网页或 XML（有些平台导出的 'Excel' 就是如此）",
    ),
    "file_web_page.remedy": ("save it as CSV UTF-8", "请另存为 CSV UTF-8"),
    "file_suffix": (
        "{path}: its content is not Parquet and its name ends in {suffix}; allowed: {allowed}",
        "{path}：内容不是 Parquet，文件名后缀为 {suffix}；允许的后缀：{allowed}",
    ),
    "file_suffix.remedy": (
        "export the calls as one of these, or correct the file's name",
        "请按其中一种格式导出，或改正文件名",
    ),
    # its characters
    "encoding_unknown": (
        "{path} is neither UTF-8 (byte {utf8_at}) nor GBK/GB18030 (byte {gb_at})",
        "{path} 既不是 UTF-8（第 {utf8_at} 字节处不符），也不是 GBK/GB18030（第 {gb_at} 字节处不符）",
    ),
    "encoding_unknown.remedy": ("save it as UTF-8 and submit again", "请存为 UTF-8 后重新提交"),
    "encoding_mixed": (
        "{path} is in two encodings: line {utf8_line} is UTF-8, line {gb_line} is GBK/GB18030",
        "{path} 混用两种编码：第 {utf8_line} 行是 UTF-8，第 {gb_line} 行是 GBK/GB18030",
    ),
    "encoding_mixed.remedy": _SAVE_AS_UTF8,
    "encoding_twice": (
        "{path} was encoded twice: its Chinese, {name} once, was read as Western text and saved as UTF-8",
        "{path} 被编码了两次：中文原为 {name}，曾被当作西文读取，又存为 UTF-8",
    ),
    "encoding_twice.remedy": _SAVE_AS_UTF8,
    "encoding_none": (
        "{path} is no text: {zeros} of its first {bytes} bytes are zero",
        "{path} 不是文本：前 {bytes} 字节中有 {zeros} 个为零",
    ),
    "encoding_none.remedy": ("export it as CSV UTF-8, JSONL or Parquet", "请导出为 CSV UTF-8、JSONL 或 Parquet"),
    "line_endless": (
        "{path}, line {line}: it has more than {most:,} characters, no call has",
        "{path} 第 {line} 行超过 {most:,} 个字符，通话不会这么长",
    ),
    "line_endless.remedy": (
        "most often the line ends were lost. Export again, a call a line",
        "多半是换行符丢失，请重新导出，每行一通通话",
    ),
    # its rows
    "rows_none": ("{path} has a header and no rows", "{path} 只有表头，没有数据行"),
    "rows_none.remedy": _A_CALL_A_ROW,
    "rows_too_many": (
        "{path} has {has_en} rows, at most {most:,} are read at a time",
        "{path} 有 {has_zh} 行，一次最多读取 {most:,} 行",
    ),
    "rows_too_many.remedy": (
        "submit it in parts, then ./tingsu datasets merge",
        "请拆分后分别提交，再用 ./tingsu datasets merge 合并",
    ),
    "quote_open": (
        "{path}, row {row}: a double quote opens in line {line} and never closes, so the last {lines} lines would be one cell",
        "{path} 第 {row} 行：双引号从文件第 {line} 行开始一直没有闭合，最后 {lines} 行会成为一个单元格",
    ),
    "quote_open.remedy": (
        "close it, write a quote within a text twice, or export as JSONL",
        "请补上引号；文本中的双引号要写两个；或改用 JSONL 导出",
    ),
    "csv_broken": ("{path}, line {line}: {why}", "{path} 第 {line} 行不是有效的 CSV（{why}）"),
    "csv_broken.remedy": (
        "most often a double quote opens and never closes. Mend that line or export as JSONL",
        "多半是双引号没有闭合，请修正该行，或改用 JSONL 导出",
    ),
    "json_none": (
        "{path}: no line of it is a JSON object (the first fails as {problem}, column {column})",
        "{path}：没有一行是 JSON 对象（第一处错误为 {problem}，第 {column} 列）",
    ),
    "json_none.remedy": (
        "write one object a line, with nothing before and after it",
        "请每行写一个对象，前后不要有其他内容",
    ),
    "json_array": ("{path} is one JSON array", "{path} 是一个 JSON 数组"),
    "json_array.remedy": (
        "write one object a line (jq -c '.[]' FILE > calls.jsonl)",
        "请每行写一个对象（jq -c '.[]' FILE > calls.jsonl）",
    ),
    "json_spread": (
        "{path} is one JSON object over several lines",
        "{path} 是一个跨多行的 JSON 对象",
    ),
    "json_spread.remedy": (
        "write one object a line (jq -c . FILE > calls.jsonl; if the calls are a list in it: jq -c '.NAME[]')",
        "请每行写一个对象（jq -c . FILE > calls.jsonl；若通话是其中的列表：jq -c '.NAME[]'）",
    ),
    "json_list": (
        "{path} is one JSON object whose list {name} may hold the calls",
        "{path} 是一个 JSON 对象，通话可能在其列表 {name} 中",
    ),
    "json_list.remedy": (
        "write one object a line (jq -c '.{key}[]' FILE > calls.jsonl)",
        "请每行写一个对象（jq -c '.{key}[]' FILE > calls.jsonl）",
    ),
    # its columns
    "header_missing": ("{path} has no header", "{path} 没有表头"),
    "header_missing.remedy": ("its first line must name the columns", "第一行应为列名"),
    "header_is_call": (
        "{path} has no column {lacking}: its first line seems to be a call, not the names of columns",
        "{path} 没有 {lacking} 列：第一行像是通话内容，不是列名",
    ),
    "header_is_call.remedy": (
        "write a header before it, such as conversation_id,input_text,complaint_category",
        "请在最前面加一行表头，例如 conversation_id,input_text,complaint_category",
    ),
    "column_missing": ("{path} has no column {lacking}; it has {names}", "{path} 没有 {lacking} 列，现有的列：{names}"),
    "column_missing.remedy": ("say which column it is: --map {option}", "请指明是哪一列：--map {option}"),
    "column_twice": ("{path}: column {name} stands twice in the header", "{path}：表头中 {name} 列出现两次"),
    "column_twice.remedy": _RENAME,
    "columns_alike": (
        "{path}: columns {one} and {other} both stand for {name!r}",
        "{path}：{one} 和 {other} 两列都对应 {name!r}",
    ),
    "columns_alike.remedy": _RENAME,
    "column_nested": (
        "{path}: column {name} holds lists or structures, not texts",
        "{path}：{name} 列存的是列表或结构，不是文本",
    ),
    "column_nested.remedy": (
        "a list of turns is mapped with --map turns=COLUMN",
        "轮次列表请用 --map turns=COLUMN 指定",
    ),
    # Parquet, and what it unpacks to
    "parquet_broken": (
        "{path} starts like Parquet but cannot be read; it may be cut short",
        "{path} 开头是 Parquet，但无法读取，可能不完整",
    ),
    "parquet_broken.remedy": ("export it again", "请重新导出"),
    "parquet_footer": (
        "{path}: its list of columns has {bytes:,} bytes, at most {most:,} are read",
        "{path}：列清单有 {bytes:,} 字节，最多读取 {most:,} 字节",
    ),
    "parquet_footer.remedy": ("export it again", "请重新导出"),
    "parquet_values": (
        "{path}: a column holds {values:,} values in {rows:,} rows; no call has so many turns",
        "{path}：有一列在 {rows:,} 行中含 {values:,} 个值，通话不会有这么多轮次",
    ),
    "parquet_values.remedy": ("export it again", "请重新导出"),
    "parquet_page": (
        "{path}: column {name} has a page that unpacks to {bytes:,} bytes; at most {most:,} are unpacked at a time",
        "{path}：{name} 列有一页解压后为 {bytes:,} 字节，一次最多解压 {most:,} 字节",
    ),
    "parquet_page.remedy": (
        "find the cell that is so long (a call has at most {most_chars:,} characters), or export again in smaller row groups",
        "请找出过长的单元格（一通通话最多 {most_chars:,} 个字符），或用更小的行组重新导出",
    ),
    "parquet_bomb": (
        "{path} has {size:,} bytes and unpacks to {unpacked:,} or more; at most {ratio} times its size is read, and calls never come near",
        "{path} 有 {size:,} 字节，解压后至少 {unpacked:,} 字节；最多读取文件大小的 {ratio} 倍，正常通话远达不到",
    ),
    "parquet_bomb.remedy": ("export it again", "请重新导出"),
    "cell_too_long": (
        "{path}: column {name} has a cell of {bytes:,} bytes; at most {most_chars:,} characters are read",
        "{path}：{name} 列有一个 {bytes:,} 字节的单元格，最多读取 {most_chars:,} 个字符",
    ),
    "cell_too_long.remedy": (
        "find that cell: a call is never so long; correct or remove its row, then export again",
        "请找出该单元格（通话不会这么长），更正或删除该行后重新导出",
    ),
}
