"""A client of the service; the only place that knows how to speak to it."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.errors import (
    ConfigurationError,
    ContractViolation,
    EngineUnavailable,
    ModelLoadError,
    ResourceInsufficient,
    TingsuError,
)
from data_contracts.schema import Call
from deploy.keys import VARIABLE

if TYPE_CHECKING:
    import ssl

    import httpx

Answer = dict[str, Any]
BUSY = (429, 503)
TOO_MUCH = ("overloaded", "deadline_exceeded")
TOO_MANY = "too_many_calls"
SIDE = "x-tingsu-side"
"""The header in which a request names the side that shall answer it."""
RELOAD, CANDIDATE, PREVIOUS = "/admin/reload", "/admin/candidate", "/admin/previous"
RAISED: dict[str, type[TingsuError]] = {
    "reload_memory": ResourceInsufficient,
    "reload_gpu_memory": ResourceInsufficient,
    "candidate_memory": ResourceInsufficient,
    "reload_refused": ModelLoadError,
    "reload_failed": ModelLoadError,
    "reload_undone": ModelLoadError,
}
"""What a code of the service is raised as, where its status does not say it."""


class Client:
    """One service. Waits out a busy or restarting one for up to `patience_s`, as its Retry-After says.

    Any method raises ConfigurationError where the service wants another key, or shows a certificate that is not trusted here.
    """

    def __init__(
        self, url: str, timeout_s: float = 60.0, patience_s: float = 60.0, *, key: str | None = None, side: str = ""
    ) -> None:
        """`key` is shown with every request, see `keys.machine` and `keys.chosen`; `side`: who shall answer, "candidate" for one that
        is tried beside what serves."""
        import httpx

        self.url = url.rstrip("/")
        self.timeout_s = timeout_s
        self.patience_s = patience_s
        try:
            if httpx.URL(self.url).scheme not in ("http", "https") or not httpx.URL(self.url).host:
                raise httpx.InvalidURL("no http:// or no host")
            # No proxy from the environment: transcripts go to the address given and nowhere else.
            headers = ({"Authorization": f"Bearer {key}"} if key else {}) | ({SIDE: side} if side else {})
            self._http = httpx.Client(base_url=self.url, trust_env=False, headers=headers, verify=_trusted(self.url))
        except httpx.InvalidURL as error:
            raise ConfigurationError(f"{url!r} is not a URL; write it as http://127.0.0.1:8000") from error

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def health(self) -> dict[str, Any]:
        """`GET /health`.

        Raises:
            EngineUnavailable: nothing answers there.
        """
        return self._json(self._send("GET", "/health"))

    def ready(self) -> bool:
        """Whether it answers classifications now; False also when nothing answers there."""
        try:
            return self._send("GET", "/ready").status_code == 200
        except EngineUnavailable:
            return False

    def model_info(self) -> dict[str, Any]:
        """`GET /model_info`."""
        return self._json(self._send("GET", "/model_info"))

    def stats(self) -> dict[str, Any]:
        """`GET /stats`."""
        return self._json(self._send("GET", "/stats"))

    def metrics(self) -> str:
        """`GET /metrics`: Prometheus' text format."""
        response = self._send("GET", "/metrics")
        return response.text if response.status_code == 200 else str(self._json(response))

    def classify(self, calls: Sequence[Call], batch_calls: int = 32) -> list[Answer]:
        """One answer a call, in order, asked in batches.

        Raises:
            EngineUnavailable: it stayed busy or away for longer than the patience.
            ContractViolation: it refused a call; says which field.
        """
        return [answer for batch in _batches(calls, batch_calls) for answer in self._classify(batch)]

    def reload(self, bundle: Path, version: int, limit_s: float, *, drain: bool = False, keep: bool = False) -> Answer:
        """Have the service serve another bundle; it does when this returns. A reload that runs already is waited for.

        Args:
            limit_s: for loading it; also what the other reload may take.
            keep: what served before stays loaded, for a quick way back.

        Raises:
            ResourceInsufficient: memory does not hold both bundles, and `drain` is off; nothing was touched.
            ModelLoadError: refused, or not loaded; the bundle before serves.
        """
        body = {"bundle": str(bundle), "version": version, "drain": drain, "keep_previous": keep}
        return self._load(RELOAD, body, limit_s)

    def try_beside(self, bundle: Path, version: int, limit_s: float) -> Answer:
        """Have the service load a candidate beside what serves, with no share of the requests. A reload that runs is waited for.

        Raises:
            ResourceInsufficient: memory does not hold both bundles; nothing was touched.
            ModelLoadError: refused, or not loaded; the bundle before serves on.
        """
        return self._load(CANDIDATE, {"bundle": str(bundle), "version": version}, limit_s)

    def weigh(
        self, share: float, mirror_share: float = 0.0, mirror_url: str = "", hold_s: float | None = None
    ) -> Answer:
        """Give the candidate this share of the requests, and ask it too a share of those that the champion answers; for `hold_s`
        seconds, or until something else is said.

        Raises:
            ContractViolation: there is no candidate.
        """
        body: dict[str, Any] = {"share": share, "mirror_share": mirror_share, "mirror_url": mirror_url}
        body |= {} if hold_s is None else {"hold_s": hold_s}  # unknown to an older service on a server
        return self._json(self._send("PUT", CANDIDATE, body))

    def withdraw(self, limit_s: float) -> None:
        """Have the candidate closed, if there is one, when it has answered what it was asked; its share ends at once."""
        self._json(self._send("DELETE", CANDIDATE, None, limit_s))

    def forget(self, limit_s: float) -> None:
        """Have the bundle closed that served before, if it is loaded still."""
        self._json(self._send("DELETE", PREVIOUS, None, limit_s))

    def _load(self, path: str, body: dict[str, Any], limit_s: float) -> Answer:
        until = time.monotonic() + limit_s
        while (response := self._send("POST", path, body, limit_s)).status_code == 409 and time.monotonic() < until:
            if (wait_s := response.headers.get("Retry-After")) is None:
                break
            time.sleep(float(wait_s))
        return self._json(response)

    def generate(self, prompt: str, max_length: int, temperature: float = 0.0) -> Answer:
        """`POST /generate`; `max_length` new tokens at most.

        Raises:
            EngineUnavailable: it stayed busy or away for longer than the patience.
            ContractViolation: it refused; says why.
        """
        return self._text("/generate", {"prompt": prompt, "max_length": max_length, "temperature": temperature})

    def thinking(self, question: str, thinking_depth: int, max_tokens: int) -> Answer:
        """`POST /thinking`; the answer has `max_tokens` at most. Raises as `generate`."""
        body = {"question": question, "thinking_depth": thinking_depth, "max_tokens": max_tokens}
        return self._text("/thinking", body)

    def _text(self, path: str, body: dict[str, Any]) -> Answer:
        until = time.monotonic() + self.patience_s
        while (response := self._send("POST", path, body)).status_code in BUSY:
            wait_s = float(response.headers.get("Retry-After", "1"))
            if time.monotonic() + wait_s > until:
                break
            time.sleep(wait_s)
        return self._json(response)

    def _classify(self, calls: Sequence[Call]) -> list[Answer]:
        """A batch that is too much for the service is halved after the wait it asks for; one that it never takes, at once."""
        body = {"calls": [call.model_dump(mode="json", exclude_none=True) for call in calls]}
        until = time.monotonic() + self.patience_s
        while (response := self._send("POST", "/api/v1/classify", body)).status_code in BUSY:
            wait_s = float(response.headers.get("Retry-After", "1"))
            if time.monotonic() + wait_s > until:
                break
            time.sleep(wait_s)
            if len(calls) > 1 and response.json().get("code") in TOO_MUCH:
                return self._in_halves(calls)
        if len(calls) > 1 and response.status_code == 413 and response.json().get("code") == TOO_MANY:
            return self._in_halves(calls)
        return list(self._json(response)["results"])

    def _in_halves(self, calls: Sequence[Call]) -> list[Answer]:
        half = len(calls) // 2
        return self._classify(calls[:half]) + self._classify(calls[half:])

    def _send(
        self, method: str, path: str, body: dict[str, Any] | None = None, timeout_s: float | None = None
    ) -> "httpx.Response":
        import httpx

        try:
            return self._http.request(method, path, json=body, timeout=timeout_s or self.timeout_s)
        except httpx.TransportError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise ConfigurationError(
                    f"{self.url} shows a certificate that is not trusted here: {str(error).rpartition(': ')[2]}; name the file of its "
                    "authority in SSL_CERT_FILE, and ask by a name or an address that stands in it"
                ) from error
            raise EngineUnavailable(
                f"{self.url}{path} does not answer ({type(error).__name__}); is the service up? ./tingsu status"
            ) from error

    def _json(self, response: "httpx.Response") -> dict[str, Any]:
        """The body of a success; the error a problem stands for."""
        try:
            body = response.json()
        except ValueError as error:
            raise EngineUnavailable(
                f"{response.url} answered {response.status_code} and no JSON; is it a Tingsu service?"
            ) from error
        if response.status_code < 400 and isinstance(body, dict):
            return body
        detail = body.get("detail", "") if isinstance(body, dict) else ""
        said = f"{response.url} answered {response.status_code}: {detail}"
        if response.status_code in (401, 403):
            raise ConfigurationError(f"{said}. Put a key into {VARIABLE}")
        busy = response.status_code >= 500 or response.status_code in (409, 429)
        code = body.get("code", "") if isinstance(body, dict) else ""
        raise RAISED.get(code, EngineUnavailable if busy else ContractViolation)(said)


def _trusted(url: str) -> "ssl.SSLContext":
    """For TLS, what this machine trusts (or SSL_CERT_FILE names) besides the public authorities. Reading them takes 30 ms, so not for
    a plain address."""
    import ssl

    import httpx

    if not url.startswith("https:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    return context


def _batches(calls: Sequence[Call], size: int) -> Iterator[Sequence[Call]]:
    for start in range(0, len(calls), size):
        yield calls[start : start + size]
