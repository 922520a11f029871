"""Where a person's name stands in a transcript: some forms are certain by rule, every other is judged by a model (`name_model`).

What is a name at one place of a call makes the same characters, its given name and its surname likely ones elsewhere in it.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache

from data_contracts.personal import addresses, name_forms
from data_contracts.personal.found import BLANK, Found, blanked
from data_contracts.personal.name_model import Scored, model, scored

Span = tuple[int, int]
# Added to the score of a candidate that another name of the call makes likely.
SAME, GIVEN, SURNAME = 4.0, 3.0, 1.0
_ROUNDS = 4
LEAST = {"F": 0.0, "T": 0.0, "N": 0.0, "G": 0.3}  # the score from which a candidate is a name
FULL_FIRST = 2.0  # so that 建国 alone is not taken out of 王建国
_H = r"[\u4e00-\u9fff]"
_NOT_TOLD = "你我他她它们的了什么吗呢来去不没过人啥哪这那个停车号几多"  # 我叫你们领导来
_CALLED = "[我俺咱他她名]叫|[大全]名|叫做"
_TOLD = "名字|姓名|户名|户主|机主|[保款办系件货户理托]人|患者"
_NO_PART = "是的了对吗吧我你他她在有没说就要也跟女先"
_DOT = re.compile(rf"[·•]{_H}(?:(?![{_NO_PART}]){_H})(?:(?![{_NO_PART}和]){_H}){{0,6}}")  # 阿依古丽·买买提
_BEFORE_DOT = re.compile(r"[^\W\d_a-zA-Z叫是着名字上找的户主机人给让]{2,6}$")
_ANSWER = r"[^\n：:]{0,3}[\n？?。 ]{1,2}(?:[^\n：:]{1,4}[：:])?(?:嗯|啊|呃|哦|我|姓|免贵|，){0,4}"  # 贵姓 / 客户：黄
_CAPITAL = re.compile(r"(?P<first>[A-Z][a-z]{1,11})(?: [A-Z][a-z]{2,11})?(?![A-Za-z])")


def find(text: str) -> Iterator[Span]:
    """Spans of names in order, without overlaps; a title after a name stays (王先生 → the span of 王).

    A name that is masked may show the next one; so what is near a name is read again without it.
    """
    whole, taken = text, bytearray(len(text))  # 1 where a name stands
    spans = new = [span for span in _certain(text) if _take(span, taken)]
    for at in range(_ROUNDS):
        if at and not new:
            break
        text = blanked(text, [Found("name", (span,)) for span in new]) if new else text
        new = _judged(text, scored(text, new if at else ()), taken)
        spans = spans + new
    spans += [span for span in name_forms.after_compound(whole) if _take(span, taken)]
    for start, end in sorted(spans):
        is_after = name_forms.is_after_a_surname(whole, start, end, model()[0])
        yield (start - 1, end) if is_after and not taken[start - 1] else (start, end)


def _judged(text: str, candidates: list[Scored], taken: bytearray) -> list[Span]:
    """The names among the candidates, best first, that overlap nothing taken; they are taken now."""
    candidates.sort(key=_order, reverse=True)
    names = [name for name in candidates if name.score >= LEAST[name.kind] and _is_free(text, name, taken)]
    names += [name for name in (_likely(text, candidates, names) if names else ()) if _is_free(text, name, taken)]
    return [(name.start, name.end) for name in names]


def _is_free(text: str, name: Scored, taken: bytearray) -> bool:
    """Whether it overlaps neither a name that was taken nor a region, and is no place's or product's; then it is taken."""
    span = name.start, name.end
    if name_forms.is_no_person(text, name.start):
        return False
    return not addresses.is_in_region(text, *span) and _take(span, taken)


def _order(name: Scored) -> float:
    return name.score + FULL_FIRST * (name.kind == "F")


def _take(span: Span, taken: bytearray) -> bool:
    """Whether nothing of it was taken before."""
    start, end = span
    if any(taken[start:end]):
        return False
    taken[start:end] = b"\1" * (end - start)
    return True


def _likely(text: str, candidates: Iterable[Scored], names: list[Scored]) -> Iterator[Scored]:
    """Candidates that are names because others are."""
    said = {text[name.start : name.end] for name in names if name.end - name.start > 1}
    given = {text[name.end - 2 : name.end] for name in names if name.kind == "F" and name.end - name.start > 2}
    surnames = {text[name.start] for name in names if name.kind in "FT"}
    for name in candidates:
        if name.score < LEAST[name.kind]:
            own = text[name.start : name.end]
            more = (
                SAME * (own in said)
                or GIVEN * (name.kind == "G" and own in given)
                or SURNAME * (own[0] in surnames and name.kind in "FT")
            )
            if name.score + more >= LEAST[name.kind]:
                yield name


def _certain(text: str) -> Iterator[Span]:
    for word in _CAPITAL.finditer(text):
        if word["first"] in model()[0].latin:
            yield word.start() - (text[max(0, word.start() - 1) : word.start()] in model()[0].surnames), word.end()
    for dot in _DOT.finditer(text):
        if before := _BEFORE_DOT.search(text[max(0, dot.start() - 7) : dot.start()]):
            yield dot.start() - len(before.group()), dot.end()
    yield from name_forms.transcribed(text)
    for pattern in _patterns():
        yield from (match.span("name") for match in pattern.finditer(text))
    words = model()[0].words
    for told in (match for pattern in _told() for match in pattern.finditer(text)):
        name = told["name"]
        if not {name, name[:2], name[1:] if told["called"] else ""} & words.keys():
            yield told.span("name")


@cache
def _told() -> tuple[re.Pattern[str], ...]:
    """A surname and characters that end where the talk does, after words that only a name follows: 名叫殷展; an agent's name."""
    surname = "".join(sorted(model()[0].surnames))
    name = rf"(?P<name>[{surname}](?:(?![{_NOT_TOLD}]){_H}){{1,2}})"
    asked = rf"(?:{_TOLD}|称呼您?|叫[什啥]么?名?字?){_ANSWER}"
    cue = rf"(?P<called>{_CALLED})|(?:{_TOLD})(?:是|叫|为|写的?|登记的?是?|：)?|{asked}"
    return (
        re.compile(rf"(?:{cue}){name}(?=[，。,？\n]|$)"),
        re.compile(rf"(?<=[\d：:，。号{BLANK}])(?P<called>){name}(?=[，, ]?很高兴|[，, ]?[竭诚将]{{0,2}}为您服务)"),
    )


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    """Forms that are names whatever the characters."""
    vocabulary = model()[0]
    single = "".join(sorted(vocabulary.surnames))
    surname = f"(?:{'|'.join(sorted(vocabulary.compound))}|[{single}])"
    forms = (
        rf"姓(?<![百同贵]姓)(?P<name>{surname})(?!名)",
        rf"免贵姓?(?:是|，)?(?P<name>{surname})(?=[，。,、 \n的]|$)",
        rf"(?:贵姓|称呼您?|姓[什啥]么?)(?:是|，|{_ANSWER})(?P<name>{surname})(?=[，。,、 \n的]|$)",
        r"(?:弓长|立早|木子|耳东|口天|双木|古月|言午|三横|三划|草头|草字头|走肖|美女|女良|人可|禾木|双口|西早|干勾|文刀|卯金刀|走之|双人"
        rf"|余则|两点水|三点水|单耳)(?:一竖)?的?(?P<name>{surname})",
        rf"(?<=(?P<name>[{single}]))是我的?姓",
        rf"是我的姓(?<=(?P<name>{'|'.join(sorted(vocabulary.compound))})是我的姓)",
        rf"[小老](?P<name>{'|'.join(sorted(vocabulary.compound))})",
        rf"(?:我叫|我是|名字是|名字叫|英文名叫?) ?(?P<name>{surname}?[A-Z][a-z]{{2,11}}(?: [A-Z][a-z]{{1,11}})?)(?![a-z])",
        rf"(?:我叫|名字[叫是])(?P<name>(?:(?![{_NOT_TOLD}]){_H}){{3,4}})(?=[，。,？\n]|$)",
    )
    return tuple(re.compile(form) for form in forms)
