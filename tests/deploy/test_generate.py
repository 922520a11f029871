"""Engines continue a prompt token by token: the same text on every engine, ended at once when nobody wants it any more."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from configs.serving import ServeSettings
from data_contracts.artifacts import Form
from data_contracts.errors import ConfigurationError, EngineUnavailable
from deploy.engines import Engine, Sampling, choose
from tests.deploy import engines
from tests.deploy.engines import Case

SERVE = ServeSettings(threads=1, precision="fp32", llama_slots=2, start_timeout_s=60)
CASES = [Case("transformers", "merged"), Case("llamacpp", "gguf-q8_0")]
LONGEST = 600
PROMPTS = [list(range(7, 31)), [5, 9, 300, 17], list(range(40, 140)), [11] * 9]


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> dict[Form, Path]:
    """Rows of 40 and 72 are no whole blocks of Q8_0, so the GGUF file holds the very same fp32 weights."""
    shape = {"hidden_size": 40, "intermediate_size": 72, "head_dim": 10, "num_hidden_layers": 3}
    return engines.write_forms(tmp_path_factory.mktemp("forms"), initializer_range=0.3, **shape)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def engine(request: pytest.FixtureRequest, forms: dict[Form, Path]) -> Iterator[Engine]:
    engines.require(request.param.engine)
    running = choose.load(request.param.engine, forms[request.param.form], SERVE, LONGEST)
    yield running
    running.close()


@pytest.fixture(scope="module")
def reference(forms: dict[Form, Path]) -> list[list[int]]:
    """What transformers' own `generate` answers, greedily."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(forms["merged"]).eval()
    asked = [torch.tensor([prompt]) for prompt in PROMPTS]
    limits = {"max_new_tokens": 30, "do_sample": False, "eos_token_id": 2, "pad_token_id": 0}
    return [model.generate(ids, **limits)[0, ids.shape[1] :].tolist() for ids in asked]


def write(engine: Engine, prompt: list[int], tokens: int = 30, **how: float) -> list[int]:
    stops = (2,)
    return list(engine.generate(prompt, Sampling(tokens, stop_ids=stops, **how)))  # type: ignore[arg-type]


def test_greedy_text_is_what_the_library_generates_on_every_engine(engine: Engine, reference: list[list[int]]) -> None:
    found = [write(engine, prompt) for prompt in PROMPTS]

    assert found == [[i for i in ids if i != 2] for ids in reference]
    assert [write(engine, prompt) for prompt in PROMPTS] == found


def test_texts_written_at_once_are_each_the_text_written_alone(engine: Engine) -> None:
    alone = [write(engine, prompt) for prompt in PROMPTS]

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda prompt: write(engine, prompt), PROMPTS * 3))

    assert together == alone * 3


def test_a_seed_draws_the_same_text_and_another_seed_another(engine: Engine) -> None:
    one, again, other = (write(engine, PROMPTS[0], temperature=1.5, top_p=0.95, seed=seed) for seed in (3, 3, 4))

    assert one == again != other
    assert one != write(engine, PROMPTS[0])
    assert write(engine, PROMPTS[0], temperature=1.5, top_p=1e-6, seed=9) == write(engine, PROMPTS[0])


def test_the_first_stop_token_ends_the_text_and_is_no_part_of_it(engine: Engine) -> None:
    whole = write(engine, PROMPTS[2])
    stop = next(i for i in whole if i != whole[0])

    found = list(engine.generate(PROMPTS[2], Sampling(30, stop_ids=(2, stop))))

    assert found == whole[: whole.index(stop)]


def test_a_prompt_that_goes_on_where_a_text_ended_is_continued_as_if_written_at_once(engine: Engine) -> None:
    whole = write(engine, PROMPTS[1], 30)
    first = write(engine, PROMPTS[1], 12)

    assert first == whole[:12]
    assert write(engine, PROMPTS[1] + first, 18) == whole[12:]


def test_closed_in_mid_text_it_works_on_something_else_at_once(engine: Engine) -> None:
    begun = [engine.generate(prompt, Sampling(400)) for prompt in PROMPTS[:2]]
    for text in begun:
        next(text)
    waiting = threading.Thread(target=write, args=(engine, PROMPTS[3], 2))
    waiting.start()
    time.sleep(0.1)
    assert SERVE.llama_slots > 1 or waiting.is_alive()

    for text in begun:
        text.close()
    waiting.join(5)

    assert not waiting.is_alive()


def test_what_does_not_fit_is_refused_before_anything_is_written(engine: Engine) -> None:
    room = engine.capabilities.max_prompt_tokens
    assert engine.capabilities.generation

    assert len(list(engine.generate([5] * (room - 3), Sampling(3)))) == 3
    with pytest.raises(ConfigurationError, match=rf"prompt of {room - 2} tokens and 3 new ones .* the {room} that"):
        next(engine.generate([5] * (room - 2), Sampling(3)))
    with pytest.raises(ConfigurationError, match="a prompt of 0 tokens"):
        next(engine.generate([], Sampling(3)))


def test_a_server_killed_in_mid_text_is_an_error_of_the_text(forms: dict[Form, Path]) -> None:
    engines.require("llamacpp")
    running = choose.load("llamacpp", forms["gguf-q8_0"], SERVE, LONGEST)
    text = running.generate(PROMPTS[0], Sampling(300))
    next(text)

    running.close()

    with pytest.raises(EngineUnavailable, match="llama-server"):
        list(text)


def test_a_long_prompt_is_read_in_parts_and_left_between_them(
    engine: Engine, reference: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("transformers", "llama_writer"):
        monkeypatch.setattr(f"deploy.engines.{module}.STEP_TOKENS", 32)
    other = [i + 1 for i in PROMPTS[2]]
    asked: list[int] = []

    def twice() -> bool:
        asked.append(1)
        return len(asked) <= 2

    whole = list(engine.generate(PROMPTS[2], Sampling(30, stop_ids=(2,))))
    left = list(engine.generate(other, Sampling(30, stop_ids=(2,)), twice))

    assert whole == [i for i in reference[2] if i != 2]
    assert (left, len(asked)) == ([], 3), "two parts of four were read"
    assert write(engine, other) == write(engine, other) != []


def test_who_leaves_while_waiting_for_a_place_is_not_written_for(engine: Engine) -> None:
    begun = [engine.generate(prompt, Sampling(400)) for prompt in PROMPTS[:2]]
    for text in begun:
        next(text)

    left = list(engine.generate(PROMPTS[3], Sampling(3), lambda: False))

    for text in begun:
        text.close()
    assert left == [] and len(write(engine, PROMPTS[3], 2)) == 2
