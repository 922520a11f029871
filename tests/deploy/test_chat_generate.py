"""Model `generate` of OpenAI's endpoints, asked by OpenAI's own client: a small model that knows one thought and one answer."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest

from deploy import keys
from tests.deploy import served, speaking
from tests.deploy.served import Served
from tests.deploy.speaking import ANSWER, THOUGHT

LIMITS = ("--set=serve.threads=1", "--set=serve.precision=fp32")
USER: list[Any] = [{"role": "user", "content": "上个月多扣了我三十块钱，怎么办？"}]
OFF = {"chat_template_kwargs": {"enable_thinking": False}}


@pytest.fixture(scope="module")
def live(home: Path, speaker: Path) -> Iterator[Served]:
    keys.add(home, "ops", ["admin"])
    with served.serving(None, home, f"--generate={speaking.promoted(home, speaker)}", *LIMITS, fake=False) as running:
        yield running.ready(120)


@pytest.fixture(scope="module")
def key(home: Path, live: Served) -> str:
    return keys.add(home, "client", ["generate"])


@pytest.fixture(scope="module")
def client(live: Served, key: str) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key=key, max_retries=0, timeout=60) as made:
        yield made


def ask(client: Any, **more: Any) -> Any:
    return client.chat.completions.create(**{"model": "generate", "messages": USER, "temperature": 0, **more})


def test_the_answer_and_the_thinking_come_apart_with_the_usage(client: Any) -> None:
    answer = ask(client)

    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", ANSWER, "stop")
    assert choice.message.reasoning_content == THOUGHT
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert 0 < usage.completion_tokens_details.reasoning_tokens < usage.completion_tokens
    assert (answer.model, answer.object) == ("generate", "chat.completion")


@pytest.mark.parametrize("how", [{"extra_body": OFF}, {"reasoning_effort": "none"}])
def test_thinking_can_be_left_out(client: Any, how: dict[str, Any]) -> None:
    answer = ask(client, **how)

    message = answer.choices[0].message
    assert (message.content, message.reasoning_content) == (ANSWER, None)
    assert answer.usage.completion_tokens_details.reasoning_tokens == 0


@pytest.mark.parametrize("thinks", [True, False])
def test_a_stream_is_the_same_answer_in_whole_characters(client: Any, thinks: bool) -> None:
    more: dict[str, Any] = {} if thinks else {"extra_body": OFF}
    whole = ask(client, **more)

    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}, **more))

    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    thoughts = [getattr(delta, "reasoning_content", None) or "" for delta in deltas]
    texts = [delta.content or "" for delta in deltas]
    assert deltas[0].role == "assistant" and len([text for text in texts if text]) > 10
    assert ("".join(thoughts), "".join(texts)) == (THOUGHT if thinks else "", ANSWER)
    assert not any("\ufffd" in piece for piece in (*thoughts, *texts))
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage == whole.usage and chunks[-1].choices == []


def test_max_tokens_counts_the_thinking_too(client: Any) -> None:
    short, long = ask(client, max_tokens=3), ask(client, max_completion_tokens=40)

    assert (short.choices[0].finish_reason, short.choices[0].message.content) == ("length", "")
    assert THOUGHT.startswith(short.choices[0].message.reasoning_content)
    assert short.usage.completion_tokens == 3
    assert long.choices[0].message.reasoning_content == THOUGHT and long.choices[0].finish_reason == "length"
    assert ANSWER.startswith(long.choices[0].message.content) and long.usage.completion_tokens == 40


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_word_ends_the_text_before_it_wherever_its_pieces_fall(client: Any, stream: bool) -> None:
    answer = ask(client, stop=["马上退", "客服"], extra_body=OFF, stream=stream)

    if stream:
        chunks = [chunk.choices[0] for chunk in answer]
        text, finish = "".join(chunk.delta.content or "" for chunk in chunks), chunks[-1].finish_reason
    else:
        text, finish = answer.choices[0].message.content, answer.choices[0].finish_reason
    assert (text, finish) == (ANSWER.partition("马上退")[0], "stop")


def test_a_seed_repeats_a_drawn_text(client: Any) -> None:
    def drawn(seed: int) -> str:
        answer = ask(client, temperature=2, top_p=1, seed=seed, max_tokens=30, extra_body=OFF)
        return str(answer.choices[0].message.content)

    assert drawn(1) == drawn(1)
    assert len({drawn(seed) for seed in range(1, 6)}) > 1


def test_earlier_turns_are_read_and_their_thinking_is_not(client: Any) -> None:
    talk = [
        {"role": "developer", "content": "你是客服。"},
        *USER,
        {"role": "assistant", "content": "已登记。"},
        {"role": "user", "content": [{"type": "text", "text": "宽带也断了"}]},
    ]
    thought = [
        dict(turn, content=f"<think>\n想\n</think>\n\n{turn['content']}") if turn["role"] == "assistant" else turn
        for turn in talk
    ]

    plain, same = ask(client, messages=talk), ask(client, messages=thought)

    assert plain.usage.prompt_tokens == same.usage.prompt_tokens > ask(client).usage.prompt_tokens


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("n", 2), ("logprobs", True), ("tools", [{"type": "function"}]), ("response_format", {"type": "json_object"}),
     ("logit_bias", {"1": 1}), ("presence_penalty", 0.5)],
)  # fmt: skip
def test_what_it_cannot_do_is_refused_by_name(client: Any, parameter: str, value: Any) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, **{parameter: value})

    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", parameter)


def test_too_long_a_text_and_a_wrong_value_are_bad_requests(client: Any) -> None:
    for more, code, param in (
        ({"messages": [{"role": "user", "content": "宽带" * 2000}]}, "too_long", None),
        ({"max_tokens": 0}, "invalid_chat", "max_tokens"),
        ({"temperature": 3}, "invalid_chat", "temperature"),
        ({"extra_body": {"top_k": 5}}, "unknown_parameter", "top_k"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "invalid_chat", "messages.0.role"),
    ):
        with pytest.raises(openai.APIStatusError) as refused:
            ask(client, **more)
        assert (refused.value.status_code, refused.value.code, refused.value.param) == (400, code, param)


def test_models_are_those_that_are_here_and_scopes_are_kept(client: Any, live: Served, home: Path) -> None:
    assert [model.id for model in client.models.list()] == ["generate"]
    with pytest.raises(openai.NotFoundError):
        ask(client, model="complaints")
    other = keys.add(home, "classifier", ["classify"])
    stranger = openai.OpenAI(base_url=f"{live.url}/v1", api_key=other, max_retries=0)
    with stranger, pytest.raises(openai.PermissionDeniedError) as refused:
        ask(stranger)
    assert "'generate'" in refused.value.message


def test_who_leaves_a_stream_frees_the_engine(client: Any, live: Served, key: str) -> None:
    for _ in range(4):
        stream = ask(client, stream=True)
        next(iter(stream))
        stream.close()
    before = time.monotonic()

    assert ask(client, max_tokens=2).usage.completion_tokens == 2
    assert time.monotonic() - before < 3


def test_an_engine_killed_in_mid_stream_breaks_it_off_with_an_error(client: Any, live: Served, key: str) -> None:
    stream = iter(ask(client, stream=True))
    next(stream)
    service = psutil.Process(live.process.pid)
    engine = next(p for p in service.children() if "spawn_main" in " ".join(p.cmdline()))
    engine.suspend()
    engine.kill()

    with pytest.raises(openai.APIError, match="try again in 2 s") as broken:
        list(stream)
    assert broken.value.code == "engine_unavailable" and isinstance(broken.value.body, dict)
    assert "推理引擎中断" in broken.value.body["message_zh"] and broken.value.body["request_id"]
    (told,) = [line for line in live.log.read_text().splitlines() if broken.value.body["request_id"] in line][:1]
    assert "the engine process ended" in told and "the engine process ended" not in str(broken.value)
    until = time.monotonic() + 60
    while httpx.get(f"{live.url}/ready").status_code != 200 and time.monotonic() < until:
        time.sleep(0.1)
    assert ask(client).choices[0].message.content == ANSWER
