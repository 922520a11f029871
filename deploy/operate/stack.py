"""Prefect server and worker, MLflow, the champion's service and the control plane on this machine, brought up and down together.

`up` starts what does not run and leaves the rest alone, so it also repairs a stack of which half has died.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from configs.settings import Settings
from data_contracts.errors import TingsuError
from data_contracts.schema import Frozen
from deploy import targets
from deploy.operate import lock, orchestrator, prefect_database, processes
from deploy.operate.orchestrator import SERVER, WORKER
from deploy.operate.processes import Command
from deploy.service import code
from deploy.targets.local import SERVICE, Local

TRACKING = "mlflow"
CONSOLE = "console"
ORDER = (SERVER, WORKER, TRACKING, SERVICE, CONSOLE)
START_S = 180.0
STOP_S = 15.0
State = Literal["running", "not ready", "died", "stopped"]


class Part(Frozen):
    """One process of the stack and how it is."""

    name: str
    state: State
    url: str = ""
    pid: int | None = None
    memory_mb: float = 0.0
    log: str = ""


def up(home: Path, settings: Settings, only_service: bool = False) -> tuple[Part, ...]:
    """Start what is missing, wait until all of it answers, register the deployments. `only_service`: as `revive`, and no more.

    Raises:
        ResourceInsufficient: a port is held by somebody else; names the holder and the setting.
        EngineUnavailable: a part does not start; the others keep running, and a second `up` starts what is missing.
    """
    if only_service:
        revive(home, settings)
        return status(home)
    for folder in ("prefect", "mlflow/artifacts"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    with lock.held(home / "run/.stack.lock"), ThreadPoolExecutor(5) as pool:
        parts: list[Callable[[], object]] = [
            lambda: _orchestrator(home, settings),
            lambda: _ensure(home, _tracking(home, settings)),
            lambda: revive(home, settings),
            lambda: _ensure(home, _console(settings)),
        ]
        waiting = [pool.submit(part) for part in parts]
        troubles = [error for future in waiting if (error := future.exception()) is not None]
    for error in troubles:
        if not isinstance(error, TingsuError):
            raise error
    if troubles:
        raise type(troubles[0])("; ".join(str(error) for error in troubles))
    return status(home)


def revive(home: Path, settings: Settings) -> None:
    """Have the version that the last finished rollout left live be served here, and no other: a version that waits for a person waits
    on. A rollout under way looks after the service itself.

    Raises:
        TingsuError: it does not start.
    """
    target = Local(home, settings)
    try:
        with lock.held(targets.lock_file(home, target.name), wait=False):
            live = targets.read(home, target.name).live
            if live is not None:
                target.switch(live)
    except BlockingIOError:
        return


def down(home: Path) -> tuple[str, ...]:
    """Stop every process started under this home, the worker before its server; the names of those that ran."""
    with lock.held(home / "run/.stack.lock"):
        stopped = [WORKER] if processes.stop(home, WORKER, STOP_S) else []
        names = [process.name for process in processes.recorded(home)]
        with ThreadPoolExecutor(4) as pool:
            ran = pool.map(lambda name: processes.stop(home, name, STOP_S), names)
            return (*stopped, *(name for name, did in zip(names, ran, strict=True) if did))


def status(home: Path) -> tuple[Part, ...]:
    """Every part of the stack, and whatever else runs under this home."""
    known = {process.name: process for process in processes.recorded(home)}
    names = [*ORDER, *(name for name in known if name not in ORDER)]
    return tuple(_part(known[name]) if name in known else Part(name=name, state="stopped") for name in names)


def _part(process: processes.Process) -> Part:
    state: State = "running" if not process.url or processes.answers(process.url) else "not ready"
    if not processes.alive(process):
        return Part(name=process.name, state="died", url=process.url, log=process.log)
    memory = processes.memory_mb(process)
    return Part(name=process.name, state=state, url=process.url, pid=process.pid, memory_mb=memory, log=process.log)


def _ensure(home: Path, command: Command) -> bool:
    """Whether it had to be started; it answers on return. One that hangs, or has other settings, is replaced."""
    if processes.serves(home, command) is not None:
        return False
    processes.stop(home, command.name, STOP_S)
    process = processes.start(home, command)
    if command.url:
        processes.wait(process, START_S)
    return True


def _orchestrator(home: Path, settings: Settings) -> None:
    """Server, then worker and deployments; the runs of a worker that was killed are taken up by the new one."""
    prefect_database.ensure(home, settings)
    _ensure(home, orchestrator.server(home, settings))
    if processes.find(home, WORKER) is None:
        processes.stop(home, WORKER)  # runs that outlived their worker end before they are started again
        orchestrator.rescue(settings)
    began = time.time()
    if _ensure(home, orchestrator.worker(home, settings)):
        orchestrator.wait_for_worker(home, settings, began)
    orchestrator.register(home, settings)


def _console(settings: Settings) -> Command:
    """The control plane; the layer above holds the module."""
    port = settings.ports.console
    words = (f"--profile={settings.profile}", *(f"--set={name}={value}" for name, value in _ports(settings)))
    return Command(
        name=CONSOLE,
        argv=processes.python("flows.console", *words),
        port=port,
        url=f"http://127.0.0.1:{port}/health",
        setting="ports.console",
        env={"TINGSU_CODE": code()},
    )


def _ports(settings: Settings) -> list[tuple[str, int]]:
    return [(f"ports.{name}", port) for name, port in settings.ports]


def _tracking(home: Path, settings: Settings) -> Command:
    port = settings.ports.mlflow
    hosts = ",".join(f"{host}:{port}" for host in ("127.0.0.1", "localhost"))
    options = {
        "--backend-store-uri": f"sqlite:///{home / 'mlflow/mlflow.db'}",
        "--artifacts-destination": str(home / "mlflow/artifacts"),
        "--host": "127.0.0.1",
        "--port": str(port),
        "--workers": "1",
        "--allowed-hosts": hosts,
    }
    argv = processes.python("mlflow", "server", *(word for pair in options.items() for word in pair))
    env = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return Command(
        name=TRACKING, argv=argv, port=port, url=f"http://127.0.0.1:{port}/health", setting="ports.mlflow", env=env
    )
