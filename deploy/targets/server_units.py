"""The instances of a server: each has a unit file of its own, which is its release's, and a file that says what it runs.

systemd prefers such a file to a template `tingsu@.service`: were there one for all, a release that is only staged would change the limits
of what is live. Two sides, blue and green. Ports alternate between them, so that another number of instances moves none.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, get_args

from configs.settings import Settings
from data_contracts.errors import EngineUnavailable
from data_contracts.schema import Frozen
from deploy import service
from deploy.client import Client
from deploy.keys import is_loopback
from deploy.targets.last_words import told
from deploy.targets.server_host import Host, shell

Side = Literal["blue", "green"]
SIDES: tuple[Side, Side] = get_args(Side)
UNITS = "/etc/systemd/system"
JOURNAL = "/etc/systemd/journald@tingsu.conf"
TEMPLATES = service.ROOT / "deploy/systemd"
STOP_SPARE_S = 5.0
READY_S = 2.0
"""How long traffic waits for an instance that may hang to say that it is ready."""
LOOKS_S = 0.2
LOG_LINES = 200


class Instance(Frozen):
    """One process of the service. `release`: the folder of what it runs."""

    side: Side
    number: int
    port: int
    release: str

    @property
    def name(self) -> str:
        return f"{self.side}-{self.number}"

    @property
    def unit(self) -> str:
        return f"tingsu@{self.name}.service"

    @property
    def text(self) -> str:
        return f"PORT={self.port}\nRELEASE={self.release}\n"


def instance(settings: Settings, side: Side, number: int, release: str) -> Instance:
    """Number 1 is the first."""
    port = settings.rollout.server.ports_from + 2 * (number - 1) + SIDES.index(side)
    return Instance(side=side, number=number, port=port, release=release)


def unit(settings: Settings) -> str:
    """The text of the unit of an instance, whichever it is."""
    own, serve = settings.rollout.server, settings.serve
    limits = [f"MemoryMax={own.memory_mb}M"] * bool(own.memory_mb) + [f"CPUQuota={own.cpus or 0:.0%}"] * bool(own.cpus)
    is_alone = serve.engine == "transformers" or serve.engine == "llamacpp"
    network = ["# What callers said cannot leave the machine.", "IPAddressDeny=any", "IPAddressAllow=localhost"]
    values = {
        "@ROOT@": own.root,
        "@USER@": own.user,
        "@STOP_S@": f"{serve.deadline_s + STOP_SPARE_S:.0f}",
        "@LIMITS@\n": "".join(f"{line}\n" for line in limits),
        "@NETWORK@\n": "".join(f"{line}\n" for line in network * is_alone),
    }
    return filled("tingsu@.service", values)


def journal(settings: Settings) -> str:
    """The text of the limits on the instances' logs."""
    log = settings.log
    most = max(2 * settings.rollout.server.instances * log.max_mb * (log.kept + 1), 16)
    return filled("journald@tingsu.conf", {"@MOST_MB@": f"{most:.0f}", "@FILE_MB@": f"{max(log.max_mb, 4):.0f}"})


def filled(name: str, values: dict[str, str]) -> str:
    """A template of deploy/systemd with its marks replaced."""
    text = (TEMPLATES / name).read_text(encoding="utf-8")
    for mark, value in values.items():
        text = text.replace(mark, value)
    return text


def file(settings: Settings, one: Instance) -> str:
    """Where it is written what an instance runs."""
    return f"{settings.rollout.server.root}/instances/{one.name}.env"


def unit_file(one: Instance) -> str:
    """Where systemd finds its unit."""
    return f"{UNITS}/{one.unit}"


def found(host: Host, settings: Settings) -> list[Instance]:
    """Every instance there is, running or not. Raises as Host.run."""
    folder = f"{settings.rollout.server.root}/instances"
    script = 'cd "$1" 2>/dev/null || exit 0; for f in *.env; do [ ! -f "$f" ] || { . "./$f"; echo "$f $PORT $RELEASE"; }; done'
    return sorted((_read(*line.split()) for line in shell(host, script, folder).splitlines()), key=lambda one: one.name)


def _read(name: str, port: str, release: str) -> Instance:
    side, _, number = name.removesuffix(".env").partition("-")
    return Instance.model_validate({"side": side, "number": int(number), "port": int(port), "release": release})


def start(host: Host, settings: Settings, wanted: Sequence[Instance]) -> None:
    """Have these run what they name, now and after a restart of the machine; one that does is left alone. Raises as Host.run."""
    for one in wanted:
        words = (one.unit, unit_file(one), one.release, str(one.port), file(settings, one))
        host.run(["sh", "-euc", _START, "sh", *words], one.text.encode(), limit_s=settings.serve.deadline_s + 60)


# What the process itself was started with counts, not whether a file changed: whoever wrote it may have been killed before the restart.
_START = """
umask 022
unit=$1 file=$2 release=$3 port=$4 environment=$5
cmp -s -- "$release/unit" "$file" || {
    install -m 644 -- "$release/unit" "$file.new"
    mv -T -- "$file.new" "$file"
    systemctl daemon-reload
}
cat >"$environment.new"
mv -T -- "$environment.new" "$environment"
[ "$(systemctl show "$unit" -p NeedDaemonReload --value)" = no ] || systemctl daemon-reload
systemctl reset-failed "$unit" 2>/dev/null || :
systemctl enable -q "$unit"
pid=$(systemctl show "$unit" -p MainPID --value) verb=restart
has() { tr '\\0' '\\n' <"/proc/$pid/environ" | grep -qxF -- "$1"; }
if [ "$pid" != 0 ] && has "RELEASE=$release" && has "PORT=$port"; then verb=start; fi
systemctl "$verb" "$unit"
"""


def stop(host: Host, settings: Settings, unwanted: Sequence[Instance]) -> None:
    """End these for good, once they have answered what they have begun; all at a time. Raises as Host.run."""
    if unwanted:
        units = [one.unit for one in unwanted]
        limit_s = settings.serve.deadline_s + 60
        host.run(["systemctl", "disable", "--now", "-q", *units], limit_s=limit_s)
        files = [path for one in unwanted for path in (file(settings, one), unit_file(one))]
        shell(host, 'rm -f -- "$@"; systemctl daemon-reload', *files)


def wait(host: Host, settings: Settings, started: Sequence[Instance]) -> None:
    """Return once all are ready.

    Raises:
        EngineUnavailable: one ended, was restarted or took too long; its log's last lines say why.
    """
    until = time.monotonic() + settings.serve.start_timeout_s
    for one in started:
        while not is_ready(host, one):
            if has_crashed(host, one) or time.monotonic() > until:
                raise EngineUnavailable(
                    f"{one.unit} on {host.name} did not become ready: {last_words(host, settings, one)}"
                )
            time.sleep(LOOKS_S)


def ready(host: Host, asked: Sequence[Instance]) -> list[Instance]:
    """Those that answer classifications now; all are asked at once, as one that hangs holds up an undo."""
    with ThreadPoolExecutor(max(len(asked), 1)) as asking:
        said = list(asking.map(lambda one: is_ready(host, one, READY_S), asked))
    return [one for one, is_up in zip(asked, said, strict=True) if is_up]


def is_ready(host: Host, one: Instance, limit_s: float = 5.0) -> bool:
    """Whether it answers classifications now."""
    with Client(host.reach(one.port), timeout_s=limit_s, patience_s=0) as client:
        return client.ready()


def has_crashed(host: Host, one: Instance) -> bool:
    """Whether it ended, or was started again, since it was last told to start. Raises as Host.run."""
    shown = host.run(["systemctl", "show", one.unit, "-p", "NRestarts", "-p", "ActiveState"])
    state = dict(line.split("=", 1) for line in shown.splitlines())
    return state["NRestarts"] != "0" or state["ActiveState"] in ("failed", "inactive", "deactivating")


def last_words(host: Host, settings: Settings, one: Instance) -> str:
    """The end of its log since it was last told to start, as far as messages may have it. Raises as Host.run."""
    script = 'journalctl --namespace=tingsu -q -o cat --since "@$(stat -c %Y -- "$3")" -n "$2" -u "$1" 2>/dev/null || :'
    lines = shell(host, script, one.unit, str(LOG_LINES), file(settings, one)).splitlines()
    return " | ".join(told(lines)) or f"see journalctl --namespace=tingsu -u {one.unit}"


def is_public(settings: Settings) -> bool:
    """Whether others than the server itself reach the address that nginx answers on."""
    return not is_loopback(settings.serve.host)
