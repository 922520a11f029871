"""Mail addresses, written or spoken: zhang点san艾特qq点com is zhang.san@qq.com; over two turns, too."""

import re
from collections.abc import Iterator

from data_contracts.personal.found import Found
from data_contracts.personal.turns import TURN, pieces

LONGEST = 64  # characters before the sign
_CHAR = r"[A-Za-z0-9٠-٩]"
_SIGNS = re.compile("@|艾特|爱特|小老鼠|圈a|圈A|at|AT")
_DOT = r" ?(?:\.|点儿?) ?"
# Between letters "at" is a sign only before the host of a well-known provider: whatsapp点com is a site.
_PROVIDER = (
    r"(?:(?:vip|VIP)(?: ?(?:\.|点) ?))?(?:qq|QQ|gmail|GMAIL|outlook|OUTLOOK|hotmail|HOTMAIL|foxmail|FOXMAIL|sina|SINA|sohu|SOHU"
    r"|yeah|YEAH|icloud|ICLOUD|aliyun|ALIYUN|yahoo|YAHOO|live|msn|tom|[0-9٠-٩]{2,3}(?:cn)?)"
)
_SIGN = re.compile(
    rf"@|艾特(?:符号?)?|爱特(?:符号?)?|小老鼠|圈[aA]"
    rf"|(?<={_CHAR})[，, ]{{0,2}}(?<![A-Za-z])(?:at|AT)(?![A-Za-z])[，, ]{{0,2}}(?=(?:{_CHAR}|-){{2,20}}{_DOT})"
    rf"|(?<={_CHAR})(?:at|AT)(?=(?:{_CHAR}|-){{2,20}}{_DOT})"
    rf"|(?<![A-Za-z])(?:at|AT)(?= ?(?:{_CHAR}|-){{2,20}}{_DOT})"
)
_NAMED = r"(?:点儿?|下划线|下横线|中?横线|中划线|横杠|减号|杠)"
_SPELT = rf" (?={_CHAR}(?: |$))|(?<= {_CHAR}) (?={_CHAR})"  # z h a n g
_LOCAL = re.compile(
    rf"(?:{_CHAR}++(?:[._%+\-]{{1,2}}| {{0,2}}{_NAMED} {{0,2}}|{_SPELT})?+)+(?:{TURN})?+[ ，,]{{0,2}}+$"
)
_HOST = r"(?:[A-Za-z0-9٠-٩\-]{1,30}|新浪|网易|搜狐|腾讯|雅虎|谷歌|企鹅)"
_TOP = r"(?:[cC] [oO] [mM]|[A-Za-z]{2,8}+|[靠考康抗扣][母姆木目])"
_DOMAIN = re.compile(
    rf"[ ，,]{{0,2}}(?:的)?(?:{_HOST}(?:{_DOT}| ?邮箱点 ?)){{1,4}}{_TOP}(?: ?(?:\.|点) ?[A-Za-z]{{2,3}}+)?",
    re.IGNORECASE,
)


_WRITTEN = re.compile(rf"[0-9٠-٩_]|{_NAMED}")
_KNOWN = re.compile(rf"(?:at|AT){_PROVIDER}{_DOT}")


def _is_sign(text: str, start: int, local: str) -> bool:
    """Whether "at" between letters is a sign: before a provider, or after what is no word (anna1at…, but not whatsapp点com)."""
    is_word = (
        text[start : start + 2] in ("at", "AT")
        and start > 0
        and text[start - 1].isalpha()
        and text[start - 1].isascii()
    )
    return not is_word or bool(_KNOWN.match(text, start) or _WRITTEN.search(local))


def find(text: str) -> Iterator[Found]:
    """Mail addresses in a text of digits (`spoken.digits`), in order."""
    if not _SIGNS.search(text):
        return
    past = 0
    for sign in _SIGN.finditer(text):
        domain = _DOMAIN.match(text, sign.end())
        local = _LOCAL.search(text[max(past, sign.start() - LONGEST) : sign.start()]) if domain else None
        if local and domain and _is_sign(text, sign.start(), local.group()):
            start = sign.start() - (local.end() - local.start())
            past = domain.end()
            yield pieces("email", text, start, past)
