"""A headless Chromium, spoken to in its own protocol: what a page looks like at a width, and what it asks for."""

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

NAMES = ("chromium", "chromium-browser", "google-chrome")
LIMIT_S = 60


def program() -> str | None:
    """The Chromium of this machine."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """One tab. `asked`: every address that was requested since it was opened."""

    def __init__(self, socket: "ClientConnection") -> None:
        self._socket, self._last = socket, 0
        self.asked: list[str] = []
        for domain in ("Page", "Network", "Runtime"):
            self._do(f"{domain}.enable")

    def open(self, url: str, width: int, height: int = 900) -> None:
        """Show a page in a window of this width, to the end of its loading."""
        phone = width < 500
        size = {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
        self._do("Emulation.setDeviceMetricsOverride", **size)
        self.asked.clear()
        self._do("Page.navigate", url=url)
        self._until("Page.loadEventFired")

    def ask(self, expression: str) -> Any:
        """What a JavaScript expression is."""
        found = self._do("Runtime.evaluate", expression=expression, returnByValue=True)["result"]
        assert found.get("subtype") != "error", found
        return found.get("value")

    def picture(self, path: Path) -> None:
        """The whole page as PNG."""
        found = self._do("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def _do(self, method: str, **parameters: object) -> dict[str, Any]:
        self._last += 1
        self._socket.send(json.dumps({"id": self._last, "method": method, "params": parameters}))
        while (message := self._next()).get("id") != self._last:
            pass
        assert "error" not in message, message
        result: dict[str, Any] = message["result"]
        return result

    def _until(self, event: str) -> None:
        while self._next().get("method") != event:
            pass

    def _next(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._socket.recv(timeout=LIMIT_S))
        if message.get("method") == "Network.requestWillBeSent":
            self.asked.append(message["params"]["request"]["url"])
        return message


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A tab of a Chromium of its own, whose profile lies in `folder`."""
    from websockets.sync.client import connect

    name = program()
    assert name is not None
    words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
    argv = [name, *words, "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{_port(folder, process)}/json/list", timeout=LIMIT_S
            ) as answer:
                tab = next(each for each in json.loads(answer.read()) if each["type"] == "page")
            with connect(tab["webSocketDebuggerUrl"], max_size=None) as socket:
                yield Page(socket)
        finally:
            process.terminate()


def _port(folder: Path, process: subprocess.Popen[bytes]) -> str:
    """Where it listens; it writes that down when it does."""
    file, end = folder / "DevToolsActivePort", time.monotonic() + LIMIT_S
    while not (file.is_file() and file.read_text().strip()):
        assert process.poll() is None and time.monotonic() < end, "Chromium does not start"
        time.sleep(0.05)
    return file.read_text().split()[0]
