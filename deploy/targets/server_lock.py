"""Who rolls out to a server now: a lock on the server itself, which rollouts from other homes and other machines find too.

A process there has it whose input is a pipe of ours, so it ends, and the kernel frees the lock, when we die. A connection that died without
a word is told from one that is quiet by a byte every now and then. It is waited for a moment, for a controller that was just killed may
be run again; and whoever lost the connection waits until the server has noticed that too.
"""

import select
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from data_contracts.errors import Busy, EngineUnavailable
from deploy.targets.server_host import LIMIT_S, Host

FILE = "/run/tingsu.rollout.lock"
"""Its text is the holder. Gone after a restart of the machine, as the holder is."""
BEAT_S = 20.0
SILENT_S = 90
END_S = 10.0

_HOLD = """
umask 077 # nobody but root can lock it
exec 9>>"$1"
wait=5
[ -z "$4" ] || [ "$(cat -- "$1")" != "$4" ] || wait=$(($3 + 5)) # ours, at the other end of a connection that was cut
flock -w "$wait" 9 || { echo "busy $(cat -- "$1")"; exit; }
was=$(cat -- "$1")
if [ -n "$4" ] && [ -n "$was" ] && [ "$was" != "$4" ]; then echo "busy $was"; exit; fi
printf '%s, since %s' "$2" "$(date -u +%FT%TZ)" >"$1"
echo "held $(cat -- "$1")"
while [ -n "$(timeout "$3" head -c 1 9>&-)" ]; do :; done
"""


@contextmanager
def held(host: Host, by: str) -> Iterator[Callable[[], None]]:
    """The only holder while the block runs. What it is given takes the lock again if it was lost with the connection, and raises the
    same; also where somebody else had it meanwhile, who may have rolled out.

    Raises:
        Busy: somebody else has it; names who, and since when.
        EngineUnavailable: the machine does not answer.
    """
    holder = _Holder(host, by)
    holder.take()
    beating = threading.Thread(target=holder.beat, daemon=True)
    beating.start()
    try:
        yield holder.take
    finally:
        holder.give()
        beating.join()


@dataclass
class _Holder:
    host: Host
    by: str
    _process: "subprocess.Popen[bytes] | None" = None
    _text: str = ""
    _ended: threading.Event = field(default_factory=threading.Event)

    def take(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        process = self.host.begin(["sh", "-euc", _HOLD, "sh", FILE, self.by, str(SILENT_S), self._text])
        said = _first_line(process, LIMIT_S + (SILENT_S if self._text else 0))
        if said.startswith("held "):
            before, self._process, self._text = self._process, process, said.removeprefix("held ")
            if before is not None:
                _end(before)
            return
        why = _end(process)
        if said.startswith("busy "):
            raise Busy(
                f"a rollout to {self.host.name} is under way, by {said.removeprefix('busy ')}; nothing was touched. Run this "
                "again when it has ended"
            )
        raise EngineUnavailable(f"{self.host.name} cannot be kept from other rollouts: {why or 'it does not answer'}")

    def beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            process = self._process
            if process is not None and process.stdin is not None:
                with suppress(OSError, ValueError):  # lost, or given back: the next step finds that out
                    process.stdin.write(b".")
                    process.stdin.flush()

    def give(self) -> None:
        self._ended.set()
        if self._process is not None:
            _end(self._process)


def _first_line(process: "subprocess.Popen[bytes]", limit_s: float) -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], limit_s)
    return process.stdout.readline().decode(errors="replace").strip() if ready else ""


def _end(process: "subprocess.Popen[bytes]") -> str:
    """The last thing it said."""
    try:
        _, said = process.communicate(timeout=END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        _, said = process.communicate()
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""
