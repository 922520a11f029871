"""What `status` makes of a registry that is behind what is live: a promotion on its way, or one that was cut off."""

from pathlib import Path

import pytest
import typer

from deploy import targets
from deploy.targets import Placed, Record
from flows import release
from flows.commands import machine
from tasks import registry, stages
from tests.tasks import released


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> released.Place:
    """Version 1 is the champion, version 2 is live."""
    at = released.place(tmp_path / "home")
    one = released.add(at, "one")
    registry.promote(at.registry, 1)
    two = released.after(at, one, "two")
    live = Placed(version=2, bundle_digest=two.bundle.digest, folder="/nowhere", verdict_signature="s")
    targets.write(at.home, Record(target="local", id="x", live=live, candidate=live).at("live", stages.now()))
    monkeypatch.setenv("TINGSU_HOME", str(at.home))
    return at


def test_a_promotion_whose_champion_follows_in_a_moment_was_not_cut_off(
    at: released.Place, capsys: pytest.CaptureFixture[str]
) -> None:
    with release.witnessed(at.registry), pytest.raises(typer.Exit) as during:
        machine.status()
    moving = capsys.readouterr()
    with pytest.raises(typer.Exit) as after:
        machine.status()
    ended = capsys.readouterr()

    assert (during.value.exit_code, moving.err) == (0, "")
    assert after.value.exit_code == 4
    assert (
        "version 2 is live, the champion is version 1: a release was cut off; `./tingsu promote 2` ends it" in ended.err
    )
    assert moving.out == ended.out
