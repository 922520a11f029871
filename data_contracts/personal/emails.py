"""Mail addresses, written or spoken: zhang点san艾特qq点com is zhang.san@qq.com."""

import re
from collections.abc import Iterator

from data_contracts.personal.found import Found

_SIGNS = re.compile("@|艾特|爱特|小老鼠|圈a|圈A|at|AT")
LONGEST = 64  # characters before the sign
_SIGN = re.compile(r"@|艾特|爱特|小老鼠|圈[aA]|(?<=[A-Za-z0-9٠-٩]) ?\b(?:at|AT)\b ?(?=[A-Za-z0-9٠-٩]+ ?(?:\.|点))")
_NAMED = r"(?:点儿?|下划线|下横线|中?横线|横杠|减号|杠)"
_SPELT = r" (?=[A-Za-z0-9٠-٩] )|(?<= [A-Za-z0-9٠-٩]) (?=[A-Za-z0-9٠-٩])"  # z h a n g
_LOCAL = re.compile(rf"(?:[A-Za-z0-9٠-٩]++(?:[._%+\-]{{1,2}}| ?{_NAMED} ?|{_SPELT})?+)+[ ，]?$")
_HOST = r"(?:[A-Za-z0-9٠-٩\-]{1,30}|新浪|网易|搜狐|腾讯|雅虎|谷歌)"
_DOMAIN = re.compile(
    rf"[ ，]?(?:的)?(?:{_HOST} ?(?:\.|点儿?|邮箱点) ?){{1,4}}(?:[A-Za-z]{{2,8}}+|[靠考][母姆]|康姆)(?:(?:\.|点)[A-Za-z]{{2,3}}+)?",
    re.IGNORECASE,
)


def find(text: str) -> Iterator[Found]:
    """Mail addresses in a text of digits (`spoken.digits`), in order."""
    if not _SIGNS.search(text):
        return
    past = 0
    for sign in _SIGN.finditer(text):
        domain = _DOMAIN.match(text, sign.end())
        local = _LOCAL.search(text[max(past, sign.start() - LONGEST) : sign.start()]) if domain else None
        if local and domain:
            start = sign.start() - (local.end() - local.start())
            past = domain.end()
            yield Found("email", ((start, past),))
