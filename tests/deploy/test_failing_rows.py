"""A real service whose engine is a server of its own, which fails for one call and answers the others."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from data_contracts.artifacts import Model
from deploy import bundle
from deploy.engines.ollama import OllamaEngine
from deploy.store import FolderStore
from deploy.tokenizer import Tokens
from tests import tiny
from tests.deploy import engines, served
from tests.deploy.fake_ollama import FakeOllama
from tests.deploy.served import PROMPT, TAXONOMY, Served

CLASSIFY = "/api/v1/classify"
GOOD, BAD = {"text": "客户：宽带断了两天。"}, {"text": "客户：这一通服务器算不出来。"}


@pytest.fixture(scope="module")
def live(ollama: FakeOllama, home: Path) -> Iterator[Served]:
    store = FolderStore(home / "store")
    folder = store.root / "stages/merge/ollama"
    tiny.write_tokenizer(folder)
    tokens = Tokens.load(folder)
    gguf = engines.write_forms(folder / "forms", likely=TAXONOMY.code_ids(tokens))["gguf-q8_0"]
    engine = OllamaEngine.load(gguf, url=ollama.url, longest_tokens=PROMPT.longest(tokens), slots=2)
    model = Model(key=str(gguf.relative_to(store.root)), form="gguf-q8_0", digest="2" * 64, size_mb=0.1)
    parts = served.parts(model, served.golden(gguf, engine)).model_copy(update={"engine": "ollama"})
    engine.close()
    placed = served.promote(store, bundle.assemble(parts, store), home)
    with served.serving(placed, home, f"--set=serve.ollama_url={ollama.url}", fake=False) as running:
        yield running.ready(60)


def post(service: Served, *calls: dict[str, str]) -> httpx.Response:
    return httpx.post(service.url + CLASSIFY, json={"calls": calls}, timeout=60)


def state(service: Served) -> tuple[list[psutil.Process], Any]:
    info = httpx.get(service.url + "/model_info").json()
    return psutil.Process(service.process.pid).children(), info["engine_restarts"]


def test_a_call_that_the_server_fails_for_fails_its_own_request_alone(live: Served, ollama: FakeOllama) -> None:
    before = state(live)
    ollama.refuse, ollama.refusals = "算不出来", 100
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(post, live, *calls) for calls in 3 * [(GOOD,), (GOOD, BAD), (GOOD, GOOD)]]
        answers = [a.result() for a in asked]
    ollama.refusals = 0

    assert [a.status_code for a in answers] == 3 * [200, 503, 200]
    assert {a.json()["code"] for a in answers[1::3]} == {"engine_unavailable"}
    assert all(int(a.headers["retry-after"]) >= 1 for a in answers[1::3])
    assert state(live) == before
    assert post(live, GOOD, BAD).status_code == 200


def test_a_server_that_fails_for_every_call_is_set_up_anew(live: Served, ollama: FakeOllama) -> None:
    """Somebody removed the model from it."""
    _, before = state(live)
    ollama.unload()
    ollama.models.clear()

    lost = [post(live, GOOD).status_code for _ in range(3)]
    answered = post(live.ready(60), GOOD)

    assert lost[:2] == [503, 503]
    assert (answered.status_code, state(live)[1]) == (200, before + 1)


def test_a_call_that_the_server_failed_for_once_is_answered(live: Served, ollama: FakeOllama) -> None:
    """As when its runner dies, which Ollama starts again."""
    ollama.refuse, ollama.refusals = "算不出来", 1

    answer = post(live, BAD, GOOD)

    assert (answer.status_code, ollama.refusals) == (200, 0)
