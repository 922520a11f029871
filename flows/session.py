"""What every command and flow starts from: the resolved settings, the home folder and the store."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from configs.settings import Settings
from configs.sources import home, load
from data_contracts.errors import ConfigurationError
from deploy import disk
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


def make_home(place: Path) -> None:
    """The home folder, private to its owner.

    Raises:
        ConfigurationError: a file has its name.
        ResourceInsufficient, StoreUnavailable: the disk is full or not writable.
    """
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigurationError(f"TINGSU_HOME={place} is a file or lies below one; name a folder") from error
    except OSError as error:
        raise disk.unwritable(f"the home folder {place} (TINGSU_HOME)", error) from error


def open_session(profile: str | None = None, overlays: Sequence[str] = (), sets: Sequence[str] = ()) -> Session:
    """Resolve the settings; `profile` as in `sources.load`; the home folder is private to its owner."""
    settings = load(profile, overlays, sets)
    place = home()
    make_home(place)
    return Session(settings, place)
