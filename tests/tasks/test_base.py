"""Which folders can be a base."""

from pathlib import Path

import pytest

from data_contracts.errors import ConfigurationError, ModelLoadError
from tasks.base import resolve
from tests.tiny import write_base


def test_a_hub_name_is_refused_with_the_download_command() -> None:
    with pytest.raises(
        ConfigurationError, match=r"Nothing is downloaded.*hf download Qwen/Qwen3-0.6B --local-dir Qwen3-0.6B"
    ):
        resolve("Qwen/Qwen3-0.6B")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere.*builtin:tiny"):
        resolve(str(tmp_path / "nowhere"))


def test_a_folder_without_config_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no config\.json"):
        resolve(str(tmp_path))


def test_pickled_weights_are_refused_with_the_exact_command(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")

    with pytest.raises(
        ModelLoadError, match=rf"from_pretrained\('{tmp_path}'\)\.save_pretrained\('{tmp_path}-safetensors'\)"
    ):
        resolve(str(tmp_path))


def test_a_folder_without_fast_tokenizer_is_refused(tmp_path: Path) -> None:
    write_base(tmp_path)
    (tmp_path / "tokenizer.json").unlink()

    with pytest.raises(ConfigurationError, match=r"tokenizer\.json"):
        resolve(str(tmp_path))


def test_a_quantized_folder_cannot_be_trained(tmp_path: Path) -> None:
    write_base(tmp_path)
    (tmp_path / "model.gguf").write_bytes(b"GGUF")

    with pytest.raises(ConfigurationError, match="gguf"):
        resolve(str(tmp_path))


def test_the_digest_covers_the_weights(tmp_path: Path) -> None:
    one, other = resolve(str(write_base(tmp_path / "a"))), resolve(str(write_base(tmp_path / "b", seed=1)))

    assert one.digest != other.digest
    assert resolve(one.path).digest == one.digest
