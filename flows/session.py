"""What every command and flow starts from: the resolved settings, the home folder and the store."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from configs.settings import Settings
from configs.sources import home, load
from deploy.store import Store, open_store


@dataclass(frozen=True)
class Session:
    """Settings and places."""

    settings: Settings
    home: Path

    @cached_property
    def store(self) -> Store:
        """Where artefacts live."""
        return open_store(self.settings.store.url, self.settings.store.endpoint_url, self.home)


def open_session(profile: str | None = None, overlays: Sequence[str] = (), sets: Sequence[str] = ()) -> Session:
    """Resolve the settings for a profile, overlays and `--set` pairs; the home folder is private to its owner."""
    settings = load(profile or "tiny", overlays, sets)
    place = home()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Session(settings, place)
