"""The OpenAPI document as served: its examples hold, and every way to fail is in it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.service import chat_answer, chat_asked, document
from deploy.service.answers import EXAMPLES, Answer, Answers
from deploy.store import FolderStore
from tests.deploy import served
from tests.deploy.served import Served


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home: Path = tmp_path_factory.mktemp("home")
    store = FolderStore(home / "store")
    with served.serving(served.promote(store, served.fake_bundle(store), home), home, "--set=serve.docs=false") as it:
        yield it.ready()


@pytest.fixture(scope="module")
def tree(live: Served) -> dict[str, Any]:
    return dict(httpx.get(live.url + "/openapi.json").json())


def test_the_page_can_be_switched_off_and_the_document_stays(live: Served, tree: dict[str, Any]) -> None:
    assert httpx.get(live.url + "/docs").status_code == 404
    assert {"/api/v1/classify", "/v1/chat/completions", "/v1/models", "/health"} <= set(tree["paths"])


def test_every_endpoint_stands_in_a_group_with_a_line_in_both_languages(tree: dict[str, Any]) -> None:
    groups = {tag["name"] for tag in tree["tags"]}
    operations = [operation for methods in tree["paths"].values() for operation in methods.values()]

    assert all(" · " in operation["summary"] for operation in operations)
    assert {tag for operation in operations for tag in operation["tags"]} == groups


def test_the_examples_are_answers_the_service_gives() -> None:
    assert Answer.model_validate(document.ANSWER).category.name_zh == "计费争议"
    assert chat_answer.Completion.model_validate(document.COMPLETION).model == chat_asked.MODEL
    for example in document.CLASSIFIED[200]["content"]["application/json"]["examples"].values():
        assert (Answers if "results" in example["value"] else Answer).model_validate(example["value"])


@pytest.mark.parametrize(
    ("path", "examples"),
    [("/api/v1/classify", EXAMPLES), ("/v1/chat/completions", {**chat_asked.EXAMPLES, **document.TEXT_CHAT})],
)
def test_the_requests_shown_are_answered(
    live: Served, tree: dict[str, Any], path: str, examples: dict[str, dict[str, Any]]
) -> None:
    shown = tree["paths"][path]["post"]["requestBody"]["content"]["application/json"]["examples"]

    assert shown == examples
    for example in examples.values():
        is_elsewhere = (
            example["value"].get("model") == "generate"
        )  # answered where that slot is filled: test_generation
        assert httpx.post(live.url + path, json=example["value"]).status_code == (404 if is_elsewhere else 200)


def test_every_failure_is_documented_in_the_shape_it_has(live: Served, tree: dict[str, Any]) -> None:
    asked = [
        ("/api/v1/classify", b"{}"),
        ("/api/v1/classify", b'{"text": "\xff"}'),
        ("/api/v1/classify", b"a" * 9 * 2**20),
        ("/v1/chat/completions", b"{}"),
        ("/v1/chat/completions", b'{"model": "m", "messages": [{"role": "user", "content": "a"}]}'),
        ("/v1/chat/completions", b"a" * 9 * 2**20),
    ]
    for path, body in asked:
        answer = httpx.post(live.url + path, content=body, headers={"content-type": "application/json"})
        (media,) = tree["paths"][path]["post"]["responses"][str(answer.status_code)]["content"].items()

        assert answer.headers["content-type"] == media[0]
        shape = tree["components"]["schemas"][media[1]["schema"]["$ref"].rsplit("/", 1)[1]]
        assert set(answer.json()) == set(shape["properties"])
    assert "HTTPValidationError" not in tree["components"]["schemas"]
