"""Where a Chinese personal name stands in a transcript: after words that introduce one, or before a form of address."""

import re
from collections.abc import Iterator

from data_contracts.personal import addresses
from data_contracts.personal.found import BLANK
from data_contracts.personal.surnames import (
    CLIPPED,
    COMPOUND,
    ENDINGS,
    FAMILIAR,
    JOBS,
    NOT_GIVEN,
    NOT_IN_NAME,
    OFTEN_FIRST,
    OFTEN_GIVEN,
    OFTEN_LAST,
    PURE,
    PURE_ENDINGS,
    RARE,
    SINGLE,
    TITLES,
    is_never_a_name,
    is_word,
)


def _set(chars: frozenset[str]) -> str:
    return "".join(sorted(chars))


_H = r"[\u4e00-\u9fff]"
_CHAR = rf"(?![{NOT_GIVEN}]|刚[才刚好]){_H}"
_SOFT = rf"(?:[家如可今为能来因之其已好有对]{_CHAR}(?={_H}?(?:[^\u4e00-\u9fff]|$|[的先女])))"  # 张家豪，
_GIVEN = rf"(?:{_SOFT}|(?:{_CHAR}){{1,2}})"
_ANY_SURNAME = rf"(?:{COMPOUND}|[{SINGLE}{RARE}])"
_DOUBLE = f"[{SINGLE}][{SINGLE}]{_CHAR}{_CHAR}"  # a child with both surnames: 李周欣然
_NAME = (
    rf"(?P<name>{_DOUBLE}(?=[，。,.！!？?；;、\n ]|$)"
    rf"|{_ANY_SURNAME}(?:(?![么们的了吗呢]){_H}{{1,2}}+(?=[，。,.！!？?；;、\n ]|$)|{_GIVEN}))"
)
_LIKELY_NAME = rf"(?P<name>(?:{COMPOUND}|[{SINGLE}]){_GIVEN})"
_END = r"(?=[，。,.！!？?；;、 \n]|$|吗|吧|对[吧吗不]|本人|先生|女士|小姐)"
_UM = r"(?:[，,：: ]|嗯|呃|啊|那个|就){0,3}"

# Alternatives that begin with a plain character let the search skip all other characters at once.
_TOLD = re.compile(
    r"(?:叫(?<=[我他她名人公婆妈爸儿女子姐哥弟妹友的]叫)|叫做|姓名|名字|机主|户主|户名|人(?<=[系件货户办卡理请保记用]人)|全名|本名|大名|业主)(?:的?(?:姓名|名字))?"
    rf"{_UM}(?:是|叫|为|写的?是?|登记的?是?|填的?是?)?{_UM}{_NAME}"
)
_IS = re.compile(
    r"(?:是(?<=[我人您你他她里上面问不就]是)|本人|写着|写了|就写|写上|找|叫|客服(?![：:])(?:[0-9]{2,6}号?)?|专员|代表|坐席|座席|工号[0-9]{2,6}号?)"
    rf"{_UM}是?{_LIKELY_NAME}(?:{_END}|(?=为[您你]服务|很高兴|竭诚|之前|收)|(?<=叫...)(?=的)|(?<=叫..)(?=的)|(?=[你我他您们]))"
)
_OWN = re.compile(
    rf"(?:用|以|写|是|给|找|在|问|成|登记的?){_LIKELY_NAME}(?=的名字|的名下|名下|本人|的身份证|的账[户号]|这个名字|，收)"
)
# What is a name by its own characters, after most words; a short one needs words on both sides.
# Somebody's relation or part in the matter; a name follows it without a word between: 我哥刘春生, 收款人陈平, 房东孔伟.
_ROLE = (
    r"(?:爸|妈|爷爷|奶奶|姥姥|姥爷|外公|外婆|岳父|岳母|公公|婆婆|父亲|母亲|哥|姐|弟|妹|妹夫|姐夫|嫂子?|老公|老婆|爱人|媳妇儿?|丈夫|妻子|对象|朋友|女儿|儿子|闺女|孩子|孙子|孙女|外甥|侄子|侄女|侄儿"
    r"|舅舅?|姨|姑姑?|叔叔?|伯伯?|同事|同学|战友|室友|邻居|房东|房客|租户|车主|货主|店主|业主|机主|户主|老板|领导|经理|主管|主任|师傅|司机|员工|业务员|快递员|营业员|柜员|专员|顾问"
    r"|秘书|助理|会计|出纳|工程师|法人|法人代表|代表|律师|医生|老师|人(?<=[系件货户办卡理请保记用款持担受承代继借贷责证告诉益约护养]人))"
)
_RELATION = re.compile(rf"{_ROLE}{_UM}(?:叫|是|写|名)?{_UM}(?P<name>(?:{COMPOUND}|[{SINGLE}{RARE}])(?:{_CHAR}){{1,2}})")
_AFTER = (
    r"(?=[，。,.！!？?；;、\n ]|$|啊|呀|的(?!话)|办|说|给|打|收|也|在|和|跟|介绍|来|去|签|帮|联系|答应|负责|本人|今天|昨天|现在"
    r"|让|告诉|先生|女士|吗|吧|[0-9٠-٩]|一[千百万块])"
)
_BETWEEN = re.compile(  # 让王芳给我回电话: words on both sides, and a name by its characters
    rf"(?:让|就说|说是|转给|找|问|叫|写的?是?|签的?是?|联系|告诉|通知|替|帮|派|由|卡是|我(?<=[喂哎，]我)|的(?<=[司安行通动信险东家]的))"
    rf"(?P<name>(?:{COMPOUND}|[{SINGLE}])(?:{_CHAR}){{1,2}}?){_AFTER}"
)
_PLACE = r"(?![路街村镇乡县市区州省庄屯桥湾河湖苑牌岛港]|小区|花园|大厦|大学|中学|小学|医院|公司|集团|银行|酒店|饭店|超市|营业|机场)"
_PLAIN_CHAR = rf"(?![{NOT_IN_NAME}]){_CHAR}"
_ERA = "景行|知行|力行|和平|解放|前进|团结|建设|胜利|万里|今朝"  # given names as a whole
_GIVEN_TWO = rf"(?:{_ERA}|[{_set(OFTEN_FIRST)}][{_set(OFTEN_LAST)}]|(?:{_PLAIN_CHAR}){{2}})"
# Only the surname is consumed: the next character may begin the name (外孙 彭阿明).
_UNINTRODUCED = tuple(  # two patterns: a class alone is searched for fast
    re.compile(rf"{surname}(?=(?P<given>{_GIVEN_TWO}|{_PLAIN_CHAR}){_PLACE})")
    for surname in (f"[{SINGLE}{RARE}]", f"(?:{COMPOUND})")
)
_PURE_ENDING = re.compile(rf"(?:{ENDINGS}|{PURE_ENDINGS})$")
_BEFORE_NAMES = frozenset(
    "叫是找给问和跟对我着由让诉请被象个位嘛喊的了签者名写说方得以为替帮派向与及属哥姐弟妹儿女孙友居户里过您人代司任记"
)
_ROLE_END = re.compile(rf"{_ROLE}$")
_SHORT = re.compile(
    rf"(?:是|找|给|写|方|者|诉|得|居|嘛|着|象|和|跟|由|爱人|老公|老婆|名下|我)(?P<name>[{SINGLE}][{_set(OFTEN_GIVEN)}])"
    r"(?=[，。,.！!？?；;、\n ]|$|的(?!话)|签|本人|今天|现在|为您|[跑办开是家这来不](?!心))"
)
_RELATED = re.compile(
    rf"(?:是|我|象|找)(?P<name>{_ANY_SURNAME}{_H}{{1,2}}?)"
    r"(?=今天|现在|让[他她]|的(?:爱人|家属|老公|老婆|儿子|女儿|妈|爸|朋友|同事|丈夫|妻子|先生|太太|父亲|母亲|代理人|监护人|哥|姐|弟|妹)|本人|签的|签字|经办)"
)
_SURNAME = re.compile(
    rf"姓(?<![百同贵]姓)(?P<name>{COMPOUND}|[{SINGLE}{RARE}])(?!名)(?:[，,]?(?:名字?|单名|全名)?叫(?P<given>(?:{COMPOUND}|[{SINGLE}{RARE}])?+{_GIVEN}){_END})?"
)
_POLITE = re.compile(rf"(?:免贵|贵姓)(?:姓|是|，)?(?P<name>{COMPOUND}|[{SINGLE}{RARE}])(?=[，。,、 \n的]|$)")
_SPELT = re.compile(
    rf"(?:弓长|立早|木子|耳东|口天|双木|古月|言午|三横|三划|草头|草字头|走肖|美女|女良|人可|禾木|双口|西早|干勾|文刀|卯金刀|走之|双人|余则|两点水|三点水|单耳)"
    rf"(?:一竖)?的?(?P<name>[{SINGLE}{RARE}])"
)
_OWN_SURNAME = re.compile(rf"(?P<name>{COMPOUND}|[{SINGLE}{RARE}])(?=是我的?姓)")
_SERVES = re.compile(
    rf"(?<![\u4e00-\u9fff])(?P<name>{_ANY_SURNAME}{_GIVEN})(?=(?:很?高兴)?[为给][您你](?:服务|办理|解答))"
)
_CALLED = re.compile(
    rf"(?:叫我|人(?<=[系件货办]人)|找|联系)(?P<name>[小老阿](?:{COMPOUND}|[{SINGLE}{RARE}]))(?=[，。,.！!？?、 \n]|$|就[行好可]|吧)"
)
_CLIPPED = re.compile(
    rf"[跟和找叫问给是个让们由](?P<name>[{SINGLE}])[总工哥姐](?=说[好过的了]|给我|帮我|态度|人[好很]|办|答应|联系|打|来|签|那[边里]|告诉|负责|刚|谈|在|不|他)"
)
_SELDOM = (("服务", _SERVES), ("我的姓", _OWN_SURNAME))  # looked for only where these words are
_FAMILIAR = re.compile(
    rf"(?:[小老阿][{FAMILIAR}{PURE}]|老[{SINGLE}文](?!家))"
    r"(?=[，。,.！!？? \n]|$|就[行好可]|吧|你好|您好|跟我|和我|给我|来|帮|接|处理|答应|打|说|告诉|联系|为您|我们)"
)
_FAMILIAR_CUE = re.compile(r"(?:叫我|我是|我叫|客服|[找问]|联系|那个|这个|你们|同事|经理|师傅|^|[，。,：\n])$")
_ASKED = re.compile(
    r"(?:姓名|名字|户名|贵姓|称呼|哪位|叫什么|叫啥|尊姓|机主|[系件货户办理保款]人|是谁)[^\n]{0,12}\n[^\n：:]{0,6}[：:]?"
    r"(?:[，,。、 ]|嗯|啊|哦|呃|是|我|就|叫|好的?|对|那个|免贵|姓|本人|登记的?|就是说|哎|我跟你说){0,8}"
    rf"(?P<name>{_DOUBLE}(?=[，。,\n]|$)"
    rf"|{_ANY_SURNAME}(?:(?:{_H}){{1,2}}+(?=[，。,\n]|$)|{_GIVEN})?)(?=[，。,.！!？?；; \n]|$|的|先生|女士)"
)
_MINORITY = re.compile(rf"(?<!{_H}){_H}{{2,6}}[·•]{_H}{{2,8}}|(?<=[叫是])(?!是){_H}{{2,6}}[·•]{_H}{{2,8}}")
_LATIN = re.compile(r"(?:我叫|我是|名字是|名字叫|英文名叫?) ?(?P<name>[A-Z][a-z]{2,11}(?: [A-Z][a-z]{1,11})?)(?![a-z])")
_TITLE = re.compile(
    rf"{'|'.join(TITLES)}|老师(?!傅)|师傅|经理(?!部)|主任|队长|科长|主管|店长|站长|总(?![是共之的体部机数额算结说归会要得经行台分店觉能有计价量公让])"
    + "".join(rf"|{title}(?=[，。,.！!？?你您说好请、 \n]|$)" for title in "工哥姐")
)
_FULL = re.compile(rf"(?:(?:{COMPOUND})|[{SINGLE}{RARE}]){_GIVEN}$")
_CUE = re.compile(r"(?:^|[^\u4e00-\u9fff]|[叫是姓找问好请给跟和位为让的对了谢嗯哦啊哎喂呃向被由把我下个们着])$")
_OTHER = re.compile(
    r"[人州市省县区部厅店员们司]$|^(?:江苏|江西|云南|安徽|宁夏|石家|温州|常州|金华|高兴|白金|黄金|金牌|马上|安装|施工|方便|任何|应该|成功|解决|关于|由于|安全|万一)"
)
_COMPOUND_END = re.compile(rf"(?:{COMPOUND})$")
_ENDING = re.compile(rf"(?:{ENDINGS})$")


def find(text: str) -> Iterator[tuple[int, int]]:
    """Spans of names in order, without overlaps; a title after a name stays (王先生 → the span of 王)."""
    found = {*_introduced(text), *_asked(text), *_addressed(text)}
    at = 0
    for start, end in sorted(found, key=lambda span: (span[0], -span[1])):
        if start >= at:
            yield start, end
            at = end


def _introduced(text: str) -> Iterator[tuple[int, int]]:
    for pattern, is_no_name in _INTRODUCING if not _is_owned(text) else (*_INTRODUCING, (_OWN, _no_likely_name)):
        for match in pattern.finditer(text):
            if not is_no_name(match["name"]):
                yield match.span("name")
    for match in _SURNAME.finditer(text):
        yield from (match.span(group) for group in ("name", "given") if match[group])
    for match in (*_RELATION.finditer(text), *_BETWEEN.finditer(text)):
        if name := _likeliest(match["name"], text[match.end("name") : match.end("name") + 2], match.re is _RELATION):
            yield match.start("name"), match.start("name") + len(name)
    yield from _unintroduced(text)
    for pattern in (_POLITE, _SPELT, _LATIN, _CALLED, *(pattern for said, pattern in _SELDOM if said in text)):
        yield from (match.span("name") for match in pattern.finditer(text) if not is_word(match["name"][:2]))
    for match in _FAMILIAR.finditer(text):
        if _FAMILIAR_CUE.search(text[max(0, match.start() - 2) : match.start()]):
            yield match.span()
    if "·" in text or "•" in text:
        yield from (match.span() for match in _MINORITY.finditer(text))


def _unintroduced(text: str) -> Iterator[tuple[int, int]]:
    """Names by their characters and the words on both sides; a surname that is hardly ever anything else needs less of them."""
    for pattern in _UNINTRODUCED:
        for match in pattern.finditer(text):
            start, after = match.span()
            given, before = match["given"], text[max(0, start - 4) : start]
            length = _given_length(match.group(), given, before, text[after : after + 4])
            if not length or _no_likely_name(match.group() + given) or _PURE_ENDING.search(before + text[start]):
                continue
            name = text[start : after + length]
            if name[0] == name[1] or is_word(name[: len(match.group()) + 1]) or _TITLE.match(text, after):
                continue  # 余余额: a stutter
            if not addresses.is_in_region(text, start, after + length):
                yield start, after + length


def _given_length(surname: str, given: str, before: str, rest: str) -> int:
    """How many characters after a surname are a given name; 0 where it is none."""
    is_pure = surname in PURE or len(surname) == 2
    evidence = _evidence(given) if len(given) == 2 else 0
    if not (is_pure or evidence):
        return 0
    is_apart = _is_apart(before)
    if len(given) == 2:
        enough = evidence + is_apart + is_pure + bool(_FOLLOWS_ONE.match(rest, 2))
        if (is_pure and enough > 2) or (is_apart and evidence and enough > 2):
            return 2
    return int(is_pure and is_apart and given[0] in OFTEN_GIVEN and bool(_FOLLOWS_ONE.match(rest, 1)))


def _is_apart(before: str) -> bool:
    """Whether the words before a name may stand there."""
    last = before[-1:]
    return not last or last in _BEFORE_NAMES or not "\u4e00" <= last <= "\u9fff" or bool(_ROLE_END.search(before))


def _evidence(given: str) -> int:
    """How many of two characters often stand in given names."""
    if given[0] == given[1] or given in _ERA:
        return 2
    return sum(char in OFTEN_FIRST or char in OFTEN_LAST for char in given)


_FOLLOWS_ONE = re.compile(
    r"(?=[，。,.！!？?；;、 \n]|$|为您|[啊呀的办说给打收也在和跟来去签帮让吗吧是这不家跑开报发住离接替代有])(?!的话)"
)
_FOLLOWS = re.compile(_AFTER)


def _likeliest(name: str, after: str, is_told: bool) -> str:
    """How much of what follows a role is a name by its characters; empty where none."""
    surname = 2 if re.match(COMPOUND, name) else 1
    given = name[surname:]
    if is_never_a_name(name) or is_word(name[: surname + 1]) or _OTHER.search(name):
        return ""
    if len(given) == 2 and given[0] in OFTEN_FIRST and given[1] in OFTEN_LAST:
        return name
    if len(given) == 2 and is_told and _FOLLOWS.match(after) and (given[0] in OFTEN_FIRST or given[1] in OFTEN_LAST):
        return name
    after = given[1:] + after
    return name[: surname + 1] if given[0] in OFTEN_GIVEN and _FOLLOWS.match(after) else ""


def _is_owned(text: str) -> bool:
    """Whether it is worth to look for 用王小明的名字: a quick no for most calls."""
    return any(word in text for word in ("名下", "名字", "本人", "的身份证", "的账", "，收"))


def _no_told_name(name: str) -> bool:
    return is_never_a_name(name) or bool(_OTHER.search(name))


def _no_likely_name(name: str) -> bool:
    return is_word(name) or bool(_OTHER.search(name))


_INTRODUCING = (
    (_TOLD, _no_told_name),
    *((pattern, _no_likely_name) for pattern in (_IS, _SHORT, _RELATED)),
)


def _asked(text: str) -> Iterator[tuple[int, int]]:
    """The answer to an agent's question for a name may be nothing but the name."""
    for match in _ASKED.finditer(text):
        if not _no_told_name(match["name"]):
            yield match.span("name")


def _addressed(text: str) -> Iterator[tuple[int, int]]:
    for match in _CLIPPED.finditer(text):
        if not _ENDING.search(text[: match.end()][-3:]):
            yield match.span("name")
    for match in _TITLE.finditer(text):
        start = _start(text[max(0, match.start() - 7) : match.start()], match.group() in JOBS, match.group() in CLIPPED)
        if start:
            yield match.start() - start, match.start()


def _start(before: str, surname_only: bool, is_strict: bool) -> int:
    """How many characters before a title are the name; 0 where there is none."""
    if not before or before[-1] == BLANK:
        return 0
    full = _longest_name(before)
    if full and _CUE.search(before[: len(before) - full]):
        return full
    if _ENDING.search(before) and (surname_only or before[-1] != "周"):
        return 0
    if _COMPOUND_END.search(before):
        return 2
    is_told = bool(_CUE.search(before[:-1]))
    if (before[-1] in SINGLE and (is_told or not is_strict)) or (before[-1] in RARE and is_told):
        return 1
    return 0 if surname_only else full


def _longest_name(before: str) -> int:
    for length in (4, 3, 2):
        name = before[-length:]
        if len(name) == length and _FULL.match(name) and not _OTHER.search(name) and not is_word(name):
            return length
    return 0
