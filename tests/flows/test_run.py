"""What a run refuses, and that it refuses it before any stage has run."""

from pathlib import Path

import pytest

from configs.sources import load
from data_contracts.artifacts import Base, Dataset
from data_contracts.errors import ConfigurationError
from data_contracts.taxonomy import load as load_taxonomy
from deploy.store import FolderStore
from flows.pipeline import pipeline
from flows.run import Run
from tests.tiny import TAXONOMY, write_base

AWQ = "quantize.forms=[int8, awq]"
GGUF = ("quantize.serve=gguf-q8_0", "serve.engine=llamacpp")


@pytest.mark.parametrize(
    ("hidden_size", "sets", "message"),
    [
        (128, ["train.method=qlora"], r"'qlora' needs an NVIDIA GPU.*--set train\.method=lora"),
        (128, [AWQ], r"deploy/lmdeploy/requirements\.txt"),
        (192, [AWQ, "quantize.lmdeploy_python=/usr/bin/python3"], r"hidden_size 192; leave 'awq' out"),
        (128, ["serve.engine=llamacpp"], r"'llamacpp' does not serve .*'int8'; allowed: .*llamacpp with gguf-q8_0"),
        (
            128,
            ["quantize.serve=gguf-q8_0"],
            r"'transformers' does not serve .*'gguf-q8_0'; allowed: transformers with merged, int8",
        ),
        (128, [*GGUF, "serve.llama_server=/nowhere/llama-server"], r"serve\.llama_server '/nowhere.*requirements\.txt"),
        (128, ["gate.bounds=[{metric: macro_f2, at_least: 0.5}]"], "macro_f2"),
        (128, ["rollout.target=kubernetes", "rollout.kubernetes.kubeconfig=/nowhere"], "no way to a cluster"),
    ],
)
def test_what_this_machine_cannot_do_is_refused_before_any_stage_has_run(
    tmp_path: Path, hidden_size: int, sets: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    base = write_base(tmp_path / "base", hidden_size=hidden_size, intermediate_size=256, head_dim=32)
    (tmp_path / "taxonomy.yaml").write_text(TAXONOMY, encoding="utf-8")
    counts = {"rows": 0, "accepted": 0, "rejected": 0, "groups": 0}
    dataset = Dataset(
        id="d",
        key="d",
        name="d",
        family="f",
        categories={},
        synthetic=True,
        taxonomy_digest="",
        created_at="",
        **counts,
    )
    store = FolderStore(tmp_path / "store")
    run = Run(load(sets=sets, env={}), store, tmp_path, dataset, Base(path=str(base), name="base", digest="0"))

    with pytest.raises(ConfigurationError, match=message) as refused:
        pipeline(run, load_taxonomy(tmp_path / "taxonomy.yaml"))

    assert refused.value.exit_code == 2
    assert run.notes == []
    assert not (store.root / "stages").exists()
