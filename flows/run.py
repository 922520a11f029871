"""What a pipeline run carries: settings, places, and the MLflow run, opened as soon as there is something new to log."""

import getpass
import hashlib
import json
import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from configs.serving import ServeSettings
from configs.settings import Settings
from data_contracts.artifacts import (
    Adapter,
    Base,
    BundleRef,
    Dataset,
    Hop,
    Release,
    Report,
    Speed,
    Splits,
    Verdict,
    Version,
)
from data_contracts.errors import ConfigurationError
from data_contracts.prompt import Prompt
from data_contracts.schema import Frozen
from data_contracts.taxonomy import Taxonomy
from deploy.engines import choose
from deploy.operate import lock, processes
from deploy.operate.stack import TRACKING
from deploy.signing import keypair, public_key
from deploy.store import Store
from tasks import awq, catalog, gate, gc, permit, rollout, trace, train, versions
from tasks.audit import audit
from tasks.gate import Evidence
from tasks.registry import Candidate
from tasks.stages import Outcome
from tasks.tracking import RunRef, Tracker
from tasks.versions import Registry, Standard

log = logging.getLogger("tingsu")


class Ending(Frozen):
    """What a run ended with. `release` is None where `withheld` says why the version did not go live."""

    dataset_id: str
    bundle: BundleRef
    verdict: Verdict
    version: Version
    reports: dict[Hop, Report]
    speed: Speed
    release: Release | None
    withheld: str = ""


@dataclass
class Run:
    """One run of the pipeline. `notes`: the finished stages in order, title and outcome."""

    settings: Settings
    store: Store
    home: Path
    dataset: Dataset
    base: Base
    started: float = field(default_factory=time.monotonic)
    notes: list[tuple[str, Outcome[Any]]] = field(default_factory=list)
    mlflow: RunRef | None = None

    @property
    def registry(self) -> Registry:
        """The registered model and whose verdicts count."""
        return registry_of(self.settings, self.home, self.store)

    def check(self, taxonomy: Taxonomy) -> None:
        """Return if these settings can be trained, judged and released.

        Raises:
            ConfigurationError: a way to train, to quantize or to serve that is not to be had here, a bound on nothing that
                is measured, no such target, or no key to sign the verdict with.
        """
        s = self.settings
        keypair(self.home)
        train.check(s.train)
        choose.check(s.serve, s.quantize.serve, len(taxonomy.categories))
        awq.check(s.quantize, Path(self.base.path))
        gate.check(s.gate, taxonomy)
        for sentence in audit(self.registry):
            log.warning(sentence)
        rollout.require_way(s, self.home)

    def withheld(self, verdict: Verdict, version: int) -> str:
        """Why this version is not released without a person, and what that person does; empty: it is released."""
        if verdict.decision != "PROMOTE":
            return f"the verdict is {verdict.decision}"
        sitting = versions.sitting(self.registry)
        if sitting and sitting.bundle.digest == verdict.bundle_digest:  # it serves already: that is checked again
            return ""
        outdated = permit.refreshed_since(self.store, verdict, version)  # while this run was under way
        differs = permit.other_standard(self.registry, verdict, version)
        if outdated or differs:
            return str(outdated or differs)
        return f"waits for a person: ./tingsu promote {version}" if self.settings.gate.approval else ""

    def note(self, title: str, outcome: Outcome[Any]) -> None:
        """Say a finished stage on one line and log it; a run that finds everything done opens no MLflow run."""
        self.notes.append((title, outcome))
        log.info("%-24s %s", title, "reused" if outcome.reused else f"{outcome.seconds:.1f} s")
        if self.mlflow is not None:
            self._child(self.mlflow, title, outcome)
        elif not outcome.reused:
            self.parent()

    def candidate(self, bundle: BundleRef, verdict: Verdict, reports: Mapping[Hop, Report], speed: Speed) -> Candidate:
        """What the registry records."""
        return Candidate(
            run=self.parent(),
            bundle=bundle,
            verdict=verdict,
            dataset=self.dataset,
            base_model=self.base.name,
            reports=tuple(reports.values()),
            speed=speed,
            seconds={title: outcome.seconds for title, outcome in self.notes},
        )

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One process a run: the same retrain asked for twice is done once, and the second finds it done."""
        path = self.home / "runs" / f"{self._key[:16]}.lock"
        with ExitStack() as stack:
            try:
                stack.enter_context(lock.held(path, wait=False))
            except BlockingIOError:
                log.warning("the same retrain runs already (pid %s); waiting for it", lock.holder(path))
                stack.enter_context(lock.held(path))
            yield

    def kept(self) -> AbstractContextManager[None]:
        """`gc` removes nothing while the block runs."""
        return lock.held(gc.lock_file(self.home), shared=True)

    def take_up(self) -> None:
        """Go on with the MLflow run that a killed start of this very run left open, if there is one."""
        if tracker(self.settings, self.home).is_open(self._key):
            self.parent()

    def parent(self) -> RunRef:
        """The MLflow run, opened at first use with the stages so far; an unfinished one of the same data goes on."""
        if self.mlflow is None:
            t = tracker(self.settings, self.home)
            # an address may carry a password
            plain = json.loads(re.sub(r"//[^/@\"]*@", "//***@", self.settings.model_dump_json()))
            self.mlflow = t.open_run(f"{self.settings.profile} {self.dataset.name}", self._tags(), plain, key=self._key)
            t.log_dataset(self.mlflow, self.dataset, catalog.answer_of(self.store, self.dataset))
            for title, outcome in self.notes:
                self._child(self.mlflow, title, outcome)
        return self.mlflow

    @property
    def _key(self) -> str:
        """What makes two starts the same run."""
        text = f"{self.dataset.id}{self.base.digest}{self.settings.model_dump_json()}"
        return hashlib.sha256(text.encode()).hexdigest()

    def _child(self, parent: RunRef, title: str, outcome: Outcome[Any]) -> None:
        at = tracker(self.settings, self.home)
        if isinstance(outcome.result, Splits):
            at.log_gold(parent, outcome.result)
        at.child(parent, trace.stage_of(title, outcome, self.store))

    def _tags(self) -> dict[str, str]:
        return {
            "mlflow.user": getpass.getuser(),
            "dataset": self.dataset.name,
            "dataset_id": self.dataset.id,
            "base_model": self.base.name,
            "method": self.settings.train.method,
            "profile": self.settings.profile,
            "synthetic": str(self.dataset.synthetic).lower(),
        }


@dataclass(frozen=True)
class Trial:
    """What every hop of a run shares: categories, prompt, and the split with its frozen gold calls."""

    run: Run
    taxonomy: Taxonomy
    prompt: Prompt
    splits: Splits

    def serve(self, hop: Hop) -> ServeSettings:
        """The engine that will serve scores the form it will serve, so that what is calibrated and judged is what is served; every
        other hop is scored by transformers."""
        s = self.run.settings
        return s.serve if hop == s.quantize.serve else s.serve.model_copy(update={"engine": "transformers"})

    def evidence(self, bundle: BundleRef, reports: Mapping[Hop, Report], speed: Speed, adapter: Adapter) -> Evidence:
        """What the gate is shown."""
        s = self.run.settings
        return Evidence(
            taxonomy=self.taxonomy,
            splits=self.splits,
            settings=s.gate,
            profile=s.profile,
            bundle=bundle,
            prompt_digest=self.prompt.digest,
            engine=speed.engine,  # of the service that was measured
            quantization=s.quantize.serve,
            reports=dict(reports),
            speed=speed,
            adapter=adapter.digest,
            trained_on=adapter.trained_on,
        )


def require_trainable(settings: Settings) -> None:
    """Return if there is anything to train, before somebody is told to fetch gigabytes for it.

    Raises:
        ConfigurationError: a generation profile.
    """
    if settings.slot != "classify":
        raise ConfigurationError(
            f"profile {settings.profile!r} is for slot {settings.slot!r}; only profiles of 'classify' are trained, such "
            "as --profile qwen3-0.6b"
        )


def tracker(settings: Settings, home: Path) -> Tracker:
    """MLflow: the configured server, else the one that `up` started, else the embedded database."""
    server = None if settings.mlflow.uri else processes.answering(home, TRACKING)
    return Tracker(settings.mlflow, home, server.url.removesuffix("/health") if server else None)


def registry_of(settings: Settings, home: Path, store: Store) -> Registry:
    """The registered model of the settings; verdicts of this home's gate count, whose key is made at first use."""
    if not (home / "keys").exists():
        keypair(home)
    today = Standard(settings.profile, gate.thresholds_digest(settings.gate))
    return Registry(tracker(settings, home), store, public_key(home), today, by=getpass.getuser())
