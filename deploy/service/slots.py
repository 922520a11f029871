"""The two slots of a service: `classify` and `generate`, one of them or both."""

import asyncio
from dataclasses import dataclass

from configs.serving import ServeSettings
from data_contracts.artifacts import Emergency
from deploy.service.answers import Served
from deploy.service.classifier import Classifier
from deploy.service.crew import Crew
from deploy.service.generator import Generator, ServedText
from deploy.service.metrics import Metrics
from deploy.service.problems import Refused
from deploy.service.slot import Slot
from deploy.service.worker import Worker


@dataclass(frozen=True)
class Slots:
    """At least one of them is filled."""

    classify: Slot | None
    generate: Generator | None
    metrics: Metrics

    @property
    def is_ready(self) -> bool:
        """Whether every model that is here answers."""
        return all(each.is_ready for each in self._filled)

    @property
    def workers(self) -> tuple[Worker | Crew, ...]:
        """The keepers of the engines that answer."""
        return tuple(each.worker for each in self._filled)

    @property
    def loaded(self) -> tuple[Worker | Crew, ...]:
        """The keepers of all engines, also of those that wait to answer."""
        beside = () if self.classify is None else self.classify.loaded[1:]
        return (*self.workers, *(each.worker for each in beside))

    @property
    def version(self) -> str:
        """What serves, for the log."""
        return " ".join(each.model_version for each in self._served)

    @property
    def is_evaluation(self) -> bool:
        """Whether it serves without verdicts."""
        return any(each.verdict is None for each in self._served)

    @property
    def overdue(self) -> Emergency | None:
        """The emergency verdict that the classifier serves on although it has expired."""
        served = None if self.classify is None else self.classify.current.served
        return served.emergency if served is not None and served.is_overdue else None

    @property
    def classifier_slot(self) -> Slot:
        """Raises: Refused: there is no classifier here."""
        if self.classify is None:
            raise Refused(404, "slot_empty", slot="classify")
        return self.classify

    @property
    def generator(self) -> Generator:
        """Raises: Refused: there is no model that generates here."""
        if self.generate is None:
            raise Refused(404, "slot_empty", slot="generate")
        return self.generate

    async def run(self) -> None:
        """Keep the engines going until cancelled.

        Raises:
            TingsuError: one can never serve.
        """
        running = [asyncio.ensure_future(each.run()) for each in (self.classify, self.generate) if each is not None]
        try:
            ended, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        finally:
            for task in running:
                task.cancel()  # once: a second time would cut short the end of an engine that hangs
            await asyncio.wait(running)

    def tune(self, settings: ServeSettings) -> None:
        """Put other settings in force.

        Raises:
            ConfigurationError: what answers may not work with them; nothing was changed.
        """
        if self.classify is not None:
            self.classify.tune(settings)
        if self.generate is not None:
            self.generate.tune(settings)

    def abandon(self) -> None:
        """Give up what the service need not wait for when it stops."""
        if self.classify is not None:
            self.classify.abandon()

    def cut(self) -> None:
        """Tell whoever is still being answered that the service stops now."""
        if self.generate is not None:
            self.generate.cut()

    @property
    def _served(self) -> list[Served | ServedText]:
        return [each.served for each in self._filled]

    @property
    def _filled(self) -> list[Classifier | Generator]:
        classifier = None if self.classify is None else self.classify.current
        return [each for each in (classifier, self.generate) if each is not None]
