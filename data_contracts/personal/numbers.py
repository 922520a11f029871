"""Identity numbers, bank cards, mobile and landline numbers, however they were dictated.

A text is read once into rows: digits with nothing between them but spaces, signs, fillers, the listener's "嗯" or a turn that
repeats what was said. A number begins and ends where a group of digits does, so each place of a row is looked at once.
"""

from bisect import bisect_left
from collections.abc import Iterator

from data_contracts.personal import dictation
from data_contracts.personal.dictation import Group, Row
from data_contracts.personal.found import Found
from data_contracts.personal.number_forms import BY_FIRST, past_x
from data_contracts.personal.spoken import plain

LONG_ROW = 64  # digits; in a longer row only numbers in groups of three and more are looked for: it is no dictation


def find(text: str) -> Iterator[Found]:
    """Numbers of people in a text of digits (`spoken.digits`), in no order, without overlaps."""
    for start, end in dictation.found(text):
        yield from _in_dictation(text, start, end)


def _in_dictation(text: str, start: int, end: int) -> Iterator[Found]:
    """Each speaker's digits are a row of their own, so that an agent who repeats them does not break the number."""
    by_speaker = dictation.groups(text, start, end)
    if len(by_speaker) == 1:
        return _in_row(text, dictation.row(text, *by_speaker.values()))
    found = [piece for groups in by_speaker.values() for piece in _in_row(text, dictation.row(text, groups))]
    everything = sorted(group for groups in by_speaker.values() for group in groups)
    return iter(_with_echoes(text, found, everything) if found else [*_in_row(text, dictation.row(text, everything))])


def _in_row(text: str, row: Row) -> Iterator[Found]:
    at, count = 0, len(row.groups)
    is_long = len(row.digits) > LONG_ROW
    while at < count:
        hit = None
        if not is_long or at + 3 > count or row.offsets[at + 3] - row.offsets[at] >= 9:
            hit = _at(text, row, at, is_long)
        at = hit[1] if hit else at + 1
        if hit:
            yield hit[0]


def _at(text: str, row: Row, at: int, is_long: bool) -> tuple[Found, int] | None:
    """The number that begins with group `at`, and the group after it; at one place the longer kind wins."""
    offset = row.offsets[at]
    for kind, form, lengths, ends in BY_FIRST[row.digits[offset]]:
        if not form.match(row.digits, offset):
            continue
        for length in lengths:
            most = length // 3 if is_long else length
            past = bisect_left(row.offsets, offset + length, at)
            if past == len(row.offsets) or row.offsets[past] != offset + length or (past - at > most):
                continue
            groups = row.groups[at:past]
            end = ends(row.digits[offset : offset + length], text, groups[0][0], groups[-1][1])
            if end:
                return Found(kind, _spans(text, groups, end)), past
    return None


def _spans(text: str, groups: list[Group], end: int) -> tuple[Group, ...]:
    """One span a line, so that every turn keeps its line."""
    start = groups[0][0]
    before = text[start - 1 : start]
    if start and (before in "+(" or (before == "加" and plain(text[start : start + 2]) == "86")):
        start -= 1
    spans = [(start, groups[0][1])]
    for first, past in groups[1:]:
        if "\n" in text[spans[-1][1] : first]:
            spans.append((first, past))
        else:
            spans[-1] = (spans[-1][0], past)
    spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
    return tuple(spans)


def _with_echoes(text: str, found: list[Found], groups: list[Group]) -> list[Found]:
    """What the other speaker repeats of a number belongs to it; a number repeated whole is the same piece."""
    pieces: list[Found] = []
    for piece in sorted(found, key=lambda f: f.start):
        if pieces and piece.start < pieces[-1].end:  # said in between: the listener's echo
            pieces[-1] = Found(pieces[-1].kind, tuple(sorted({*pieces[-1].spans, *piece.spans})))
        else:
            pieces.append(piece)
    taken = [span for piece in pieces for span in piece.spans]
    for at, piece in enumerate(pieces):
        said = plain("".join(text[a:b] for a, b in piece.spans))
        is_id = piece.kind == "id_card"
        echoes = [
            (g[0], past_x(text, g[1]) if is_id else g[1])
            for g in groups[bisect_left(groups, (piece.start, 0)) : bisect_left(groups, (piece.end, 0)) + 2]
            if not any(a <= g[0] < b for a, b in taken) and g[1] - g[0] > 1 and plain(text[g[0] : g[1]]) in said
        ]
        pieces[at] = Found(piece.kind, tuple(sorted({*piece.spans, *echoes})))
    return pieces
