"""Speaks JSON with an engine's server. Where the network fails it asks again, at most five times, waiting longer each time."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from data_contracts.errors import ConfigurationError, EngineUnavailable

TRIES = 5
FIRST_WAIT_S = 0.2
"""Doubled with every try: 3 s in all."""
BUSY = (429, 502, 503, 504)
ANSWER_S = 600.0
"""Longer for one prompt means that it hangs."""
PING_S = 2.0


class Http:
    """One server. What is asked of it has no effect that a second asking would double: prompts are scored, models listed."""

    def __init__(
        self,
        name: str,
        url: str,
        key: str = "",
        *,
        lives: Callable[[], bool] = lambda: True,
        said: Callable[[], str] = lambda: "is it up?",
    ) -> None:
        """`lives`: False makes every further try pointless; `said`: what is known of a server that does not answer."""
        import httpx

        self.name, self.url = name, url
        self._lives, self._said = lives, said
        limit = httpx.Timeout(ANSWER_S, connect=10)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        if not url.startswith(("http://", "https://")):
            raise ConfigurationError(f"{url!r} is no URL of {name}; write it as http://127.0.0.1:11434")
        # No proxy from the environment: prompts go to the address given and nowhere else.
        self._http = httpx.Client(base_url=url, headers=headers, timeout=limit, trust_env=False)

    def ask(self, path: str, body: Mapping[str, object] | None = None) -> Any:
        """What it answers to a GET, or to a POST of `body`. For any thread.

        Raises:
            EngineUnavailable: it is gone, or refuses; says why.
            ConfigurationError: it asks for another key.
        """
        status, answer = self.reply(path, body)
        if status in (401, 403):
            raise ConfigurationError(f"{self.name} at {self.url} refuses the key it was shown ({status})")
        if status not in (200, 201):
            raise EngineUnavailable(f"{self.name} answered {status}: {reason(answer)}")
        return answer

    def reply(self, path: str, body: Mapping[str, object] | None = None, method: str | None = None) -> tuple[int, Any]:
        """Its status and what it answers, whatever they are.

        Raises:
            EngineUnavailable: it does not answer, or not in JSON.
        """
        method = method or ("GET" if body is None else "POST")
        response = self._send(method, path, lambda: {} if body is None else {"json": body})
        try:
            return response.status_code, response.json() if response.content else None
        except ValueError as error:
            raise EngineUnavailable(f"{self.name} answered {path} with no JSON: {self._said()}") from error

    def text(self, path: str) -> str:
        """The body of a GET as it is.

        Raises:
            EngineUnavailable: it does not answer, or not with 200.
        """
        response = self._send("GET", path, dict)
        if response.status_code != 200:
            raise EngineUnavailable(f"{self.name} answered {path} with {response.status_code}")
        return str(response.text)

    def has(self, path: str) -> bool:
        """Whether a HEAD finds it."""
        return bool(self._send("HEAD", path, dict).status_code == 200)

    def upload(self, path: str, file: Path) -> None:
        """POST a file's bytes.

        Raises:
            EngineUnavailable: they were not taken.
        """
        response = self._send("POST", path, lambda: {"content": _chunks(file)})
        if response.status_code not in (200, 201):
            raise EngineUnavailable(
                f"{self.name} did not take {file.name} ({response.status_code}): {response.text[:300]}"
            )

    def is_up(self, path: str) -> bool:
        """Whether it answers a GET with 200 at once."""
        import httpx

        try:
            return bool(self._http.get(path, timeout=PING_S).status_code == 200)
        except httpx.TransportError:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _send(self, method: str, path: str, what: Callable[[], Mapping[str, Any]]) -> Any:
        """`what` gives the content anew for every try."""
        import httpx

        if self._http.is_closed:
            raise EngineUnavailable(f"{self.name} was stopped")
        wait_s = FIRST_WAIT_S
        for left in reversed(range(TRIES)):
            try:
                response = self._http.request(method, path, **what())
                if response.status_code not in BUSY or not left:
                    return response
            except httpx.TransportError as error:
                if isinstance(error, httpx.ReadTimeout) or not left or not self._lives():
                    raise EngineUnavailable(
                        f"{self.name} does not answer ({type(error).__name__}): {self._said()}"
                    ) from error
            except RuntimeError as error:
                if not self._http.is_closed:
                    raise
                raise EngineUnavailable(f"{self.name} was closed in the middle of a request") from error
            time.sleep(wait_s)
            wait_s *= 2
        raise AssertionError("the last try returns or raises")


def reason(answer: Any) -> str:
    """Why a server refused, in its words."""
    found = answer.get("error", answer) if isinstance(answer, dict) else answer
    if isinstance(found, dict) or isinstance(answer, dict):
        inner = found if isinstance(found, dict) else answer
        found = inner.get("message", found)
    return str(found)[:300]


def _chunks(file: Path) -> Any:
    with file.open("rb") as data:
        while block := data.read(1 << 20):
            yield block
