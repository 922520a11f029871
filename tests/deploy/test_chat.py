"""OpenAI's endpoints, asked by OpenAI's own client: a real service, a real engine, a small bundle."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from deploy import keys
from deploy.store import FolderStore
from tests.deploy import served
from tests.deploy.served import Served

TEXT = "客户：嗯，那个，宽带又断了，我要投诉。\n客服：马上为您核实。"
USER: list[Any] = [{"role": "user", "content": TEXT}]


@pytest.fixture(scope="module")
def live(home: Path) -> Iterator[Served]:
    store = FolderStore(home / "store")
    folder = served.promote(store, served.real_bundle(store), home)
    keys.add(home, "ops", ["admin"])
    limits = ("--set=serve.threads=1", "--set=serve.precision=fp32")
    with served.serving(folder, home, "--version=7", *limits, fake=False) as running:
        yield running.ready(120)


@pytest.fixture(scope="module")
def key(home: Path, live: Served) -> str:
    return keys.add(home, "client", ["classify", "metrics"])


@pytest.fixture(scope="module")
def client(live: Served, key: str) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key=key, max_retries=0, timeout=30) as made:
        yield made


def classified(live: Served, key: str, text: str = TEXT) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {key}"}
    answer = httpx.post(f"{live.url}/api/v1/classify", json={"text": text}, headers=headers, timeout=30)
    return dict(answer.raise_for_status().json())


def test_the_client_gets_the_category_and_probabilities_that_classify_gives(
    client: Any, live: Served, key: str
) -> None:
    expected = classified(live, key)

    answer = client.chat.completions.create(model="complaints", messages=USER, logprobs=True, top_logprobs=64)

    choice = answer.choices[0]
    (entry,) = choice.logprobs.content
    shares = {top.token: math.exp(top.logprob) for top in entry.top_logprobs}
    assert (choice.message.role, choice.message.content, choice.finish_reason) == (
        "assistant", expected["category"]["key"], "stop"
    )  # fmt: skip
    assert shares == pytest.approx(expected["probabilities"], abs=1e-6)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert math.exp(entry.logprob) == pytest.approx(expected["confidence"], abs=1e-6)
    assert (answer.model, answer.system_fingerprint) == ("complaints", expected["model_version"])
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (expected["tokens"], 1)
    assert answer.usage.total_tokens == expected["tokens"] + 1
    assert answer.classification["decision"] == expected["decision"]
    assert answer.classification["category"] == expected["category"]


def test_logprobs_come_only_when_asked_for_and_as_many_as_asked_for(client: Any) -> None:
    def ask(**more: Any) -> Any:
        return client.chat.completions.create(model="complaints", messages=USER, **more).choices[0].logprobs

    assert ask() is None
    assert ask(logprobs=True).content[0].top_logprobs == []
    assert len(ask(logprobs=True, top_logprobs=3).content[0].top_logprobs) == 3


def test_a_stream_has_the_same_answer_in_chunks_and_ends_in_done(client: Any, live: Served, key: str) -> None:
    asked: dict[str, Any] = {"model": "complaints", "messages": USER, "logprobs": True, "top_logprobs": 2}
    whole = client.chat.completions.create(**asked)

    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))

    deltas = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert deltas[0].delta.role == "assistant"
    assert "".join(d.delta.content or "" for d in deltas) == whole.choices[0].message.content
    assert [d.finish_reason for d in deltas] == [None, None, "stop"]
    assert [d.logprobs.to_dict() for d in deltas if d.logprobs] == [whole.choices[0].logprobs.to_dict()]
    assert chunks[-1].usage == whole.usage and chunks[-1].choices == []
    assert {c.system_fingerprint for c in chunks} == {whole.system_fingerprint}
    headers = {"Authorization": f"Bearer {key}"}
    raw = httpx.post(f"{live.url}/v1/chat/completions", json={**asked, "stream": True}, headers=headers)
    assert raw.headers["content-type"].startswith("text/event-stream")
    assert raw.text.endswith("data: [DONE]\n\n")


def test_the_last_user_message_is_what_is_classified(client: Any, live: Served, key: str) -> None:
    other = "客户：我想查一下流量还剩多少。"
    messages: list[Any] = [
        {"role": "system", "content": "你是客服质检员。"},
        {"role": "user", "content": other},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "user", "content": [{"type": "text", "text": line} for line in TEXT.splitlines()]},
        {"role": "assistant", "content": "好的"},
    ]

    def shares(messages: list[Any]) -> dict[str, float]:
        answer = client.chat.completions.create(model="complaints", messages=messages)
        return dict(answer.classification["probabilities"])

    assert shares(messages) == pytest.approx(classified(live, key)["probabilities"], abs=1e-6)
    assert shares(messages[:2]) == pytest.approx(classified(live, key, other)["probabilities"], abs=1e-6)
    assert shares(messages) != pytest.approx(shares(messages[:2]), abs=1e-6)


def test_parameters_that_cannot_matter_change_nothing(client: Any) -> None:
    harmless: dict[str, Any] = {
        "temperature": 1.7, "top_p": 0.1, "max_tokens": 1, "max_completion_tokens": 5, "seed": 3, "n": 1,
        "presence_penalty": 1, "frequency_penalty": 1, "user": "u", "stop": ["\n"], "tool_choice": "none", "tools": [],
        "response_format": {"type": "text"}, "metadata": {"a": "b"}, "store": False, "reasoning_effort": "low",
    }  # fmt: skip
    plain, same = (client.chat.completions.create(model="complaints", messages=USER, **more) for more in ({}, harmless))

    assert same.choices == plain.choices and same.usage == plain.usage


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("n", 2),
        ("tools", [{"type": "function", "function": {"name": "f", "parameters": {}}}]),
        ("functions", [{"name": "f"}]),
        ("tool_choice", "required"),
        ("response_format", {"type": "json_object"}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}),
        ("logit_bias", {"50256": -100}),
        ("modalities", ["text", "audio"]),
    ],
)
def test_a_parameter_that_would_change_the_answer_is_refused_by_name(client: Any, parameter: str, value: Any) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="complaints", messages=USER, **{parameter: value})

    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", parameter)
    assert f"'{parameter}'" in refused.value.message


def test_a_mistyped_parameter_is_refused_by_name(client: Any) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="complaints", messages=USER, extra_body={"top_logprob": 3})

    assert (refused.value.code, refused.value.param) == ("unknown_parameter", "top_logprob")


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "system", "content": TEXT}],
        [{"role": "robot", "content": TEXT}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}],
        [{"role": "user"}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": "\ud800"}],
        "你好",
    ],
)
def test_messages_without_a_text_to_classify_are_refused_in_openais_shape(
    live: Served, key: str, messages: object
) -> None:
    body = {"model": "complaints", "messages": messages}
    headers = {"Authorization": f"Bearer {key}"}
    headers |= {"Content-Type": "application/json"}
    answer = httpx.post(f"{live.url}/v1/chat/completions", content=json.dumps(body), headers=headers)

    error = answer.json()["error"]
    assert answer.status_code == 400
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_chat")
    assert error["param"] and error["message_zh"] and TEXT not in answer.text and "robot" not in answer.text


def test_an_empty_message_goes_to_a_person(client: Any) -> None:
    answer = client.chat.completions.create(model="complaints", messages=[{"role": "user", "content": " "}])

    assert answer.classification["decision"] == "review"
    assert "empty_call" in [reason["code"] for reason in answer.classification["reasons"]]


def test_the_one_model_is_listed_and_others_are_not_found(client: Any) -> None:
    assert [model.id for model in client.models.list()] == ["complaints"]
    assert client.models.retrieve("complaints").owned_by == "tingsu"
    for ask in (
        lambda: client.models.retrieve("gpt-4o"),
        lambda: client.chat.completions.create(model="gpt-4o", messages=USER),
    ):
        with pytest.raises(openai.NotFoundError) as refused:
            ask()
        assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


def test_wrong_keys_and_rates_are_the_clients_own_errors(live: Served, home: Path) -> None:
    cases = [
        ("tsk_wrong", openai.AuthenticationError, "key_unknown"),
        (keys.add(home, "auditor", ["admin"]), openai.PermissionDeniedError, "scope_missing"),
    ]
    for shown, kind, code in cases:
        with openai.OpenAI(base_url=f"{live.url}/v1", api_key=shown, max_retries=0) as stranger:
            with pytest.raises(kind) as refused:
                stranger.chat.completions.create(model="complaints", messages=USER)
            assert refused.value.code == code
    limited = keys.add(home, "limited", ["classify"], 1)
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key=limited, max_retries=2) as patient:
        asked = [patient.chat.completions.create(model="complaints", messages=USER) for _ in range(2)]
        assert len(asked) == 2  # the client came back after the seconds it was told


def test_requests_are_counted_and_no_text_reaches_the_log(client: Any, live: Served, key: str) -> None:
    secret = "我叫王小明住在朝阳区幸福里"
    client.chat.completions.create(model="complaints", messages=[{"role": "user", "content": secret}])
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="complaints", messages=[{"role": secret, "content": secret}])

    metrics = httpx.get(f"{live.url}/metrics", headers={"X-API-Key": key}).text
    assert 'qwen3_inference_requests_total{endpoint="/v1/chat/completions",side="champion",status="200"}' in metrics
    assert secret not in live.log.read_text()
