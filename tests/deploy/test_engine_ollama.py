"""The Ollama engine and the client under it: what is special to them. What every engine promises is in test_conformance."""

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from configs.serving import ServeSettings
from data_contracts.artifacts import Form
from data_contracts.errors import ConfigurationError, EngineUnavailable, ModelLoadError
from deploy.engines import choose
from deploy.engines.ollama import OllamaEngine, _as_ids
from deploy.engines.ollama_server import Ollama, model_name
from deploy.spelling import Spelling
from deploy.tokenizer import Tokens
from tests.deploy import engines, fake_ollama
from tests.deploy.engines import PROMPT, Case
from tests.deploy.fake_ollama import FakeOllama
from tests.deploy.served import free_port

LIKELY = tuple(range(70, 85))
LONGEST = 300
CALLS = ("客户：我的话费多扣了三十元。", "客户：宽带断了两天！\n客服：马上核实。")


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> dict[Form, Path]:
    engines.require("ollama")
    return engines.write_forms(tmp_path_factory.mktemp("forms"), likely=LIKELY)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeOllama]:
    engines.require("ollama")
    with fake_ollama.running(tmp_path_factory.mktemp("ollama")) as server:
        yield server


@pytest.fixture
def client(ollama: FakeOllama) -> Iterator[Ollama]:
    with Ollama(ollama.url) as made:
        yield made


@pytest.fixture
def ollama(kept: FakeOllama) -> FakeOllama:
    """As newly installed, but for the models it has."""
    kept.version, kept.capabilities, kept.spoil, kept.asked = "0.33.0", ["completion"], {}, []
    return kept


def load(ollama: FakeOllama, forms: dict[Form, Path]) -> OllamaEngine:
    return OllamaEngine.load(forms["gguf-q8_0"], url=ollama.url, longest_tokens=LONGEST, slots=2)


def prompts(forms: dict[Form, Path], *texts: str) -> list[tuple[int, ...]]:
    tokens = Tokens.load(forms["merged"])
    return [PROMPT.encode(text, tokens).ids for text in texts]


def test_a_category_beyond_the_twenty_has_at_most_what_is_left_and_no_label_mass(
    ollama: FakeOllama, forms: dict[Form, Path]
) -> None:
    want = engines.start(Case("transformers", "merged"), forms["merged"]).score(prompts(forms, *CALLS), range(400), 0)
    running = load(ollama, forms)

    found = running.score(prompts(forms, *CALLS), (70, 71, 200), 0)
    running.close()

    rank = (want.logprobs > want.logprobs[:, [200]]).sum(axis=1)
    assert (rank >= 20).all()
    assert (found.logprobs[:, 2] >= want.logprobs[:, 200]).all()
    np.testing.assert_allclose(found.logprobs[:, 2], np.sort(want.logprobs)[:, -20], atol=0.15)
    np.testing.assert_allclose(found.label_mass, np.exp(found.logprobs[:, :2]).sum(axis=1), rtol=1e-5)


def test_a_model_that_can_think_is_not_let_think_and_a_long_prompt_is_refused_and_never_cut(
    ollama: FakeOllama, forms: dict[Form, Path]
) -> None:
    plain = load(ollama, forms)
    want = plain.score(prompts(forms, *CALLS), LIKELY, 0)
    plain.close()
    ollama.capabilities = ["completion", "thinking"]

    running = load(ollama, forms)
    found = running.score(prompts(forms, *CALLS), LIKELY, 0)
    with pytest.raises(ConfigurationError, match="301 tokens is longer than the 300"):
        running.score([[7] * 301], LIKELY, 0)
    running.close()

    np.testing.assert_allclose(found.logprobs, want.logprobs, atol=0.05)
    asked = [body for path, body in ollama.asked if path == "/api/generate" and "prompt" in body]
    assert all(body["options"]["num_ctx"] == LONGEST + 2 for body in asked)
    assert all(body["truncate"] is body["shift"] is body["think"] is False for body in asked)
    assert all(body["top_logprobs"] == 20 for body in asked if body.get("raw"))


def test_the_model_is_made_once_named_by_its_weights_and_freed_when_closed(
    ollama: FakeOllama, forms: dict[Form, Path]
) -> None:
    file = forms["gguf-q8_0"] / "model.gguf"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    ollama.models.clear()

    first = load(ollama, forms)
    again = load(ollama, forms)
    assert again.memory_mb() > 1
    first.close()
    again.close()

    assert ollama.models == {f"tingsu:{digest[:16]}": f"sha256:{digest}"}
    assert [path for path, _ in ollama.asked].count("/api/create") == 1
    assert ollama.runner is None


def test_other_weights_under_the_name_are_refused(
    ollama: FakeOllama, client: Ollama, forms: dict[Form, Path], tmp_path: Path
) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(b"GGUF other")
    name = model_name(forms["gguf-q8_0"] / "model.gguf")
    ollama.models.pop(name, None)
    client.create(name, other)

    with pytest.raises(ModelLoadError, match=r"does not have the weights sha256 \w{12}….*ollama rm tingsu:"):
        load(ollama, forms)
    ollama.models.pop(name)


def test_another_tokenizer_is_noticed_at_the_start(ollama: FakeOllama, forms: dict[Form, Path]) -> None:
    for spoil in ({"context": [1, 2, 3]}, {"prompt_eval_count": 1}):
        ollama.spoil = spoil
        with pytest.raises(
            ModelLoadError, match=r"Ollama reads a text of \d+ tokens as .* llamacpp, which takes token ids"
        ):
            load(ollama, forms)


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        ({"prompt_eval_count": 5}, "Ollama read 5 tokens where "),
        ({"logprobs": None}, "Ollama's answer lacks "),
        ({"logprobs": []}, "Ollama's answer lacks "),
    ],
)
def test_an_answer_that_is_not_of_this_prompt_is_no_score(
    ollama: FakeOllama, forms: dict[Form, Path], spoil: dict[str, object], what: str
) -> None:
    running = load(ollama, forms)
    ollama.spoil = spoil

    with pytest.raises(EngineUnavailable, match=what):
        running.score(prompts(forms, *CALLS), LIKELY, 0)
    running.close()


def test_log_probabilities_that_follow_the_temperature_are_refused(
    ollama: FakeOllama, forms: dict[Form, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    likeliest = OllamaEngine._likeliest

    def cooked(self: OllamaEngine, text: str, tokens: int, temperature: float = 0.0) -> list[tuple[str, float]]:
        return [(t, p / (1 + temperature)) for t, p in likeliest(self, text, tokens, temperature)]

    monkeypatch.setattr(OllamaEngine, "_likeliest", cooked)
    with pytest.raises(EngineUnavailable, match="change with the temperature"):
        load(ollama, forms)


def test_one_that_is_too_old_or_not_there_is_said_before_any_training(ollama: FakeOllama) -> None:
    def check(url: str) -> None:
        choose.check(ServeSettings(engine="ollama", ollama_url=url), "gguf-q8_0", categories=9)

    check(ollama.url)
    ollama.version = "0.12.10"
    with pytest.raises(ConfigurationError, match=r"Ollama 0\.12\.10 gives no log-probabilities; 0\.12\.11"):
        check(ollama.url)
    with pytest.raises(EngineUnavailable, match=r"nothing listens at http.*ollama serve.*serve\.ollama_url"):
        check(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ConfigurationError, match="20 categories are more than the 15 that engine ollama"):
        choose.check(ServeSettings(engine="ollama", ollama_url=ollama.url), "gguf-q8_0", categories=20)


def test_status_lists_the_models_and_what_they_hold(
    ollama: FakeOllama, client: Ollama, forms: dict[Form, Path]
) -> None:
    running = load(ollama, forms)
    status = client.status()
    running.close()

    [model] = [m for m in status.models if m.in_memory_mb]
    assert (status.version, model.quantization, model.family) == ("0.33.0", "Q8_0", "qwen3")
    assert model.name == model_name(forms["gguf-q8_0"] / "model.gguf") and len(model.digest) == 64
    assert all(not m.in_memory_mb for m in client.status().models)


def test_a_text_is_answered_with_what_it_cost_and_a_model_removed(client: Ollama, forms: dict[Form, Path]) -> None:
    client.create("mine", forms["gguf-q8_0"] / "model.gguf")

    answer = client.ask("mine", "你好", max_tokens=5)
    assert answer.tokens == 5 and answer.prompt_tokens > 1 and answer.tokens_per_s > 0 and answer.answer_s > 0
    client.remove("mine")

    with pytest.raises(ConfigurationError, match="model 'mine' not found"):
        client.ask("mine", "你好")
    with pytest.raises(ConfigurationError, match="does not remove mine"):
        client.remove("mine")


def test_a_prompt_is_spelled_only_where_it_is_read_as_its_ids(forms: dict[Form, Path]) -> None:
    spelling, [whole, hostile] = Spelling.load(forms["merged"]), prompts(forms, CALLS[0], "<|im_end|>")
    rare = spelling.ids("鑫")

    text = spelling.text(whole)
    assert text is not None and text.startswith("<|im_start|>system\n") and spelling.ids(text) == list(whole)
    assert spelling.text(hostile) is None  # its letters would be read as the control token
    assert spelling.text([999]) is None
    assert spelling.text(rare) == "鑫" and spelling.text(rare[:1]) is None
    assert spelling.word(70) == "b" and spelling.word(150) is None


def test_a_category_whose_text_is_not_its_own_is_refused(ollama: FakeOllama, forms: dict[Form, Path]) -> None:
    running = load(ollama, forms)

    with pytest.raises(ConfigurationError, match="token 150 of a category is no text of its own"):
        running.score(prompts(forms, CALLS[0]), (150,), 0)
    running.close()


def test_the_answered_token_counts_when_it_is_beyond_the_twenty() -> None:
    top = [("B", math.log(0.5)), ("\ufffd", math.log(0.2)), ("\ufffd", math.log(0.1))]

    found = _as_ids([("A", math.log(0.05)), *top], ["A", "B"])

    assert {i: p for i, p in found.items() if i >= 0} == pytest.approx({0: math.log(0.05), 1: math.log(0.5)})
    assert len(found) == 4
    assert len(_as_ids([top[1], *top], ["A", "B"])) == 3
