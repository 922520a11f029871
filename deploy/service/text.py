"""What the model reads of a call: the one place where a served call becomes the text that training saw."""

from data_contracts import personal, transcript
from data_contracts.schema import Call

MAX_CHARS = 65_536  # beyond, the middle is cut before cleaning: it would not reach the model anyway


def prepare(call: Call) -> str:
    """The call as the text that is encoded: cleaned and masked as training calls are."""
    return personal.mask(transcript.clean(transcript.shorten(call.flat(), MAX_CHARS))).text
