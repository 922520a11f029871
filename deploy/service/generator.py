"""What fills slot `generate`: a bundle, its template, its engine and a queue; messages in, thinking and text out, piece by piece."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import NamedTuple

from configs.serving import ServeSettings
from data_contracts.artifacts import GenerationVerdict
from data_contracts.errors import EngineUnavailable
from deploy.dialogue import Dialogue
from deploy.engines import Sampling, choose
from deploy.generation import GenerationBundle
from deploy.service.child import Loader, Plan
from deploy.service.metrics import Metrics
from deploy.service.places import Place, Places
from deploy.service.problems import Refused
from deploy.service.reading import Reading
from deploy.service.refusals import DeadlineExceeded, NotReady, Stopping
from deploy.service.stopwords import StopWords
from deploy.service.worker import Worker
from deploy.service.written import Ask, Ending, Said
from deploy.tokenizer import TextStream

COLD = 0.01
"""A temperature below this takes the likeliest token: dividing by it would overflow."""
LEAST_ROOM = 8
"""Tokens that a text must leave for its answer."""
PROBE_TOKENS = 4


@dataclass(frozen=True)
class ServedText:
    """What generates: a bundle and the verdict that lets it (None: evaluation)."""

    bundle: GenerationBundle
    verdict: GenerationVerdict | None

    @property
    def model_version(self) -> str:
        return self.bundle.digest[:12]


class Budget(NamedTuple):
    """How many tokens at most, for the thinking and for the text; `shared`: the text has what the thinking leaves of `text`."""

    thinking: int
    text: int
    shared: bool


@dataclass
class _Writing:
    """A text while it is written. `prompt` grows by what was thought; `until`: monotonic time at which it is cut off."""

    ask: Ask
    prompt: list[int]
    ending: Ending
    place: Place
    until: float


class Generator:
    """One bundle of slot `generate` being served."""

    def __init__(
        self, served: ServedText, settings: ServeSettings, loader: Loader, metrics: Metrics, reading: Reading
    ) -> None:
        facts, limits = served.bundle.facts, settings.generate
        self.served = served
        self.metrics = metrics
        self._reading = reading
        self.limits = limits
        self.dialogue = Dialogue.load(served.bundle.model)
        self.context_tokens = min(limits.context_tokens, facts.context_tokens)
        plan = Plan(facts.engine, served.bundle.model, (), 0, self.context_tokens, choose.for_texts(settings))
        self.worker = Worker(plan, loader, settings.start_timeout_s, silence_s=limits.silence_s)
        self.worker.on_restart, self.worker.texts.on_token = metrics.restarts.inc, metrics.generated.inc
        self._places = Places(limits)
        self._is_stopping = False

    def tune(self, settings: ServeSettings) -> None:
        """Have these limits from now on; a text that is being written keeps its own."""
        self.limits = self._places.limits = settings.generate
        self.worker.start_timeout_s, self.worker.silence_s = settings.start_timeout_s, settings.generate.silence_s

    @property
    def is_ready(self) -> bool:
        return self.worker.is_ready

    @property
    def waiting(self) -> int:
        """Texts that wait for a slot."""
        return self._places.waiting

    async def run(self) -> None:
        """Keep the engine going until cancelled.

        Raises:
            TingsuError: it can never serve.
        """
        await self.worker.keep(self._probe)

    def cut(self) -> None:
        """The service stops now: whoever has no whole text yet is told."""
        self._is_stopping = True
        self.worker.texts.fail("the service stops")

    async def begin(self, ask: Ask) -> tuple[Ending, AsyncGenerator[Said, None]]:
        """The account of a text, and its pieces as they come; closing them ends the work.

        Raises:
            Refused: the messages are not the model's, or too long.
            EngineUnavailable: not ready, overloaded, waited too long, or the engine died.
        """
        self._require_ready()
        with self._places.admitted():
            try:
                prompt = await self._ids(ask)
            except ValueError as error:
                raise Refused(422, "bad_messages", reason=str(error)[:200], param="messages") from error
        ending = Ending(prompt_tokens=len(prompt))
        return ending, self._write(ask, prompt, self._budget(ask, len(prompt)), ending)

    async def _ids(self, ask: Ask) -> list[int]:
        """The prompt. What is surely too long is not read."""
        least = _chars(ask) // self.dialogue.tokens.longest
        if least > self.context_tokens:
            raise Refused(422, "too_long", tokens=f"{least}+", limit=self.context_tokens - LEAST_ROOM)
        (ids,) = await self._reading.each(
            lambda one: self.dialogue.ids(one.messages, one.thinking_tokens != 0), [ask], _chars
        )
        return ids

    def _budget(self, ask: Ask, prompt_tokens: int) -> Budget:
        """What is asked for, as far as the context has room for it.

        Raises:
            Refused: it has none.
        """
        room = self.context_tokens - prompt_tokens - len(self.dialogue.end_think)
        if room < LEAST_ROOM:
            raise Refused(422, "too_long", tokens=prompt_tokens, limit=self.context_tokens - LEAST_ROOM)
        text = min(ask.max_tokens or self.limits.answer_tokens, room)
        if not ask.thinking_tokens:
            return Budget(text if ask.thinking_tokens is None else 0, text, shared=True)
        text = min(text, room // 2)
        return Budget(min(ask.thinking_tokens, room - text), text, shared=False)

    async def _write(self, ask: Ask, prompt: list[int], budget: Budget, ending: Ending) -> AsyncGenerator[Said, None]:
        self._require_ready()
        async with self._places.held() as place:
            self._require_ready()  # the engine may have died while this waited
            writing = _Writing(ask, prompt, ending, place, time.monotonic() + self.limits.limit_s)
            if budget.thinking and self.dialogue.can_think:
                async with aclosing(self._think(writing, budget.thinking)) as pieces:
                    async for piece in pieces:
                        yield Said(thinking=piece)
            left = budget.text - ending.thinking_tokens if budget.shared else budget.text
            if left <= 0 and ending.finish == "stop":
                ending.finish = "length"  # the thinking took all there was
            if left > 0 and ending.finish != "time":
                async with aclosing(self._answer(writing, left)) as pieces:
                    async for piece in pieces:
                        yield Said(text=piece)

    async def _think(self, writing: _Writing, most: int) -> AsyncGenerator[str, None]:
        """Pieces of the thinking; the prompt has all of it afterwards, closed, whether the model closed it or not."""
        end, ending = self.dialogue.end_think, writing.ending
        stream = TextStream(self.dialogue.tokens)
        async with aclosing(self._tokens(writing, most, (end[0], *self.dialogue.stop_ids))) as tokens:
            async for token in tokens:
                ending.thinking_tokens += 1
                writing.prompt.append(token)
                yield stream.push(token)
        yield stream.end()
        ending.is_cut = ending.finish == "length"
        if not ending.is_cut:
            ending.thinking_tokens += ending.finish == "stop"  # the token that closed it
        writing.prompt += end

    async def _answer(self, writing: _Writing, most: int) -> AsyncGenerator[str, None]:
        stream, words = TextStream(self.dialogue.tokens), StopWords(writing.ask.stop)
        async with aclosing(self._tokens(writing, most, self.dialogue.stop_ids)) as tokens:
            async for token in tokens:
                writing.ending.text_tokens += 1
                yield words.push(stream.push(token))
                if words.is_found:
                    writing.ending.finish = "stop"
                    return
        yield words.push(stream.end()) + words.end()

    async def _tokens(self, writing: _Writing, most: int, stops: tuple[int, ...]) -> AsyncGenerator[int, None]:
        """Tokens of one go, and in its ending why it ended."""
        ask, ending = writing.ask, writing.ending
        temperature = ask.temperature if ask.temperature >= COLD else 0.0
        seed = (ask.seed + ending.new_tokens) % 2**31
        sampling = Sampling(most, temperature, ask.top_p, seed, stops)
        text = writing.place.text = self.worker.generate(writing.prompt, sampling)
        count, begun = 0, time.monotonic()
        try:
            while True:
                async with asyncio.timeout(max(writing.until - time.monotonic(), 0.001)):
                    token = await anext(text)
                if not count:
                    self.metrics.first_token.observe(time.monotonic() - begun)
                count += 1
                yield token
        except StopAsyncIteration:
            ending.finish = "stop" if count < most else "length"
        except TimeoutError as error:
            if not ending.new_tokens:
                raise DeadlineExceeded(f"no token came within {self.limits.limit_s:g} s; ask again later") from error
            ending.finish = "time"
        except EngineUnavailable as error:
            if self._is_stopping:
                raise Stopping("the service stops") from error
            raise
        finally:
            text.close()

    def _require_ready(self) -> None:
        if self._is_stopping:
            raise Stopping("the service stops")
        if not self.is_ready:
            raise NotReady(f"the engine is {self.worker.state}", self.worker.retry_after_s)

    async def _probe(self) -> None:
        """A few tokens, before anybody is let in."""
        prompt = self.dialogue.ids([{"role": "user", "content": "你好"}], thinking=False)
        async for _ in self.worker.generate(prompt, Sampling(PROBE_TOKENS, stop_ids=self.dialogue.stop_ids)):
            pass


def _chars(ask: Ask) -> int:
    return sum(len(message["content"]) for message in ask.messages)
