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
GIVEN_UP = {"PENDING": "CRASHED", "RUNNING": "CRASHED", "CANCELLING": "CANCELLED"}
"""State of a run whose worker is gone → the state it is given."""
LOST = "WorkerLost"
RESUMES = 3
"""A run that took this many workers with it is not started again."""
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


def rescue(settings: Settings) -> tuple[str, ...]:
    """Mark the runs that a dead worker left as Crashed, which frees their concurrency slot, and schedule them again.

    Only where no worker runs: the pool has one, so whatever is not over has nobody. Returns the names of the runs.
    """
    unfinished = {"operator": "or_", "type": {"any_": list(GIVEN_UP)}, "name": {"any_": [LOST]}}
    wanted = {"flow_runs": {"state": unfinished}, "work_pools": {"name": {"any_": [POOL]}}}
    found = _post(f"{api(settings)}/flow_runs/filter", wanted)
    runs = found if isinstance(found, list) else []
    for run in runs:
        place, stopped = f"{api(settings)}/flow_runs/{run['id']}/set_state", run["state_type"] == "CANCELLING"
        again = (run["run_count"] <= RESUMES or _asks(run["id"], settings)) and not stopped
        message = "its worker was killed" + ("; it goes on from its last finished stage" if again else "")
        if run["state_type"] in GIVEN_UP:
            name = {"name": LOST} if again else {}
            _post(place, {"state": {"type": GIVEN_UP[run["state_type"]], "message": message, **name}})
        if again:  # the name keeps the intention, should this be killed in between
            _post(place, {"state": {"type": "SCHEDULED", "message": message}})
    return tuple(run["name"] for run in runs)


def _asks(run: str, settings: Settings) -> bool:
    """Whether it was waiting for a person, in a run below it: that took no worker with it, however many it outlived."""
    below = {"parent_flow_run_id": {"any_": [run]}, "state": {"type": {"any_": ["PAUSED", "RUNNING"]}}}
    return bool(_post(f"{api(settings)}/flow_runs/count", {"flow_runs": below}))


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
        # on disk: with the default, in memory, a server that restarts forgets the slots held, and running flows are ended
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
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
    """The JSON answer, or None when there is no answer, or a refusal."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as response:
            return json.loads(response.read())
    except (urllib.error.URLError, OSError, ValueError):
        return None
