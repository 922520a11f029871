"""Prefect on this machine as managed processes: its server, one process worker, and the deployments of prefect.yaml."""

import hashlib
import json
import subprocess
import time
import urllib.error
import urllib.request
from datetime import datetime
from pathlib import Path

from configs.settings import Settings
from data_contracts.errors import EngineUnavailable
from deploy.operate import processes
from deploy.operate.processes import ROOT, Command
from deploy.store import write_atomically

POOL = "tingsu"
SERVER, WORKER = "prefect", "prefect-worker"
WORKER_S = 120.0
DEPLOY_S = 180.0


def server(home: Path, settings: Settings) -> Command:
    port = settings.ports.prefect
    return Command(
        name=SERVER,
        argv=processes.python(
            "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--analytics-off"
        ),
        port=port,
        url=f"{api(settings)}/health",
        setting="ports.prefect",
        env=environment(home, settings),
    )


def worker(home: Path, settings: Settings) -> Command:
    return Command(
        name=WORKER,
        argv=processes.python(
            "prefect", "--no-prompt", "worker", "start", "--pool", POOL, "--type", "process", "--name", POOL
        ),
        env=environment(home, settings),
    )


def wait_for_worker(home: Path, settings: Settings, since: float) -> None:
    """Until the worker started by us has reported to the server."""
    while time.time() - since < WORKER_S:
        process = processes.find(home, WORKER)
        if process is None:
            raise EngineUnavailable(f"the Prefect worker ended at once; see {home / f'logs/{WORKER}.log'}")
        found = _post(f"{api(settings)}/work_pools/{POOL}/workers/filter", {})
        if isinstance(found, list) and any(_time(worker["last_heartbeat_time"]) >= since for worker in found):
            return
        time.sleep(0.3)
    raise EngineUnavailable(
        f"the Prefect worker does not report to {api(settings)} in {WORKER_S:.0f} s; see {home / f'logs/{WORKER}.log'}"
    )


def register(home: Path, settings: Settings) -> None:
    """Register the deployments of prefect.yaml with the server, unless they are there already and unchanged.

    Raises:
        EngineUnavailable: Prefect refuses; says its last line.
    """
    mark, digest = home / "prefect/deployed", _declared()
    known = mark.read_text() if mark.is_file() else ""
    if not digest or (known == digest and _post(f"{api(settings)}/deployments/count", {})):
        return
    done = subprocess.run(
        processes.python("prefect", "--no-prompt", "deploy", "--all"),
        cwd=ROOT,
        env=processes.inherited(home, environment(home, settings)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEPLOY_S,
    )
    (home / "logs/prefect-deploy.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode:
        reason = ([line.strip() for line in done.stderr.splitlines() if line.strip()] or ["no message"])[-1]
        raise EngineUnavailable(f"prefect deploy --all failed: {reason[:300]}; see {home / 'logs/prefect-deploy.log'}")
    write_atomically(mark, digest.encode())


def api(settings: Settings) -> str:
    """Prefect's API on this machine."""
    return f"http://127.0.0.1:{settings.ports.prefect}/api"


def environment(home: Path, settings: Settings) -> dict[str, str]:
    return {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_API_URL": api(settings),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_CLI_COLORS": "false",
        "PREFECT_LOGGING_COLORS": "false",
    }


def _declared() -> str:
    """The digest of the deployments and of the flows whose parameters they take; empty where there are none."""
    file = ROOT / "prefect.yaml"
    sources = [file, *sorted((ROOT / "flows").glob("*.py"))] if file.is_file() else []
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest() if sources else ""


def _time(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()


def _post(url: str, body: dict[str, object]) -> object:
    """The JSON answer, or None when there is no answer of 200."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as response:
            return json.loads(response.read())
    except (urllib.error.URLError, OSError, ValueError):
        return None
