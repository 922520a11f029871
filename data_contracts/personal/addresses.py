"""Home addresses: a street and house, a compound with building and room, a village with a house; and the places before them.

Each house number is looked at once: what follows it is read by one pattern, what stands before it as far back as REACH.
"""

import re
from collections.abc import Iterator
from functools import cache

from data_contracts.personal.found import Found

REACH = 32  # characters before a house number
_NUMBER = r"[附甲乙A-Za-z0-9٠-٩十百][A-Za-z0-9٠-٩十百]{0,5}+"
_KIND = r"(?:号楼(?!道)|号院|号|栋|幢|座|单元|层|楼|室|户|门(?!市)|弄|组|队|期|排|[区社](?=[0-9٠-٩]))"
_ROOM = r"[0-9٠-٩]{2,4}+[A-Za-z]?(?!年|月|日|号|块|元|点|分|个|天|次|兆|[GMgm])"
_STEPS = r"(?:[\-—杠][0-9٠-٩]{1,4}){1,3}+[号室]?"
_HOUSE = re.compile(
    rf"{_NUMBER}(?:{_KIND}(?:[，, ]{{0,2}}(?:嗯|啊|呃)?{_NUMBER}{_KIND}){{0,6}}+(?:[，, ]?(?:嗯|啊|呃)?{_ROOM}室?)?"
    rf"(?:商铺|店?铺|摊位|档口)?|{_STEPS})"
)
_NO_HOUSE = re.compile(
    r"线|码|机(?!场)|称|召|外|角|脉|令|卡|头|主|文|工作人员|客服|坐席|座席|话务|员工|技师|窗口|柜台|店|营业|网点|门店|支行|派出所|基站|出口|公交|服务区|套餐"
)
# After a day of the month; so only after a number up to 31, and no district before the street.
_DAY = re.compile(r"晚|早|上午|下午|中午|之前|以前|之后|以后|到|左右|的时候|那天|当天|开始|办|交|扣")
_DAYS = re.compile(r"(?:[12]?\d|3[01]|[一二三]?十[一二三四五六七八九]?)号")
_STREET = re.compile(
    r"(?:大道|大街|公路|国道|省道|马路|[路街巷弄道里条屯庄村镇乡桥段社区坊园院]|巷子|胡同|[东西南北中]段|[一二三四五六七八九十]段|辅路|[路街道](?:东|西|南|北|中)|路[东西南北]里|[甲乙附])$"
)
_COMPOUND = re.compile(
    r"(?:小区|花园|家园|公寓|新村|大厦|苑|城|府|[里园湾庭轩郡邸居墅庄屯寨村坊阁院庐岸洲岛谷堡]|广场|中心|国际|天[地街]|百货|商[城场厦]|世界|乐城|超市|[市卖]场|[^机]港|商圈|步行街|(?<!路)[路街道巷](?:交叉口|交汇处|路口|口)|名都|公馆|宿舍|家属楼|大楼|楼盘|豪庭"
    r"|[一二三四五六七八九十东西南北ABCDabcd]区|[一二三四五六]期)$"
)
_CROSSING = re.compile(r"[路街道巷](?:交叉口|交汇处|路口)")
_VILLAGE = re.compile(r"(?:[村屯庄寨镇乡]|社区|农场|林场)$")
_GENERIC = re.compile(
    r"^(?:[那这哎].{0,1})?(?:小区|花园|家园|公寓|大厦|楼|城|村|社区|院|园|里|区|路|街|道|马路|网路|线路|道路|公路|村里|院里|小区里|楼里|这里|那里|哪里|城里|家里|屋里|区里)?$"
)
_KINDS = re.compile(r"号楼|号院|单元|[号栋幢座层楼室户门弄组队期排社]|(?<=[0-9٠-٩])区")
_ROOM_LAST = re.compile(r"[0-9٠-٩]{2,4}[A-Za-z]?$|[室户铺位口]$")
_SHOP_OR_STEPS = re.compile(
    r"[铺位口]$|^[0-9٠-٩]{1,2}[\-—杠][1-9١-٩][\-—杠](?:(?<=[2-9٢-٩][0-9٠-٩].[0-9٠-٩].)|(?![12][09]))[0-9٠-٩]{3,4}室?$"
)  # …3楼12号商铺, 江南春晓13-2-1803
_NO_PLACE = re.compile(r"[号码数期价单]|时间|比分|版本|型")
_STEPS_ONLY = re.compile(r"[0-9٠-٩]{1,3}[\-—杠]")
# Words that come before a place and are no part of one.
_BEFORE = re.compile(
    r".*(?:[在是到住址寄送搬往叫我你您他她它们的了就个这哪嗯啊呃哦吗呢吧呀说找请让把跟给被帮没还也很再又能会想要问谢喂您]"
    r"|(?:那边|位于|坐落|属于|安装|地点|登记|写成(?!都)|改成(?!都)|换成(?!都)|现在|目前|家里|老家|公司|单位|户籍|地址|住址|收货|快递|上门|麻烦|师傅|位置|对于|那里))",
    re.DOTALL,
)
_LEADING = re.compile(r"^(?:家(?=.{4})|那(?![曲坡])|从(?!化|江)|为|于(?![洪都田])|[，, ])+")
_NAME = re.compile(r"[，, ]?[\u4e00-\u9fff]{2,10}[，, ]?$")
_JOINT = re.compile(r"(?:[，, ]|嗯|啊|呃|那个|的)+$")
_NEAR_PLACE = re.compile(
    r"[路街巷弄道里条段村镇乡屯庄桥区坊园院东西南北中苑城府湾庭轩郡邸居墅寨阁庐岸洲岛谷堡场心际地都馆舍楼盘期同甲乙附线寓厦家子]"
    r"(?:[，, 嗯啊呃的]|那个){0,4}$"
)
_HARD = re.compile(r".*[\n。！？!?；;：:〕〔（(]", re.DOTALL)
_PLACE_END = re.compile(r"[省市区县镇乡旗州盟村路街巷道里苑园]$|街道$|小区$|花园$|大道$")
_PROVINCE = re.compile(
    r"北京|天津|上海|重庆|河北|山西|辽宁|吉林|黑龙江|江苏|浙江|安徽|福建|江西|山东|河南|湖北|湖南|广东|海南|四川|贵州|云南|陕西|甘肃|青海|台湾|内蒙古|广西|西藏|宁夏|新疆"
)
_ROAD_AFTER = re.compile(r"[东西南北中]?[一二三四五六七八九十]?(?:路|街|大道|道|巷)|[路街巷]")  # 中山东路, 上海路
_ADMIN = re.compile(r"[市区县旗州盟]")
# An address without a house number: only after words that say somebody lives there, and of two levels at least.
_TOLD = re.compile(
    r"(?:住在|家住|住址是|地址是|地址在|家在|地址|住址|寄到|送到|搬到|搬去|装在)[，,：: ]?(?:嗯|呃|啊)?[，, ]?"
)
_H = r"[\u4e00-\u9fff]"
_LEVELS = re.compile(
    rf"(?=(?P<upper>{_H}{{2,9}}?(?:省|市|区|县|镇|乡|街道)(?!的|里|都|没)(?:{_H}{{1,6}}?(?:市|区|县|镇|乡|街道)(?!的|里|都|没)){{0,3}}))(?P=upper)"
    rf"(?P<last>{_H}{{1,8}}?(?:村|路|街|大道|巷|胡同|小区|社区|花园|公寓|苑|大厦|家园))(?!营业|口|店|上|附近|网点|支行|那|这|派出)"
)


def find(text: str, digits: str) -> Iterator[Found]:
    """Addresses in order. text: folded; digits: the same with spoken digits read, `spoken.digits`."""
    first, past = 0, 0
    for house in _HOUSE.finditer(digits):
        before = text[max(past, house.start() - REACH) : house.start()]
        if past and _goes_on(before, house.group()):  # …路115号大悦城16层
            past = house.end()
            continue
        start = _start(before, house.group(), digits, house.end())
        if start is None:
            continue
        if past and house.start() - start == past:  # …路115号万科城2栋: one address
            past = house.end()
            continue
        if past:
            yield Found("address", ((first, past),))
        first, past = house.start() - start, house.end()
    if past:
        yield Found("address", ((first, past),))


def told(text: str) -> Iterator[Found]:
    """Addresses without a house number."""
    for cue in _TOLD.finditer(text):
        if place := _LEVELS.match(text, cue.end()):
            yield Found("address", (place.span(),))


def _start(before: str, house: str, text: str, end: int) -> int | None:
    """How many characters before the house number the address begins; None where it is no address."""
    if (
        len(_KINDS.findall(house)) < 2
        and not _ROOM_LAST.search(house)
        and not (_NEAR_PLACE.search(before) or _CROSSING.search(before))
    ):
        return None
    joint = _JOINT.search(before)
    place = before[: joint.start()] if joint else before
    place = _place(place)
    if joint and not _PLACE_END.search(place):
        place, joint = "", None
    if not _is_house(place, house, text, end):
        return None
    if _GENERIC.match(place):
        return 0
    return len(place) + (joint.end() - joint.start() if joint else 0)


def _goes_on(between: str, house: str) -> bool:
    """Whether a house number a few characters after another one is the building at the first."""
    return bool(_NAME.match(between)) and not _BEFORE.match(between) and _KINDS.findall(house)[:1] not in ([], ["号"])


def _place(before: str) -> str:
    """The end of `before` that names a place."""
    for cut in (_HARD, _BEFORE):
        if match := cut.match(before):
            before = before[match.end() :]
    comma = max(before.rfind("，"), before.rfind(","), before.rfind(" "))
    if comma >= 0 and not _PLACE_END.search(before[:comma].rstrip("，, ")):
        before = before[comma + 1 :]
    before = before[_first_known(before) :]
    lead = _LEADING.match(before)
    return before[lead.end() :] if lead else before


def _first_known(place: str) -> int:
    """Where the first province, prefecture or county begins; 0 without one."""
    if _CROSSING.search(place):
        return 0
    starts = [m.start() for m in _PROVINCE.finditer(place) if not _ROAD_AFTER.match(place, m.end())]
    for suffix in _ADMIN.finditer(place):
        for length in (6, 5, 4, 3, 2):
            start = suffix.end() - length
            if start >= 0 and place[start : suffix.end()] in _divisions():
                starts.append(start)
                break
    first = min(starts, default=0)
    for length in (4, 3, 2):  # 杭州余杭区
        if first >= length and f"{place[first - length : first]}市" in _divisions():
            return first - length
    return first


def is_in_region(text: str, start: int, end: int) -> bool:
    """Whether this span is or cuts the name of a province or prefecture (吉林四平, 乌鲁木齐); longer, it may be 揭阳阳."""
    around = max(0, start - 6)
    found = _regions().finditer(text, around, end + 6)
    return any(
        match.start() < end and start < match.end() and (match.start() < start or end <= match.end()) for match in found
    )


@cache
def _regions() -> re.Pattern[str]:
    named = re.findall(r'province="([^"]+)"|^\s+\d\d00 county="([^"]+)"', _table(), re.MULTILINE)
    whole = {re.sub(r"\[[^\]]*\]", "", name) for both in named for name in ",".join(both).split(",")}
    short = {re.sub(r"(?:壮族|回族|维吾尔)?(?:自治区|特别行政区)$|[省市盟]$|地区$", "", name) for name in whole}
    return re.compile("|".join(sorted((name for name in short if len(name) > 1), key=len, reverse=True)))


@cache
def _table() -> str:
    from importlib.resources import files

    return files("stdnum").joinpath("cn/loc.dat").read_text(encoding="utf-8")


@cache
def _divisions() -> frozenset[str]:
    """Prefectures and counties, by the table of identity numbers that python-stdnum keeps."""
    named = re.findall(r'county="([^"]+)"', _table())
    return frozenset(re.sub(r"\[[^\]]*\]", "", name) for names in named for name in names.split(","))


def _is_house(place: str, house: str, text: str, end: int) -> bool:
    units = _KINDS.findall(house)
    is_bare = bool(_GENERIC.match(place))
    if len(place) > 2 and _SHOP_OR_STEPS.search(house) and not _NO_PLACE.search(place):
        return True
    if not units or (units == ["号"] and _STEPS_ONLY.match(house)):
        return bool(_COMPOUND.search(place)) and not is_bare and len(place) > 2
    has_room = bool(_ROOM_LAST.search(house))
    is_building = not {"栋", "幢", "号楼", "座"}.isdisjoint(units)
    if is_bare:
        return is_building and "单元" in units and has_room
    if units[0] in ("号", "号院", "弄") and _STREET.search(place):
        is_day = _DAYS.fullmatch(house) and not _ADMIN.search(place) and _DAY.match(text, end)
        return len(units) > 1 or not (is_day or _NO_HOUSE.match(text, end))
    if units[0] in ("组", "队", "社"):
        return bool(_VILLAGE.search(place))
    if len(units) > 1 or has_room:
        return len(place) > 1 and (bool(_COMPOUND.search(place)) or (is_building and (has_room or "单元" in units)))
    is_known = _COMPOUND.search(place) or (units[0] != "号楼" and _CROSSING.search(place))
    return units[0] in ("栋", "幢", "号楼") and bool(is_known) and len(place) > 3
