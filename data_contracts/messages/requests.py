"""What a submitter asked for and cannot have: an option, a dataset, a merge, an export, a split."""

TABLE: dict[str, tuple[str, str]] = {
    # --map
    "map_shape": ("--map {given!r} is no list of name=column", "--map {given!r} 不是“名称=列名”的列表"),
    "map_shape.remedy": (
        "write name=column, comma-separated, e.g. input_text=text,complaint_category=label",
        "请写成 name=column，用逗号分隔，例如 input_text=text,complaint_category=label",
    ),
    "map_unknown": (
        "--map {name}={column}: {name!r} is no column of the contract; allowed: {allowed}",
        "--map {name}={column}：{name!r} 不是合约中的列，允许：{allowed}",
    ),
    "map_unknown.remedy": ("write one of these before the '='", "请在 '=' 前写其中之一"),
    "map_no_column": (
        "--map {name}={column}: {path} has no column {column!r}; it has {names}",
        "--map {name}={column}：{path} 没有 {column!r} 列，现有的列：{names}",
    ),
    "map_no_column.remedy": ("write a column that is there", "请填写现有的列名"),
    "map_near_column": (
        "--map {name}={column}: {path} has no column {column!r}; it has {names}",
        "--map {name}={column}：{path} 没有 {column!r} 列，现有的列：{names}",
    ),
    "map_near_column.remedy": ("did you mean {near}?", "您要的是不是 {near}？"),
    "map_twice": ("--map {given}: {twice!r} is mapped twice", "--map {given}：{twice!r} 指定了两次"),
    "map_twice.remedy": ("map each column once", "每列请只指定一次"),
    # --fix
    "fix_suffix": (
        "--fix {out} ends in {suffix}; allowed for {name}: {allowed}",
        "--fix {out} 的后缀为 {suffix}；{name} 允许的后缀：{allowed}",
    ),
    "fix_suffix.remedy": ("give the new file such a name", "请给新文件取这样的名字"),
    "fix_folder": ("--fix {out}: there is no folder {folder}", "--fix {out}：文件夹 {folder} 不存在"),
    "fix_folder.remedy": ("make it first", "请先创建"),
    "fix_itself": ("--fix {out} is the file itself", "--fix {out} 就是原文件"),
    "fix_itself.remedy": ("name a new one, it stays as it is", "请另取新文件名；原文件不会改动"),
    "fix_taken": (
        "--fix: {out} is there already and holds something else",
        "--fix：{out} 已存在，且内容不同",
    ),
    "fix_taken.remedy": ("name another file, or remove it", "请换一个文件名，或先删除它"),
    "fix_dangling": (
        "--fix: {out} is there already and is a link to nothing",
        "--fix：{out} 已存在，是一个指向空处的链接",
    ),
    "fix_dangling.remedy": ("name another file, or remove it", "请换一个文件名，或先删除它"),
    # --taxonomy
    "taxonomy_missing": ("taxonomy file {path} does not exist", "分类表文件 {path} 不存在"),
    "taxonomy_missing.remedy": ("give the path of a YAML file", "请给出 YAML 文件的路径"),
    "taxonomy_unreadable": (
        "taxonomy file {path} cannot be read: {why}",
        "无法读取分类表文件 {path}，系统报告：{why}",
    ),
    "taxonomy_unreadable.remedy": ("give a YAML file", "请给出 YAML 文件"),
    "taxonomy_not_yaml": (
        "taxonomy file {path} is not UTF-8 YAML: {why}",
        "分类表文件 {path} 不是 UTF-8 的 YAML：{why}",
    ),
    "taxonomy_not_yaml.remedy": (
        "correct it there, or begin with data_contracts/taxonomy.yaml",
        "请更正该处，或从 data_contracts/taxonomy.yaml 改起",
    ),
    "taxonomy_wrong": ("taxonomy file {path}: {where}: {why}", "分类表文件 {path} 的 {where} 有误：{why}"),
    "taxonomy_wrong.remedy": ("see data_contracts/taxonomy.yaml", "写法见 data_contracts/taxonomy.yaml"),
    # which dataset
    "dataset_none": ("no dataset of family {family!r} yet", "{family!r} 系列还没有数据集"),
    "dataset_none.remedy": ("make one with ./tingsu submit FILE", "请先提交：./tingsu submit FILE"),
    "dataset_unclear": (
        "dataset {wanted!r} stands for {found} datasets: {known}",
        "{wanted!r} 对应 {found} 个数据集：{known}",
    ),
    "dataset_unclear.remedy": ("write more of the id of one", "请写出其中一个更完整的编号"),
    "dataset_unknown": (
        "there is no dataset {wanted!r}, by its name or the beginning of its id; there are: {known}",
        "没有名称为 {wanted!r} 或编号以其开头的数据集，现有：{known}",
    ),
    "dataset_unknown.remedy": ("see ./tingsu datasets", "见 ./tingsu datasets"),
    # merge
    "merge_name": ("a merged dataset needs a name, by which it is found again", "合并的数据集需要名称，以便查找"),
    "merge_name.remedy": ("give it one: --name NAME", "请给出名称：--name NAME"),
    "merge_few": ("a merge needs two or more different datasets", "合并至少需要两个不同的数据集"),
    "merge_few.remedy": ("./tingsu datasets lists them", "数据集列表见 ./tingsu datasets"),
    "merge_prefer": ("--prefer {given!r} is unknown; allowed: newest", "--prefer {given!r} 无效，允许：newest"),
    "merge_prefer.remedy": (
        "leave it out to be told of calls under two categories",
        "不填则会列出类别不一致的通话",
    ),
    "merge_differ": (
        "{a} ({name_a}) and {b} ({name_b}) differ in {field}: {ours} and {theirs}; merged are only datasets of one taxonomy, one "
        "family, and either real or synthetic calls",
        "{a}（{name_a}）与 {b}（{name_b}）的 {field} 不同：{ours} 与 {theirs}；"
        "只能合并分类表相同、系列相同、同为真实或同为合成通话的数据集",
    ),
    "merge_differ.remedy": (
        "submit one of the files again as the other was",
        "请按另一个数据集的方式重新提交其中一份文件",
    ),
    # export
    "export_suffix": (
        "--out {out} ends in {suffix!r}; allowed: {allowed}",
        "--out {out} 的后缀为 {suffix!r}，允许：{allowed}",
    ),
    "export_suffix.remedy": ("give the file such a name", "请给文件取这样的名字"),
    "export_folder": ("--out {out}: there is no folder {folder}", "--out {out}：文件夹 {folder} 不存在"),
    "export_folder.remedy": ("make it first", "请先创建"),
    "export_is_folder": ("--out {out} is a folder", "--out {out} 是文件夹"),
    "export_is_folder.remedy": ("name a file", "请指定文件名"),
    "export_there": ("--out {out} is there already", "--out {out} 已存在"),
    "export_there.remedy": ("name another file, or say --force to replace it", "请换一个文件名，或用 --force 覆盖"),
    "sample_unwritable": ("cannot write {out}: {why}", "无法写入 {out}，系统报告：{why}"),
    "sample_unwritable.remedy": ("give --out a place you may write to", "请用 --out 指定可写的位置"),
    # split and gold set
    "gold_taxonomy": (
        "the gold set of family {family!r} has another taxonomy; results under two cannot be compared",
        "{family!r} 系列的黄金集用的是另一份分类表，两份分类表下的结果无法比较",
    ),
    "gold_taxonomy.remedy": (
        "submit under another family (--set data.family=NAME), or with that gold set's taxonomy",
        "请提交到另一个系列（--set data.family=NAME），或使用该黄金集的分类表",
    ),
    "gold_synthetic": (
        "the gold set of family {family!r} is synthetic and this dataset is real; they are never mixed",
        "{family!r} 系列的黄金集是合成通话，而这个数据集是真实通话，两者不能混用",
    ),
    "gold_synthetic.remedy": (
        "work in a home of its own: export TINGSU_HOME=FOLDER",
        "请使用单独的目录：export TINGSU_HOME=FOLDER",
    ),
    "gold_real": (
        "the gold set of family {family!r} is real and this dataset is synthetic; they are never mixed",
        "{family!r} 系列的黄金集是真实通话，而这个数据集是合成通话，两者不能混用",
    ),
    "gold_real.remedy": (
        "work in a home of its own: export TINGSU_HOME=FOLDER",
        "请使用单独的目录：export TINGSU_HOME=FOLDER",
    ),
    "side_too_small": (
        "side {side!r} of dataset {dataset} has {calls} calls of {categories} categories; it needs calls of two or more. The dataset "
        "has {accepted} calls in {groups} groups",
        "数据集 {dataset} 的 {side!r} 部分只有 {calls} 通、{categories} 个类别，至少需要两个类别的通话。整个数据集有 {accepted} 通、"
        "{groups} 组",
    ),
    "side_too_small.remedy": (
        "submit calls of more customers and categories",
        "请提交更多客户、更多类别的通话",
    ),
    "side_barred": (
        "side {side!r} of dataset {dataset} has {calls} calls of {categories} categories; it needs calls of two or more. The dataset "
        "has {accepted} calls in {groups} groups, {barred} of them of customers of the gold set, whom no model may read",
        "数据集 {dataset} 的 {side!r} 部分只有 {calls} 通、{categories} 个类别，至少需要两个类别的通话。整个数据集有 {accepted} 通、"
        "{groups} 组，其中 {barred} 通属于黄金集的客户，模型不能读取",
    ),
    "side_barred.remedy": (
        "datasets that give one conversation id to different customers make one of them: are these ids numbers of rows, make them "
        "unique; else submit calls of more customers and categories",
        "若不同客户在不同数据集中用了同一个通话编号，会被视为同一客户：如果编号只是行号，请改为唯一编号；否则请提交更多客户、"
        "更多类别的通话",
    ),
    "bad_date": ("{name} = {given!r} is no date", "{name} = {given!r} 不是日期"),
    "bad_date.remedy": ("write it as 2026-06-01", "请写成 2026-06-01"),
    "refresh_reason": (
        "a refresh of the gold set needs a reason, which is kept with it",
        "更新黄金集需要说明原因，原因会一并保存",
    ),
    "refresh_reason.remedy": ("say it: --reason 'WHY'", "请写明：--reason 'WHY'"),
    "refresh_no_gold": ("family {family!r} has no gold set yet", "{family!r} 系列还没有黄金集"),
    "refresh_no_gold.remedy": (
        "its first ./tingsu retrain makes one, and a refresh comes later",
        "首次 ./tingsu retrain 会建立黄金集，之后才能更新",
    ),
    "refresh_nothing": (
        "dataset {dataset} ({name}) has {coming} calls that version {version} of the gold set of {family!r} lacks and no model was "
        "trained on ({trained} others are of customers or words that models have read)",
        "数据集 {dataset}（{name}）中，{family!r} 黄金集第 {version} 版没有、且模型未训练过的通话有 {coming} 通（另有 {trained} 通的客户或"
        "文本已被模型读过）",
    ),
    "refresh_nothing.remedy": (
        "submit newer calls, or choose an earlier --since",
        "请提交更新的通话，或把 --since 提前",
    ),
    "refresh_overtaken": (
        "another refresh has just made version {version} of the gold set of {family!r}, with {rows} calls",
        "另一次更新刚刚建立了 {family!r} 黄金集第 {version} 版，共 {rows} 通",
    ),
    "refresh_overtaken.remedy": (
        "look at it (./tingsu datasets show {dataset}), then decide again",
        "请先查看（./tingsu datasets show {dataset}），再作决定",
    ),
}
