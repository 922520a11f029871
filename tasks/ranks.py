"""Training over several processes of one machine: starts them, watches them, and lets them add up what they computed.

A process knows its place from RANK, WORLD_SIZE and LOCAL_RANK, as torchrun sets them, and works under torchrun too. It is
not started by torchrun: torchrun's store listens on every interface and trusts whoever connects, and what it says of a
process that died is no sentence. Here the processes meet in a file and talk over loopback.
"""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts import errors
from data_contracts.errors import ResourceInsufficient, TingsuError
from deploy import cores

if TYPE_CHECKING:
    from torch import Tensor

ROOT = Path(__file__).parent.parent
PLAN, ANSWER, MEETING, REFUSED, CRASHED = "plan.json", "answer.json", "meeting", "refused.json", "crashed.txt"
TIED = "--tied"
"""Says that the process ends when its standard input does: its starter holds the other end, and may be killed."""


@dataclass(frozen=True)
class Group:
    """This process's place among the `size` that train one model; each holds all of it and a share of every batch."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this one writes files and shows progress."""
        return self.rank == 0

    def reseed(self, seed: int, step: int) -> None:
        """Dropout of its own for each process and step, the same after a restart; a process alone keeps its stream."""
        import torch

        if self.size > 1:
            torch.manual_seed((seed << 32) + step * self.size + self.rank)

    def add_up(self, parameters: Iterable[Any], *numbers: "Tensor") -> list["Tensor"]:
        """Replace the gradients by their sums over the group; the sums of the numbers, each shape (), in order.

        A gradient that is missing counts as zeros: the share of a batch may be empty. All in one exchange, in fp32.
        """
        import torch

        if self.size == 1:
            return list(numbers)
        learning = [p for p in parameters if p.requires_grad]
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in learning]
        flat = torch.cat([part.float().reshape(-1) for part in [*parts, *(n.detach() for n in numbers)]])
        torch.distributed.all_reduce(flat)
        sums = flat.split([p.numel() for p in learning] + [1] * len(numbers))
        for parameter, total in zip(learning, sums, strict=False):
            parameter.grad = total.view_as(parameter).to(parameter.dtype)
        return [total.reshape(()) for total in sums[len(learning) :]]

    def interleave(self, mine: Sequence[int]) -> list[int]:
        """Every process's values, when process r has those at r, r + size, r + 2 · size …"""
        import torch

        if self.size == 1:
            return list(mine)
        parts: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(parts, list(mine))
        whole = [0] * sum(map(len, parts))
        for rank, part in enumerate(parts):
            whole[rank :: self.size] = part
        return whole


ALONE = Group()


def run(module: str, plan: str, size: int, folder: Path) -> dict[str, float]:
    """Start `size` processes of a module of ours, each with the plan; what the first of them answered.

    Whatever ends this function ends them all.

    Raises:
        ResourceInsufficient: one was killed from outside, by the system when memory ran out or by hand.
        TingsuError: as one of them raised it.
    """
    for name in (ANSWER, MEETING, REFUSED, CRASHED):
        (folder / name).unlink(missing_ok=True)
    (folder / PLAN).write_text(plan, encoding="utf-8")
    started = [_start(module, folder, rank, size) for rank in range(size)]
    try:
        while (codes := [p.poll() for p in started]) != [0] * size:
            if any(codes):
                time.sleep(0.3)  # the one that died takes others with it; all that did are to be seen
                raise _fault([p.poll() for p in started], folder)
            time.sleep(0.05)
    finally:
        for process in started:
            process.kill()
            process.communicate()
    return dict(json.loads((folder / ANSWER).read_text(encoding="utf-8")))


def _start(module: str, folder: Path, rank: int, size: int) -> "subprocess.Popen[bytes]":
    own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "PYTHONPATH": str(ROOT)}
    env = {"OMP_NUM_THREADS": str(max(1, cores.usable() // size)), **os.environ, **own}
    return subprocess.Popen([sys.executable, "-P", "-m", module, str(folder), TIED], env=env, stdin=subprocess.PIPE)


def _fault(codes: Sequence[int | None], folder: Path) -> Exception:
    """Why the group failed: what one of them refused, else which was killed, else a bug."""
    if (folder / REFUSED).exists():
        refused = json.loads((folder / REFUSED).read_text(encoding="utf-8"))
        return errors.revived(refused["kind"], refused["message"])
    killed = [(rank, -code) for rank, code in enumerate(codes) if code is not None and code < 0]
    if killed:
        rank, number = killed[0]
        why = ", as happens when memory runs out" if number == signal.SIGKILL else ""
        return ResourceInsufficient(
            f"training process {rank + 1} of {len(codes)} was ended by {signal.Signals(number).name}{why}; the others "
            "were stopped. The same command goes on from the last checkpoint, also with another number of processes: "
            "--set train.processes=1 needs the least memory"
        )
    crashed = folder / CRASHED
    return RuntimeError(f"a training process failed:\n{crashed.read_text() if crashed.exists() else codes}")


def take_part(work: Callable[[str, Group], dict[str, float]], argv: Sequence[str]) -> int:
    """A training process from start to end: meet the others, do the work, leave the answer or the reason."""
    folder = Path(argv[0])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the starter, who ends this process
    if TIED in argv:
        threading.Thread(target=_end_with_starter, daemon=True).start()
    try:
        group = _meet(folder / MEETING)
        answer = work((folder / PLAN).read_text(encoding="utf-8"), group)
        if group.leads:
            (folder / ANSWER).write_text(json.dumps(answer), encoding="utf-8")
        return 0
    except TingsuError as error:
        refused = {"kind": type(error).__name__, "message": str(error)}
        (folder / REFUSED).write_text(json.dumps(refused), encoding="utf-8")
    except Exception:  # the starter says it
        (folder / CRASHED).write_text(traceback.format_exc(), encoding="utf-8")
    return 1


def _end_with_starter() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


def _meet(file: Path) -> Group:
    """Join the group. Only this file knows that there is one: transformers and accelerate would cut batches their own way."""
    rank, size, local = (int(os.environ.pop(name)) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = gpus.split(",")[local] if gpus else str(local)
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")
    for library in ("GLOO", "NCCL"):
        os.environ.setdefault(f"{library}_SOCKET_IFNAME", loopback)
    import torch

    backend = "nccl" if torch.cuda.is_available() else "gloo"
    torch.distributed.init_process_group(backend, init_method=f"file://{file}", rank=rank, world_size=size)
    atexit.register(torch.distributed.destroy_process_group)
    return Group(rank, size)
