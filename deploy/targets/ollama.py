"""An Ollama as a target: a version becomes one of its models, with the bundle's prompt as template, and `NAME:latest` means the live one.

Whoever asks `NAME` sends the text of a call and gets the code of a category, without calibration, review or mirrors: Ollama does not
know them. The service does, also with engine ollama.
"""

import re
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

from configs.settings import Settings
from data_contracts.errors import ConfigurationError, EngineUnavailable, ModelLoadError
from deploy import bundle, targets
from deploy.bundle import Bundle
from deploy.engines.ollama_server import Ollama, gguf_of
from deploy.operate.canary_window import Look
from deploy.spelling import Spelling
from deploy.targets import Change, Placed, Status
from deploy.tokenizer import Tokens

TEXT = "{{ .Prompt }}"
ROOM = 2
"""Tokens of a context beyond the longest prompt: the answer, and one that Ollama keeps for itself."""
NO_SPLIT = "target ollama gives all of its traffic to one version; set rollout.canary.steps to []"


class OllamaTarget:
    """Stages under a name of the version's own, and switches by pointing the live name at it, which takes no time."""

    name = "ollama"

    def __init__(self, home: Path, settings: Settings) -> None:
        self.home = home
        self.url = settings.serve.ollama_url
        self.model = settings.rollout.ollama_model
        self.keep_previous = settings.rollout.keep_previous
        self._own = re.compile(rf"{re.escape(self.model)}:v\d+-([0-9a-f]{{12}})")

    @property
    def mend(self) -> str:
        return f"see whether an Ollama answers at {self.url}"

    @property
    def clear(self) -> str:
        return f"ollama rm {self.latest}, or name another rollout.ollama_model"

    @property
    def latest(self) -> str:
        """What callers ask."""
        return f"{self.model}:latest"

    def changes(self, candidate: Placed) -> tuple[Change, ...]:
        """Template, parameters and weights of the model that callers ask."""
        found = _opened(candidate)
        said = f"FROM {gguf_of(found.model)}\n{_parameters_text(found)}TEMPLATE {_template(found)}\n"
        with Ollama(self.url) as ollama:
            before = ollama.modelfile(self.latest) if ollama.has(self.latest) else ""
        return (Change(what=f"model {self.latest} of {self.url}", before=before, after=said),)

    def unsplit(self, candidate: Placed) -> str:
        return "an Ollama gives all of its traffic to one version"

    def stage(self, candidate: Placed) -> None:
        found = _opened(candidate)
        with Ollama(self.url) as ollama:
            ollama.create(self._named(candidate), gguf_of(found.model), _template(found), _parameters(found))

    def verify(self, candidate: Placed) -> None:
        found = _opened(candidate)
        with Ollama(self.url) as ollama:
            self._require(ollama, self._named(candidate), found)

    def weigh(self, candidate: Placed, share: float) -> str:
        raise ConfigurationError(NO_SPLIT)

    def look(self, candidate: Placed, at_s: float) -> Look:
        raise ConfigurationError(NO_SPLIT)

    def switch(self, candidate: Placed) -> str:
        self._lead(candidate)
        self._tidy(candidate)
        return f"{self.url} (model {self.latest})"

    def undo(self, live: Placed | None, candidate: Placed) -> None:
        kept = {self._named(placed) for placed in (live, targets.read(self.home, self.name).previous) if placed}
        if live is not None:
            self._lead(live)
        with Ollama(self.url) as ollama:
            digests = _digests(ollama)
            if live is None and digests.get(self._named(candidate), "none") == digests.get(self.latest):
                _remove(ollama, self.latest)
            if self._named(candidate) not in kept:
                _remove(ollama, self._named(candidate))

    def held(self, by: str) -> AbstractContextManager[None]:
        return (
            nullcontext()
        )  # an Ollama has no lock: the caller's keeps this home's rollouts apart, not those of other homes

    def status(self) -> Status:
        record = targets.read(self.home, self.name)
        try:
            with Ollama(self.url) as ollama:
                digests = _digests(ollama)
        except EngineUnavailable as error:
            return Status(endpoint=self.url, serving=None, detail=str(error), untold=str(error))
        if self.latest not in digests:
            return Status(endpoint=self.url, serving=None, detail=f"no model {self.latest}")
        for known in (record.live, record.candidate, record.previous):
            if known is not None and digests.get(self._named(known)) == digests[self.latest]:
                return Status(
                    endpoint=self.url, serving=known.bundle_digest, detail=f"{self.latest} is {self._named(known)}"
                )
        return Status(
            endpoint=self.url,
            serving=self._unknown(digests),
            detail=f"{self.latest} is no version of this home's record",
        )

    def _lead(self, placed: Placed) -> None:
        """Have the live name mean it."""
        self.stage(placed)  # somebody may have removed it meanwhile
        with Ollama(self.url) as ollama:
            ollama.copy(self._named(placed), self.latest)
            self._require(ollama, self.latest, _opened(placed))

    def _tidy(self, live: Placed) -> None:
        """Of the models made here only the live one stays, and the one before where it is to be kept."""
        record = targets.read(self.home, self.name)
        before = record.previous if live.is_same(record.live) else record.live
        kept = {self._named(each) for each in (live, before if self.keep_previous else None) if each}
        with Ollama(self.url) as ollama:
            for name in _digests(ollama):
                if self._own.fullmatch(name) and name not in kept:
                    _remove(ollama, name)

    def _unknown(self, digests: dict[str, str]) -> str:
        """What the live name is that the record does not know: the beginning of a bundle's digest, or else Ollama's own of the model."""
        found = (self._own.fullmatch(name) for name, digest in digests.items() if digest == digests[self.latest])
        return next((each[1] for each in found if each), f"(Ollama's) {digests[self.latest]}")

    def _named(self, placed: Placed) -> str:
        return f"{self.model}:v{placed.version}-{placed.bundle_digest[:12]}"

    def _require(self, ollama: Ollama, name: str, found: Bundle) -> None:
        """Return if the model reads every golden call as exactly the tokens that were measured, and answers them as it does raw.

        Raises:
            ModelLoadError: it does not; says which.
        """
        tokens, spelling = Tokens.load(found.model), Spelling.load(found.model)
        for number, golden in enumerate(found.golden, start=1):
            ids = found.prompt.encode(golden.text, tokens).ids
            raw = spelling.text(ids)
            if raw is None or golden.text not in raw:
                continue  # cut, or not to be spelled: Ollama cannot be given it
            through, direct = ollama.answer(name, golden.text), ollama.answer(name, raw, is_raw=True)
            if (through.prompt_tokens, through.text) != (len(ids), direct.text):
                raise ModelLoadError(
                    f"Ollama's model {name} reads golden call {number} of {len(found.golden)} as {through.prompt_tokens} tokens "
                    f"instead of {len(ids)}, or answers it otherwise than what was measured; its template is not the bundle's"
                )


def _opened(placed: Placed) -> Bundle:
    return bundle.open(Path(placed.folder))


def _template(found: Bundle) -> str:
    """The bundle's prompt in Ollama's language.

    Raises:
        ModelLoadError: it cannot be said in it.
    """
    head, tail = (Spelling.load(found.model).text(ids) for ids in found.prompt.frame(Tokens.load(found.model)))
    if head is None or tail is None or "{{" in head + tail:
        raise ModelLoadError(
            f"the prompt of bundle {found.digest[:12]} is no text around the call that Ollama's templates can hold; "
            "roll out to another target"
        )
    return f"{head}{TEXT}{tail}"


def _parameters(found: Bundle) -> dict[str, object]:
    """One token, the likeliest, and room for the longest prompt: Ollama cuts longer ones without a word."""
    longest = found.prompt.longest(Tokens.load(found.model))
    return {"temperature": 0, "num_predict": 1, "num_ctx": longest + ROOM}


def _parameters_text(found: Bundle) -> str:
    return "".join(f"PARAMETER {name} {value}\n" for name, value in _parameters(found).items())


def _digests(ollama: Ollama) -> dict[str, str]:
    return {model.name: model.digest for model in ollama.status().models}


def _remove(ollama: Ollama, name: str) -> None:
    with suppress(ConfigurationError):  # it is not there
        ollama.remove(name)
