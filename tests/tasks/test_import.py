"""Models made elsewhere, imported for slot `generate`: what is taken, what is refused with which words, and killed anywhere."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from configs.sources import load
from data_contracts.errors import ConfigurationError, GateRefused, ModelLoadError, TingsuError
from deploy import bundle, generation
from deploy.store import FolderStore
from flows.adoption import bring
from flows.session import Session
from tasks import adopt, gguf_file
from tests import killer, tiny
from tests.deploy import engines, speaking
from tests.killer import Plan

SETS = ("serve.threads=1", "serve.precision=fp32", "serve.start_timeout_s=60")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny.write_base(tmp_path_factory.mktemp("model") / "Tiny-Thinking")
    (folder / "chat_template.jinja").write_text(speaking.ALWAYS, encoding="utf-8")
    return folder


def session(home: Path, *sets: str) -> Session:
    return Session(load(sets=[*SETS, *sets], env={"TINGSU_HOME": str(home)}), home)


def opened(found: Any, home: Path) -> generation.GenerationBundle:
    made = generation.open(found.folder)
    assert generation.permit(made, bundle.public_key(home)) == found.verdict
    return made


def test_a_folder_becomes_a_bundle_that_may_serve_without_a_copy_of_its_weights(model: Path, tmp_path: Path) -> None:
    model = shutil.copytree(model, tmp_path / "Tiny-Thinking")
    (model / "pytorch_model.bin").write_bytes(b"left out")

    found = bring(model, session(tmp_path))

    made, verdict = opened(found, tmp_path), found.verdict
    assert (verdict.decision, verdict.name, verdict.thinks) == ("PROMOTE", "Tiny-Thinking", "always")
    assert {bound.metric for bound in verdict.bounds} == {"repeatable_share", "new_tokens", "tokens_s", "first_token_s"}
    assert all(bound.holds for bound in verdict.bounds) and verdict.speed.tokens_s > 1
    assert (made.model / "model.safetensors").samefile(model / "model.safetensors")
    assert not (made.model / "config.json").samefile(model / "config.json")
    assert not (made.model / "pytorch_model.bin").exists()
    assert found.warning == ""


def test_imported_again_nothing_is_done_twice(model: Path, tmp_path: Path) -> None:
    first = bring(model, session(tmp_path))
    stages, notes = killer.stages_of(tmp_path / "store"), sorted((tmp_path / "store/bundles").rglob("*"))
    verdict = (first.folder.with_name(first.folder.name + ".attest") / "verdict.json").read_bytes()
    moved = shutil.copytree(model, tmp_path / "Tiny-Thinking")

    for path in (model, moved):
        again = bring(path, session(tmp_path))

        assert again.verdict == first.verdict and killer.stages_of(tmp_path / "store") == stages
        assert sorted((tmp_path / "store/bundles").rglob("*")) == notes
    assert (first.folder.with_name(first.folder.name + ".attest") / "verdict.json").read_bytes() == verdict


def test_too_slow_for_the_bounds_it_is_rejected_and_not_served(model: Path, tmp_path: Path) -> None:
    found = bring(model, session(tmp_path, "serve.generate.min_tokens_s=1000000"))

    assert found.verdict.decision == "REJECT" and "tokens_s" in found.verdict.sentence_en
    assert found.folder is None and bundles(tmp_path) == []
    assert bring(model, session(tmp_path)).verdict.decision == "PROMOTE" and len(bundles(tmp_path)) == 1


def test_rejected_after_it_was_let_in_it_stays_for_whoever_serves_it_and_is_served_to_nobody_new(
    model: Path, tmp_path: Path
) -> None:
    served = bring(model, session(tmp_path)).folder

    again = bring(model, session(tmp_path, "serve.generate.min_tokens_s=1000000"))

    assert again.folder is None and served is not None
    with pytest.raises(GateRefused, match="REJECT"):
        generation.permit(generation.open(served), bundle.public_key(tmp_path))


def test_what_does_not_run_here_does_not_stay_in_the_store(model: Path, tmp_path: Path) -> None:
    """Its files are whole and of the right shape, and it says of its weights that they are of another."""
    config = json.loads((model / "config.json").read_text()) | {"hidden_size": 999}
    broken = changed(model, tmp_path / "broken", config__json=json.dumps(config))

    with pytest.raises(TingsuError):
        bring(broken, session(tmp_path))

    assert bundles(tmp_path) == [] and (broken / "model.safetensors").is_file()
    assert bring(model, session(tmp_path)).verdict.decision == "PROMOTE"


def bundles(home: Path) -> list[str]:
    return [path.name for path in (home / "store/bundles").glob("*") if not path.name.endswith(".attest")]


def test_mlflow_has_the_verdict_and_the_speed_once(model: Path, tmp_path: Path) -> None:
    from flows.run import tracker

    for _ in range(2):
        found = bring(model, session(tmp_path))

    with tracker(session(tmp_path).settings, tmp_path).client() as client:
        experiment = client.get_experiment_by_name("tingsu")
        runs = client.search_runs([experiment.experiment_id], "tags.slot = 'generate'")
        (child,) = client.search_runs([experiment.experiment_id], "tags.`tingsu.stage` = 'smoke'")
    assert [run.info.status for run in runs] == ["FINISHED"]
    assert runs[0].data.tags["bundle_digest"] == found.verdict.bundle_digest
    assert child.data.metrics["speed/tokens_s"] == pytest.approx(found.verdict.speed.tokens_s)


def test_a_tracking_server_that_is_away_is_a_warning(model: Path, tmp_path: Path) -> None:
    found = bring(model, session(tmp_path, "mlflow.uri=http://127.0.0.1:9"))

    assert found.verdict.decision == "PROMOTE" and "127.0.0.1:9" in found.warning and "import again" in found.warning


def changed(model: Path, folder: Path, **files: str | bytes | None) -> Path:
    """A copy of the model with other files; None removes one."""
    shutil.copytree(model, folder)
    for name, content in files.items():
        file = folder / name.replace("__", ".")
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


@pytest.mark.parametrize(
    ("files", "kind", "said"),
    [
        ({"config__json": None}, ConfigurationError, r"no config\.json"),
        ({"config__json": "{"}, ModelLoadError, r"config\.json is damaged"),
        (
            {"config__json": '{"architectures": ["BertModel"]}'},
            ConfigurationError,
            "BertModel, not a causal language model",
        ),
        ({"model__safetensors": None, "pytorch_model__bin": b"x"}, ModelLoadError, r"pickled \.bin .* Convert: python"),
        ({"model__safetensors": None}, ModelLoadError, r"no \*\.safetensors"),
        ({"model__safetensors": b"\x08\0\0\0\0\0\0\0{}      "}, ModelLoadError, r"weight .* is missing"),
        ({"model__safetensors": b"broken"}, ModelLoadError, r"model\.safetensors is damaged"),
        (
            {"model.safetensors.index.json": json.dumps({"weight_map": {"a": "model-00002-of-00002.safetensors"}})},
            ModelLoadError,
            "model-00002-of-00002.safetensors is missing",
        ),
        ({"tokenizer__json": None}, ModelLoadError, r"no tokenizer\.json\. Make it once"),
        ({"chat_template__jinja": None}, ModelLoadError, "no chat template"),
    ],
)
def test_what_is_no_whole_model_is_refused_with_what_to_do(
    model: Path, tmp_path: Path, files: dict[str, Any], kind: type[TingsuError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        bring(changed(model, tmp_path / "other", **files), session(tmp_path))


def test_nothing_there_and_nothing_a_model_can_be_are_refused(model: Path, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    (tmp_path / "text.gguf").write_text("no")
    (tmp_path / "file.txt").write_text("no")
    for path, kind, said in (
        (tmp_path / "nowhere", ConfigurationError, "hf download"),
        (tmp_path / "file.txt", ConfigurationError, "neither a folder nor a .gguf file"),
        (tmp_path / "text.gguf", ModelLoadError, "cannot be read as a GGUF model"),
    ):
        with pytest.raises(kind, match=said):
            adopt.adopt(path, store)
    shorn = shutil.copytree(model, tmp_path / "shorn")
    whole = (shorn / "model.safetensors").read_bytes()
    (shorn / "model.safetensors").unlink()
    (shorn / "model.safetensors").write_bytes(whole[:-100])
    with pytest.raises(ModelLoadError, match="damaged"):
        adopt.adopt(shorn, store)
    assert not list((tmp_path / "store/bundles").glob("*"))


def test_a_gguf_file_is_served_by_llamacpp_with_its_own_tokenizer_and_template(speaker: Path, tmp_path: Path) -> None:
    engines.require("llamacpp")
    (tmp_path / "gguf").mkdir()
    gguf_file.write(speaker, tmp_path / "gguf")
    file = (tmp_path / "gguf/model.gguf").rename(tmp_path / "Speaker-Q8_0.gguf")

    found = bring(file, session(tmp_path))

    made, verdict = opened(found, tmp_path), found.verdict
    assert (verdict.decision, verdict.engine, verdict.quantization) == ("PROMOTE", "llamacpp", "gguf-q8_0")
    assert (verdict.name, verdict.thinks) == ("Speaker-Q8_0.gguf", "if asked")
    assert (made.model / "model.gguf").samefile(file)
    told, theirs = (json.loads((folder / "tokenizer.json").read_text()) for folder in (made.model, speaker))
    assert told["model"]["vocab"] == theirs["model"]["vocab"]


def importing(model: Path, home: Path) -> None:
    bring(model, session(home))


@pytest.mark.slow
def test_killed_anywhere_it_goes_on_and_ends_as_if_it_had_not_been(model: Path, tmp_path: Path) -> None:
    deaths = [
        r"os\.rename .*bundles/[0-9a-f]{64}$",
        r"w .*record\.json",
        r"os\.rename .*stages/smoke",
        r"w .*gate\.pem|mkstemp|w .*keys/",
        r"os\.rename .*verdict\.json",
        r"sqlite3\.connect",
        r"os\.rename .*mlflow\.json",
    ]
    codes = [killer.run(importing, model, tmp_path, plan=Plan(pattern)) for pattern in deaths]

    assert killer.run(importing, model, tmp_path) == 0
    found = bring(model, session(tmp_path))
    assert codes.count(-9) >= 5 and set(codes) <= {-9, 0}
    opened(found, tmp_path)
    whole = [name for name in os.listdir(tmp_path / "store/bundles") if not name.endswith(".attest")]
    assert whole == [found.verdict.bundle_digest] and len(killer.stages_of(tmp_path / "store")) == 1
