"""A small Ollama: the fields and refusals that its source (0.33) has, over a real llama-server as it runs one underneath.

What is left out: streaming answers, pulling, templates of its own, GPUs. One model is in memory at a time, as with little memory.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from data_contracts.errors import TingsuError
from deploy.engines import llama_server
from deploy.engines.server import EngineServer


class Refused(Exception):
    """Answered with a status and {"error": …}."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Runner:
    """A model in memory."""

    def __init__(self, gguf: Path, num_ctx: int) -> None:
        self.num_ctx = num_ctx
        options = ["--model", str(gguf), "--ctx-size", str(num_ctx), "--parallel", "1", "--threads", "1"]
        self.server: EngineServer = llama_server.start(
            llama_server.find(""), [*options, "--no-webui", "--offline", "--log-verbosity", "2"]
        )
        self.server.wait(60)

    def tokenize(self, text: str) -> list[int]:
        return list(self.server.ask("/tokenize", {"content": text})["tokens"])

    def complete(self, body: dict[str, Any]) -> tuple[str, list[dict[str, Any]], dict[str, Any]]:
        """Text, log-probabilities and the last event of a stream: what Ollama keeps of one."""
        text, probabilities = "", []
        key = {"Authorization": f"Bearer {self.server._key}"}
        url = f"{self.server.http.url}/completion"
        with httpx.stream("POST", url, json={**body, "stream": True}, headers=key, timeout=600) as stream:
            if stream.status_code >= 400:
                raise Refused(stream.status_code, stream.read().decode())
            for line in stream.iter_lines():
                if not line:
                    continue
                event = json.loads(line.removeprefix("data: "))
                if "error" in event:
                    raise Refused(500, str(event["error"]))
                if event["content"] and not event["stop"]:  # without text the log-probabilities are left out
                    text += event["content"]
                    probabilities += event.get("completion_probabilities") or []
        return text, probabilities, event


class FakeOllama(ThreadingHTTPServer):
    """`version` as it is told; `capabilities` of every model; `spoil` changes each answer of /api/generate; `refuse`: a prompt with
    this text makes the runner crash, `refusals` times."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.version = "0.33.0"
        self.capabilities = ["completion"]
        self.spoil: dict[str, Any] = {}
        self.refuse, self.refusals = "", 0
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.blobs = folder / "blobs"
        self.blobs.mkdir(parents=True)
        self.models: dict[str, str] = {}
        self.templates: dict[str, str] = {}
        self.parameters: dict[str, dict[str, Any]] = {}
        self.runner: tuple[str, Runner] | None = None
        self.lock = threading.RLock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def blob(self, digest: str) -> Path:
        return self.blobs / digest.replace(":", "-")

    def unload(self) -> None:
        with self.lock:
            if self.runner is not None:
                self.runner[1].server.close()
            self.runner = None

    def load(self, name: str, num_ctx: int) -> Runner:
        """The model in memory; another one, or one with another context, is put out for it."""
        with self.lock:
            held = self.runner
            if held and held[0] == name and held[1].num_ctx == num_ctx and held[1].server.is_running:
                return held[1]
            self.unload()
            self.runner = (name, Runner(self.blob(self.models[name]), num_ctx))
            return self.runner[1]


class Handler(BaseHTTPRequestHandler):
    server: FakeOllama
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or a body waits 40 ms for the headers' receipt

    def do_POST(self) -> None:
        self._answer("POST")

    def do_GET(self) -> None:
        self._answer("GET")

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, method: str) -> None:
        data = self._body()
        try:
            status, answer = 200, self._routed(method, data)
        except Refused as refused:
            status, answer = refused.status, {"error": str(refused)}
        except (httpx.TransportError, TingsuError) as error:
            status, answer = 500, {"error": f"model runner has unexpectedly stopped ({type(error).__name__})"}
        body = b"" if answer is None or method == "HEAD" else json.dumps(answer).encode()
        self.send_response(201 if self.path.startswith("/api/blobs/") and method == "POST" else status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def _routed(self, method: str, data: bytes) -> Any:
        if self.path.startswith("/api/blobs/"):
            return self._blob(method, self.path.removeprefix("/api/blobs/"), data)
        body = json.loads(data) if data else {}
        self.server.asked.append((self.path, body))
        routes = {
            "/api/version": lambda: {"version": self.server.version},
            "/api/tags": lambda: {"models": [self._described(name) for name in self.server.models]},
            "/api/ps": self._held,
            "/api/show": lambda: self._shown(self._named(body)),
            "/api/create": lambda: self._created(body),
            "/api/copy": lambda: self._copied(body),
            "/api/delete": lambda: self._deleted(self._named(body)),
            "/api/generate": lambda: {**self._generated(body), **self.server.spoil},
        }
        if self.path not in routes:
            raise Refused(404, "404 page not found")
        return routes[self.path]()

    def _blob(self, method: str, digest: str, data: bytes) -> None:
        file = self.server.blob(digest)
        if method == "HEAD":
            if not file.exists():
                raise Refused(404, f'blob "{digest}" not found')
        elif f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
            raise Refused(400, "digest mismatch")
        else:
            file.write_bytes(data)

    def _named(self, body: dict[str, Any]) -> str:
        name = body["model"] if ":" in body["model"] else f"{body['model']}:latest"
        if name not in self.server.models:
            raise Refused(404, f"model '{body['model']}' not found")
        return name

    def _created(self, body: dict[str, Any]) -> dict[str, str]:
        for digest in body["files"].values():
            file = self.server.blob(digest)
            if not file.exists() or file.read_bytes()[:4] != b"GGUF":
                raise Refused(400, "supplied file was not in GGUF format")
            name = body["model"] if ":" in body["model"] else f"{body['model']}:latest"
            self.server.models[name] = digest
            self.server.templates[name] = body.get("template", "")
            self.server.parameters[name] = body.get("parameters", {})
        return {"status": "success"}

    def _copied(self, body: dict[str, Any]) -> None:
        source, to = self._named({"model": body["source"]}), body["destination"]
        if self.server.runner and self.server.runner[0] == to:
            self.server.unload()
        for kept in (self.server.models, self.server.templates, self.server.parameters):
            kept[to] = kept[source]  # type: ignore[index]

    def _deleted(self, name: str) -> None:
        if self.server.runner and self.server.runner[0] == name:
            self.server.unload()
        del self.server.models[name]

    def _described(self, name: str) -> dict[str, Any]:
        digest = self.server.models[name]
        details = {"format": "gguf", "family": "qwen3", "parameter_size": "1M", "quantization_level": "Q8_0"}
        manifest = hashlib.sha256(
            json.dumps([digest, self.server.templates[name], self.server.parameters[name]]).encode()
        ).hexdigest()
        size = self.server.blob(digest).stat().st_size
        return {"name": name, "model": name, "size": size, "digest": manifest, "details": details}

    def _held(self) -> dict[str, Any]:
        if self.server.runner is None:
            return {"models": []}
        name, runner = self.server.runner
        size = int(runner.server.memory_mb() * 2**20)
        return {"models": [{**self._described(name), "size": size, "context_length": runner.num_ctx}]}

    def _shown(self, name: str) -> dict[str, Any]:
        modelfile = f'# Modelfile generated by "ollama show"\n\nFROM {self.server.blob(self.server.models[name])}\n'
        told = {"modelfile": modelfile, "template": self.server.templates[name], "model_info": {}}
        return {**told, "capabilities": self.server.capabilities}

    def _generated(self, body: dict[str, Any]) -> dict[str, Any]:
        if not 0 <= body.get("top_logprobs", 0) <= 20:
            raise Refused(400, "top_logprobs must be between 0 and 20")
        name, prompt = self._named(body), body.get("prompt", "")
        options = {**self.server.parameters[name], **body.get("options", {})}
        if self.server.refusals and self.server.refuse in prompt:
            self.server.refusals -= 1
            raise Refused(500, "model runner has unexpectedly stopped")
        if not prompt and body.get("keep_alive") == 0:
            self.server.unload()
            return {"model": name, "response": "", "done": True, "done_reason": "unload"}
        thinks = "thinking" in self.server.capabilities
        if body.get("raw") and (body.get("template") or body.get("context")):
            raise Refused(400, "raw mode does not support template, system, or context")
        if body.get("think") and not thinks:
            raise Refused(400, f'"{name}" does not support thinking')
        runner = self.server.load(name, options.get("num_ctx", 4096))
        template = body.get("template") or self.server.templates[name] or "User: {{ .Prompt }}\nAssistant:"
        whole = prompt if body.get("raw") else template.replace("{{ .Prompt }}", prompt)
        if thinks and body.get("think", True) and not body.get("raw"):
            whole += "<think>"
        return self._completed(runner, body, whole, options)

    def _completed(self, runner: Runner, body: dict[str, Any], prompt: str, options: dict[str, Any]) -> dict[str, Any]:
        asked: dict[str, Any] = {"prompt": prompt, "cache_prompt": True, "n_predict": options.get("num_predict", -1)}
        if body.get("truncate", True) and len(ids := runner.tokenize(prompt)) > runner.num_ctx - 1:
            asked["prompt"] = ids[-(runner.num_ctx // 2) :]
        if body.get("logprobs"):
            asked["n_probs"] = max(body.get("top_logprobs", 0), 1)
        if not body.get(
            "logprobs"
        ):  # the random models of tests would break characters, which llama-server cannot tell
            asked["logit_bias"] = [[i, False] for i in range(5 + 94, 400)]
        if isinstance(body.get("format"), dict):
            asked["json_schema"] = body["format"]
        text, probabilities, last = runner.complete({**asked, "temperature": options.get("temperature", 0.8)})
        timings = last["timings"]
        answer: dict[str, Any] = {
            "model": body["model"],
            "response": text,
            "done": True,
            "done_reason": "length" if last["stop_type"] == "limit" else "stop",
            "prompt_eval_count": timings["cache_n"] + timings["prompt_n"],
            "prompt_eval_duration": int(timings["prompt_ms"] * 1e6),
            "eval_count": timings["predicted_n"],
            "eval_duration": int(timings["predicted_ms"] * 1e6),
            "load_duration": 1000,
        }
        if not body.get("raw"):
            answer["context"] = runner.tokenize(prompt + text)
        if probabilities:
            answer["logprobs"] = [
                {**_told(p), "top_logprobs": [_told(t) for t in p["top_logprobs"]]} for p in probabilities
            ]
        return answer


def _told(probability: dict[str, Any]) -> dict[str, Any]:
    """Text and its bytes, no id."""
    text = probability["token"]
    return {"token": text, "logprob": probability["logprob"], "bytes": list(text.encode())}


@contextmanager
def running(folder: Path) -> Iterator[FakeOllama]:
    """Listening until the end of the block."""
    server = FakeOllama(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        server.unload()
        thread.join()
