"""The record of one target's rollouts, and its lines in the history: who, when, why, on which evidence."""

from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Literal

from data_contracts.artifacts import Release
from deploy import targets
from deploy.targets import Placed, Record, State, words
from deploy.targets.words import Word
from tasks import history, stages
from tasks.history import Event


@dataclass(frozen=True)
class Book:
    """Of target `name`. `by`: who acts, for the history."""

    home: Path
    name: str
    by: str

    def read(self) -> Record:
        """The record as it is on disk."""
        return targets.read(self.home, self.name)

    def plan(
        self, record: Record, candidate: Placed, state: State, note: str = "", *, is_return: bool = False
    ) -> Record:
        """A new rollout, at its first state."""
        fresh = Record(target=self.name, id=token_hex(8), candidate=candidate, is_return=is_return)
        kept = {"live": record.live, "previous": record.previous, "endpoint": record.endpoint}
        return self.reach(fresh.model_copy(update=kept), state, note)

    def reach(self, record: Record, state: State, note: str = "") -> Record:
        """The next state, on disk when this returns."""
        return targets.write(self.home, record.at(state, stages.now(), note))

    def undone(self, record: Record, outcome: str) -> Record:
        """The end of a rollout that did not go live: into the history first, then into the record; told once, whenever it dies."""
        record = record.at("undone", stages.now(), outcome)
        self._remember("undone", record, {})
        return targets.write(self.home, record)

    def adopted(self, record: Record, live: Placed, endpoint: str) -> Record:
        """What the target was found to serve, as what is live; what the record had for it may be gone back to."""
        moved = record.model_copy(
            update={"endpoint": endpoint, "live": live, "previous": record.live or record.previous}
        )
        before = record.live.version if record.live else None
        told: dict[str, object] = {"target": self.name, "endpoint": endpoint, "previous_version": before}
        history.append(self.home, self._event("adopted", live, told))
        return targets.write(self.home, moved)

    def released(self, record: Record, endpoint: str, note: str = "") -> Release:
        """The end of one that did; in the same order. What was live already is told again only where it had been stopped."""
        live = record.subject
        is_new = not live.is_same(record.live)
        previous = record.live if is_new else record.previous
        moved = record.model_copy(update={"endpoint": endpoint, "live": live, "previous": previous})
        record = moved.at("live", stages.now(), note)
        release = Release(
            target=self.name,
            endpoint=endpoint,
            version=live.version,
            bundle_digest=live.bundle_digest,
            verdict_signature=live.verdict_signature,
            previous_version=previous.version if previous else None,
            created_at=record.steps[-1].at,
        )
        if is_new or self.is_stopped():
            self._remember(
                "released" if is_new else "started",
                record,
                {"endpoint": endpoint, "previous_version": release.previous_version},
            )
        targets.write(self.home, record)
        return release

    def is_stopped(self) -> bool:
        """Whether the last that the history tells of the target is that all of it was stopped."""
        told = [e.event for e in history.read(self.home) if e.event.kind in history.SERVES]
        own = [event for event in told if event.detail.get("target") == self.name]
        return bool(own) and own[-1].kind == "stopped"

    def moved(self, kind: Literal["started", "stopped"], live: Placed, how: str, endpoint: str = "") -> None:
        """What is live was stopped or started by a command, without a rollout."""
        history.append(self.home, self._event(kind, live, {"target": self.name, "how": how, "endpoint": endpoint}))

    def say(self, kind: words.Kind, record: Record, why: str) -> Word:
        """Leave a word for whoever carries this rollout out."""
        word = Word(kind=kind, version=record.subject.version, rollout=record.id, by=self.by, why=why, at=stages.now())
        words.leave(self.home, self.name, word)
        return word

    def approve(self, record: Record, why: str) -> Word:
        """The same of an approval, which the history has first; told once, whenever it dies."""
        told: dict[str, object] = {"target": self.name, "rollout": record.id, "why": why}
        event = self._event("approved", record.subject, told)
        own = [e.event for e in history.read(self.home) if e.event.detail.get("rollout") == record.id]
        if not any((e.kind, e.by) == ("approved", self.by) for e in own):
            history.append(self.home, event)
        return self.say("approve", record, why)

    def said(self, kind: words.Kind, record: Record) -> Word | None:
        """What a person said about this rollout, if anything."""
        return words.find(self.home, self.name, kind, record.id)

    def _remember(self, kind: history.Kind, record: Record, detail: dict[str, object]) -> None:
        """With the evidence: who approved it, and what the canary's judge found, which is counts and shares."""
        approval, canary = record.approval, record.canary
        evidence = {
            "approval": approval.model_dump(mode="json") if approval else None,
            "canary": canary.judgement.model_dump(mode="json") if canary and canary.judgement else None,
            "emergency": record.subject.emergency,
        }
        if any(e.event.kind == kind and e.event.detail.get("rollout") == record.id for e in history.read(self.home)):
            return  # killed before it was in the record
        told = {"target": self.name, "rollout": record.id, "steps": [s.model_dump() for s in record.steps], **detail}
        told |= {name: value for name, value in evidence.items() if value}
        history.append(self.home, self._event(kind, record.subject, told))

    def _event(self, kind: history.Kind, placed: Placed, detail: dict[str, object]) -> Event:
        return Event(kind=kind, version=placed.version, by=self.by, bundle_digest=placed.bundle_digest, detail=detail)
