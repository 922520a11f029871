"""An Ollama as a target: real GGUF models, run by llama-server below a small Ollama."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.settings import Settings
from configs.sources import load
from data_contracts.artifacts import BundleRef, Model, Version
from data_contracts.errors import ConfigurationError, ModelLoadError, RolloutFailed
from deploy import bundle, targets
from deploy.bundle import Golden
from deploy.engines.ollama_server import Ollama
from deploy.store import FolderStore
from deploy.targets import Placed, Record
from deploy.targets.ollama import OllamaTarget
from tasks import history, rollout
from tasks.history import Event
from tests.deploy import engines, served
from tests.deploy.engines import PROMPT
from tests.deploy.fake_ollama import FakeOllama

LATEST = "tingsu:latest"


@pytest.fixture(scope="module")
def versions(home: Path) -> dict[int, Placed]:
    """Promoted versions of other weights, and what they answer is of no interest here."""
    return {number: placed(home, number) for number in (1, 2, 3)}


@pytest.fixture
def target(home: Path, ollama: FakeOllama) -> Iterator[OllamaTarget]:
    yield OllamaTarget(home, settings(ollama.url))
    ollama.unload()
    for kept in (ollama.models, ollama.templates, ollama.parameters):
        kept.clear()
    for left in ("rollouts/ollama.json", history.FILE):
        (home / left).unlink(missing_ok=True)


def settings(url: str) -> Settings:
    return load(sets=["rollout.target=ollama", f"serve.ollama_url={url}"], env={})


def placed(home: Path, version: int) -> Placed:
    store = FolderStore(home / "store")
    key = f"stages/gguf/{version}"
    engines.write_forms(store.root / key, likely=tuple(range(70 + version, 85)))
    model = Model(key=f"{key}/gguf-q8_0", form="gguf-q8_0", digest=f"{version}" * 64, size_mb=1.0)
    expected = tuple(Golden(text=text, probabilities={}) for text in served.TEXTS)
    ref = bundle.assemble(served.parts(model, expected, PROMPT), store)
    folder = served.promote(store, ref, home)
    return Placed(version=version, bundle_digest=ref.digest, folder=str(folder), verdict_signature="s")


def test_a_version_becomes_a_model_with_the_bundles_prompt_and_the_live_name_moves_to_and_fro(
    target: OllamaTarget, ollama: FakeOllama, versions: dict[int, Placed]
) -> None:
    serving = []
    for number in (1, 2):
        target.stage(versions[number])
        target.verify(versions[number])
        endpoint = target.switch(versions[number])
        targets.write(target.home, Record(target="ollama", live=versions[number], previous=versions[1]))
        serving.append(target.status().serving)
    target.undo(versions[1], versions[1])
    back = target.status()

    assert endpoint == f"{ollama.url} (model {LATEST})"
    assert [*serving, back.serving] == [versions[n].bundle_digest for n in (1, 2, 1)]
    assert set(ollama.models) == {LATEST, *(target._named(versions[n]) for n in (1, 2))}
    assert ollama.templates[LATEST].startswith("<|im_start|>system\n判断这通电话的投诉类别")
    assert ollama.parameters[LATEST]["num_predict"] == 1 and ollama.parameters[LATEST]["temperature"] == 0
    with Ollama(ollama.url) as client:
        assert client.answer("tingsu", "客户：宽带断了。").tokens == 1


@pytest.mark.parametrize("keeps", [True, False])
def test_a_switch_removes_the_versions_before_the_last_and_nothing_else(
    target: OllamaTarget, ollama: FakeOllama, versions: dict[int, Placed], keeps: bool
) -> None:
    target.keep_previous = keeps
    target.switch(versions[1])
    others = ("tingsu:mine", "tingsu:v7", "tingsu:v7-of-mine-too", "other:v1-0123456789ab")
    with Ollama(ollama.url) as client:
        for name in others:
            client.copy(LATEST, name)

    for number in (2, 3):
        targets.write(target.home, Record(target="ollama", live=versions[number - 1]))
        target.stage(versions[number])
        target.switch(versions[number])
    targets.write(target.home, Record(target="ollama", live=versions[3], previous=versions[2]))
    target.switch(versions[3])

    own = {target._named(versions[number]) for number in ((2, 3) if keeps else (3,))}
    assert set(ollama.models) == {LATEST, *others, *own} and target.status().serving == versions[3].bundle_digest


def test_a_candidate_that_is_undone_is_removed_and_what_is_live_stays(
    target: OllamaTarget, ollama: FakeOllama, versions: dict[int, Placed]
) -> None:
    target.switch(versions[1])
    targets.write(target.home, Record(target="ollama", live=versions[1], candidate=versions[2]))
    target.stage(versions[2])

    target.undo(versions[1], versions[2])

    assert set(ollama.models) == {LATEST, target._named(versions[1])}
    targets.write(target.home, Record(target="ollama"))
    target.stage(versions[2])
    target.undo(None, versions[2])
    assert set(ollama.models) == {LATEST, target._named(versions[1])}
    target.undo(None, versions[1])
    assert not ollama.models and target.status().serving is None


def test_what_another_home_put_there_is_not_rolled_over_and_what_this_home_knows_is_brought_back(
    target: OllamaTarget, ollama: FakeOllama, versions: dict[int, Placed]
) -> None:
    one, two = versions[1], versions[2]
    target.switch(one)  # and this home has no record of it
    ref = BundleRef(digest=two.bundle_digest, key=f"bundles/{two.bundle_digest}", synthetic=False)
    version = Version(name="complaints", version=2, run_id="", bundle=ref, decision="PROMOTE")

    def roll() -> None:
        rollout.rollout(FolderStore(target.home / "store"), version, settings(ollama.url), target.home)

    with pytest.raises(
        RolloutFailed, match=rf"serves bundle {one.bundle_digest[:12]} .*nothing was touched.*ollama rm {LATEST}"
    ):
        roll()
    assert set(ollama.models) == {LATEST, target._named(one)} and not targets.read(target.home, "ollama").steps
    history.append(target.home, Event(kind="recorded", version=1, by="x", bundle_digest=one.bundle_digest))
    ollama.refuse, ollama.refusals = served.TEXTS[0], 1
    with pytest.raises(RolloutFailed, match="Undone: version 1 serves"):
        roll()

    assert target.status().serving == one.bundle_digest and set(ollama.models) == {LATEST, target._named(one)}
    assert [entry.event.kind for entry in history.read(target.home)] == ["recorded", "adopted", "undone"]


def test_a_template_that_is_not_the_bundles_is_found_out(
    target: OllamaTarget, ollama: FakeOllama, versions: dict[int, Placed]
) -> None:
    target.stage(versions[1])
    name = target._named(versions[1])
    ollama.templates[name] = ollama.templates[name].replace("\n\n</think>", "</think>")

    with pytest.raises(ModelLoadError, match=r"reads golden call 1 of 2 as \d+ tokens instead of \d+"):
        target.verify(versions[1])


def test_a_dry_run_shows_the_modelfile_and_makes_nothing(
    target: OllamaTarget, ollama: FakeOllama, versions: dict[int, Placed]
) -> None:
    (change,) = target.changes(versions[1])

    assert change.before == "" and not ollama.models and change.what == f"model {LATEST} of {ollama.url}"
    assert "PARAMETER num_predict 1" in change.after and "{{ .Prompt }}<|im_end|>" in change.after


def test_traffic_is_not_split_and_a_dead_ollama_is_told(target: OllamaTarget, versions: dict[int, Placed]) -> None:
    with pytest.raises(ConfigurationError, match=r"rollout\.canary\.steps"):
        target.weigh(versions[1], 0.1)
    gone = OllamaTarget(target.home, settings(f"http://127.0.0.1:{served.free_port()}"))

    told = gone.status()
    assert told.serving is None and "nothing listens" in told.detail
