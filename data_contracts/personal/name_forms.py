"""Forms of names that no model of Han names knows: names of other languages in characters, two surnames, rare given names after a
compound surname; and what only looks like a name."""

import re
from collections.abc import Iterator

from data_contracts.personal.name_model import Vocabulary

Span = tuple[int, int]
_H = r"[\u4e00-\u9fff]"
# Parts of Uyghur, Kazakh, Tibetan and Mongolian names as they are written in characters; two of them are a name.
_PARTS = (
    "阿不都|阿卜杜|阿布都|阿不力|阿迪力|阿依|艾合买|艾尼瓦|艾力|艾山|艾买|买买|买合木|木合塔|木拉提|努尔|吐尔|吐逊|塔依尔|帕尔|帕提|古丽|古扎|娜尔|娜孜|玛依|热依|热西|热合|热娜"
    "|迪丽|迪力|米尔|沙力|卡德尔|哈力|库尔|肉孜|玉素|依明|伊明|亚森|亚库|萨迪|赛买|斯马|江吐|汗古|夏提|尼亚孜|麦麦|麦提"
    "|扎西|卓玛|次仁|才让|拉毛|央金|多吉|尼玛|达瓦|旦增|丹增|索南|洛桑|罗桑|格桑|桑吉|仁青|仁增|顿珠|白玛|班玛|曲珍|拉姆|平措|普布|强巴|贡布|德吉|措姆|旺堆|旺姆|旺杰|嘉措|加措|更登"
    "|巴特|巴图|巴雅|那日|那仁|苏日|苏和|其其|其木|乌云|格日|格勒|图雅|敖日|敖登|斯琴|萨日|娜仁|阿古|布和|宝音|朝鲁|恩和|毕力|特木|牧仁|吉日|高娃|塔娜|托娅"
)
_ENDS = "买提|尔逊|尔地|其愣|其格|提|木|力|尔|江|汗|依|甫|洪|孜|娜|苏|格|勒|图|嘎|娃|雅|德|根"
_PART = rf"(?:{_PARTS})(?:{_ENDS})?"
_WHOLE = "扎西|卓玛|次仁|才让|央金|多吉|丹增|旦增|洛桑|格桑(?!花)|桑吉|顿珠|曲珍|图雅|斯琴"
_TRANSCRIBED = re.compile(
    rf"(?!扎西德勒)(?:{_PART}(?:{_PART}){{1,2}}|(?:{_PARTS})(?:{_ENDS})|{_WHOLE})(?![路街村镇县市旗州])"
)
_CERTAIN_COMPOUND = (
    "欧阳|诸葛|司徒|令狐|皇甫|尉迟|慕容|端木|夏侯|宇文|公孙|轩辕|澹台|赫连|呼延|(?<=[是叫为：，\n])长孙(?![女子媳])"
)
_NO_GIVEN = "的了是对吗吧呢啊我你他她它在有没说就要也都跟和与先女小老太师经主这那"
_AFTER_COMPOUND = re.compile(rf"(?:{_CERTAIN_COMPOUND})(?:(?![{_NO_GIVEN}]){_H}){{1,2}}")
_BEFORE_TWO = "是叫找问为嗯啊，：。\n "  # before two surnames: 我是林杨沐阳
_ALSO_WORDS = "和向于从常任时后全连白那同明水边方单安平车门班金宫"  # surnames that stand there as words
_NO_PERSON = re.compile(
    rf"{_H}(?:家[庄村屯寨堡坡湾沟店集镇营]|庄[路村镇乡])|[大小天]王卡|高清|王老吉|周大[福生]|周生生|谢瑞麟|张小泉|王守义|李锦记|马应龙|红绿灯|平安普惠|诸葛亮|欧阳修"
)


def transcribed(text: str) -> Iterator[Span]:
    """Names of other languages: 阿不都热西提, 次仁卓玛, 那日苏."""
    return (name.span() for name in _TRANSCRIBED.finditer(text))


def after_compound(text: str) -> Iterator[Span]:
    """A compound surname that is no word, with what may be its given name; for where nothing better was found there: 长孙无忌."""
    return (name.span() for name in _AFTER_COMPOUND.finditer(text))


def is_after_a_surname(text: str, start: int, end: int, vocabulary: Vocabulary) -> bool:
    """Whether the surname before a name of three characters is its first one: 杨沐阳 in 我是林杨沐阳."""
    first, before = text[max(0, start - 1) : start], text[max(0, start - 2) : max(0, start - 1)]
    is_double = end - start == 3 and text[start] in vocabulary.surnames and first in vocabulary.surnames
    return is_double and first not in _ALSO_WORDS and before in _BEFORE_TWO


def is_no_person(text: str, start: int) -> bool:
    """Whether what begins there is a village, a road or a product that looks like a name: 李家庄, 大王卡."""
    return _NO_PERSON.match(text, start) is not None
