"""Where a Chinese personal name stands in a transcript: after words that introduce one, or before a form of address."""

import re
from collections.abc import Iterator

# The most frequent surnames (over 90 % of people), without those that are mostly other words in a call (时 和 平 车 …).
SINGLE = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦"
    "邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤温康施牛樊葛邢安齐易乔伍庞颜倪庄聂章鲁岳翟殷詹申欧耿关兰焦俞左柳甘祝包宁符舒阮柯纪梅童"
    "凌毕裴霍涂成苗谷盛曲翁冉骆蓝路游辛靳管柴蒙鲍华喻祁蒲房滕屈饶解牟艾尤阳古穆司卓仇项褚窦戚岑褟闵佘晏娄麦应"
)
COMPOUND = "欧阳|司马|上官|诸葛|东方|皇甫|尉迟|公孙|慕容|令狐|司徒|夏侯|端木|南宫"
NOT_GIVEN = (
    "我你您他她它们的了是在有要想不就都也还又很和跟与这那哪个什怎么吗呢啊吧呀哦嗯给把被让找说问请谢对好打来去到从会能可得过着号电手身家住已没刚先再为"
    "因所但如而或之其此些点儿话今昨现"
)
TITLES = ("先生", "女士", "小姐", "太太", "阿姨", "大姐", "大哥", "大爷")
JOBS = (
    "老师",
    "师傅",
    "经理",
    "主任",
    "总",
)  # as often a trade as a form of address (安装师傅): a surname alone may stand before

_CHAR = rf"(?![{NOT_GIVEN}])[\u4e00-\u9fff]"
_NAME = rf"(?P<name>(?:{COMPOUND}|[{SINGLE}])(?:{_CHAR}){{1,2}})"
_WHO = r"(?:姓名|名字|机主|户主|联系人|收件人|开户人|经办人)(?:姓名|名字)?"
_TOLD = re.compile(rf"(?:我叫|名字叫|名叫|本人叫|{_WHO}(?:就?是|叫|为|写的是)?[：:，, ]?){_NAME}")
_IS = re.compile(
    rf"(?:我是|本人是|本人|我就是|您是|你是|叫做|他叫|她叫|(?<=[，。,：])叫){_NAME}(?=[，。,.！!？?；;、 \n]|$)"
)
_SURNAME = re.compile(rf"(?:免贵|我|您|客户|机主)姓(?P<name>{COMPOUND}|[{SINGLE}])(?!名)")
_TITLE = re.compile(rf"{'|'.join(TITLES)}|老师(?!傅)|师傅|经理|主任|总(?![是共之的体部机数额算结说归会])")
_FULL = re.compile(rf"(?:(?:{COMPOUND})(?:{_CHAR}){{1,2}}|[{SINGLE}](?:{_CHAR}){{1,2}})$")
_CUE = re.compile(r"(?:^|[^\u4e00-\u9fff]|[叫是姓找问好请给跟和位为让的对了谢嗯哦])$")
_OTHER = re.compile(
    r"[人州市省县区部厅店]$|^(?:江苏|江西|云南|安徽|宁夏|石家|温州|常州|金华|高兴|白金|黄金|金牌|马上|安装|施工|方便|任何|应该|成功|解决|关于|由于|安全|万一)"
)


def spans(text: str) -> Iterator[tuple[int, int]]:
    """Spans of names in order, without overlaps; a title after a name stays (王先生 → the span of 王)."""
    found = {*_introduced(text), *_addressed(text)}
    at = 0
    for start, end in sorted(found, key=lambda span: (span[0], -span[1])):
        if start >= at:
            yield start, end
            at = end


def _introduced(text: str) -> Iterator[tuple[int, int]]:
    for pattern in (_TOLD, _IS, _SURNAME):
        for match in pattern.finditer(text):
            if not _OTHER.search(match.group("name")):
                yield match.span("name")


def _addressed(text: str) -> Iterator[tuple[int, int]]:
    for match in _TITLE.finditer(text):
        start = _start(text[max(0, match.start() - 6) : match.start()], match.group() in JOBS)
        if start:
            yield match.start() - start, match.start()


def _start(before: str, surname_only: bool) -> int:
    """How many characters before a title are the name; 0 where there is none."""
    full = _longest_name(before)
    if full and not surname_only and _CUE.search(before[: len(before) - full]):
        return full
    if re.search(rf"(?:{COMPOUND})$", before):
        return 2
    if before and before[-1] in SINGLE:
        return 1
    return 0 if surname_only else full


def _longest_name(before: str) -> int:
    for length in (4, 3, 2):
        name = before[-length:]
        if len(name) == length and _FULL.match(name) and not _OTHER.search(name):
            return length
    return 0
