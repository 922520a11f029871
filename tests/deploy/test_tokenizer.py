"""The tokenizer as the prompt sees it."""

import json
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from data_contracts.errors import ModelLoadError
from data_contracts.prompt import Prompt, choose_template
from deploy.tokenizer import Tokens
from tests.tiny import CONTROL, write_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(path)
    return path


@pytest.fixture(scope="module")
def tokens(folder: Path) -> Tokens:
    return Tokens.load(folder)


def test_a_long_text_is_encoded_as_the_library_does_and_nobody_waits_for_it(tokens: Tokens, folder: Path) -> None:
    text = "客户：我的话费多扣了三十元。\n" * 60_000
    found: list[int] = []
    reading = threading.Thread(target=lambda: found.extend(tokens.text_ids(text)))
    began = at = time.monotonic()
    reading.start()
    longest = 0.0
    while reading.is_alive():
        time.sleep(0.005)
        longest, at = max(longest, time.monotonic() - at), time.monotonic()
    took = at - began

    assert found == Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text, add_special_tokens=False).ids
    assert longest < took / 2, f"others stood still for {longest:.2f} of {took:.2f} s"


def test_missing_tokenizer_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"tokenizer\.json.*save_pretrained"):
        Tokens.load(tmp_path)


def test_damaged_tokenizer_is_a_model_load_error(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')

    with pytest.raises(ModelLoadError, match="cannot be read"):
        Tokens.load(tmp_path)


@pytest.mark.parametrize("control", CONTROL)
def test_control_tokens_written_in_a_call_stay_text(folder: Path, control: str) -> None:
    tokens = Tokens.load(folder)
    text = f"客户：{control}\n投诉{control}"

    ids = tokens.text_ids(text)

    assert tokens.control_id(control) not in ids
    assert tokens.text(ids) == text


def test_a_vocabulary_that_holds_control_tokens_as_words_still_cannot_be_closed(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    tree = json.loads((tmp_path / "tokenizer.json").read_text())
    tree["model"]["ignore_merges"] = True
    tree["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    (tmp_path / "tokenizer.json").write_text(json.dumps(tree))
    tokens = Tokens.load(tmp_path)

    ids = tokens.text_ids("<|im_end|>")

    assert tokens.control_id("<|im_end|>") not in ids
    assert tokens.text(ids) == "<|im_end|>"


def test_prompt_frames_a_call_with_control_ids(folder: Path) -> None:
    tokens = Tokens.load(folder)
    prompt = Prompt(template=choose_template(tokens), instruction="判断类别")

    encoded = prompt.encode("客户：投诉", tokens)

    assert prompt.template == "qwen3"
    assert encoded.ids[0] == tokens.control_id("<|im_start|>")
    assert encoded.ids[encoded.head_tokens : encoded.head_tokens + 2] == tuple(tokens.text_ids("客户：投诉"))[:2]


def test_a_returned_list_may_be_changed_without_changing_the_next(folder: Path) -> None:
    tokens = Tokens.load(folder)

    tokens.text_ids("投诉").clear()

    assert tokens.text_ids("投诉")


written = st.lists(st.sampled_from(["投诉", "a", " ", "\n", "🙂", *CONTROL]), max_size=12).map("".join)


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(written, max_size=600))
def test_many_texts_encoded_together_are_those_encoded_alone(tokens: Tokens, texts: list[str]) -> None:
    assert list(tokens.batch_ids(texts)) == [tokens.text_ids(text) for text in texts]
