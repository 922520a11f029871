"""What a server has besides releases: user, folders, log limits, keys, Python environment. Made again and again; and taken away."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from configs.settings import Settings
from data_contracts.errors import ConfigurationError, ResourceInsufficient
from deploy import keys, operators, service
from deploy.targets import server_front, server_lock, server_put, server_units, server_unwatched
from deploy.targets.server_host import Host, read, shell, write
from deploy.targets.server_release import HOME
from deploy.targets.server_units import JOURNAL, is_public

MARK = ".tingsu"
"""In the root folder: it is ours, and may be removed as a whole."""
GECOS = "Tingsu service"
NEEDED = {"nginx": "nginx", "systemctl": "systemd", "useradd": "passwd", "pgrep": "procps", "tar": "tar"}
INSTALL_S = 3600.0


class Part(NamedTuple):
    """A file that is there once, whatever the release."""

    path: str
    text: str
    mode: str = "0644"
    group: str = "root"


def parts(host: Host, home: Path, settings: Settings) -> list[Part]:
    """The files of an installation, in the order they are written.

    Raises:
        ConfigurationError: others than the server could ask it, and there is no API key; or see the two `require_own`.
        RolloutFailed, EngineUnavailable: see Host.run.
    """
    unwatched = [Part(path, text) for path, text in server_unwatched.files(settings).items()]
    return [Part(JOURNAL, server_units.journal(settings)), *unwatched, *_keys(host, home, settings)]


def install(host: Host, home: Path, settings: Settings) -> str:
    """Make whatever is missing; the Python interpreter that services run on.

    Raises:
        ConfigurationError: see `parts`; or the root folder holds something else.
        ResourceInsufficient: a program is missing there; names its package.
        RolloutFailed, EngineUnavailable: see Host.run.
    """
    own = settings.rollout.server
    parts(host, home, settings)
    require(host)
    _own_root(host, own.root)
    _make_user(host, own.user)
    shell(host, _FOLDERS, own.root, own.user, HOME)
    if write(host, JOURNAL, server_units.journal(settings)):
        shell(host, "systemctl try-restart systemd-journald@tingsu.service")
    written = [write(host, path, text) for path, text in server_unwatched.files(settings).items()]
    server_unwatched.enable(host, any(written))
    share_keys(host, home, settings)
    return environment(host, settings)


def share_keys(host: Host, home: Path, settings: Settings) -> None:
    """Have the server know the API keys and operators of this home as they are now; they count at once, for every release.

    Raises:
        ConfigurationError: see `parts`.
        RolloutFailed, EngineUnavailable: see Host.run.
    """
    copied = _keys(host, home, settings)
    for part in copied:
        write(host, *part)
    _forget_operators(host, [part.path for part in copied])
    if keys.file(home).is_file():
        _make_machine_key(host, settings.rollout.server.user)


def _keys(host: Host, home: Path, settings: Settings) -> list[Part]:
    _require_keys(home, settings)
    if not settings.rollout.replace_keys:
        _require_own(host, home)
    trusted = [operators.folder(home) / f"{name}.pub" for name in operators.trusted(home)]
    return [
        Part(f"{HOME}/{path.relative_to(home)}", path.read_text(encoding="utf-8"), "0640", settings.rollout.server.user)
        for path in (*trusted, keys.file(home))
        if path.is_file()
    ]


def _require_own(host: Host, home: Path) -> None:
    there = f"{HOME}/{keys.file(home).relative_to(home)}"
    if keys.file(home).is_file():
        keys.require_own(home, read(host, there), f"{there} on {host.name}")
    folder = f"{HOME}/{operators.folder(Path())}"
    known = (line.partition(" ")[::2] for line in shell(host, _OPERATORS, folder).splitlines())
    operators.require_own(home, dict(known), f"operators in {folder} on {host.name}")


_OPERATORS = 'cd "$1" 2>/dev/null || exit 0; for f in *.pub; do [ ! -s "$f" ] || echo "${f%.pub} $(cat "$f")"; done'
_FOLDERS = """
mkdir -p "$1/releases" "$1/instances" "$1/environments" "$3/keys/operators" "$3/compiled"
chown "$2:$2" "$3" "$3/compiled"
chgrp "$2" "$3/keys" "$3/keys/operators"
chmod 750 "$3" "$3/compiled" "$3/keys" "$3/keys/operators"
"""


def require(host: Host) -> None:
    """Raises: ResourceInsufficient: a program is missing there; names its package."""
    script = 'for name in "$@"; do command -v "$name" >/dev/null || echo "$name"; done'
    missing = [NEEDED[name] for name in shell(host, script, *NEEDED).split()]
    if missing:
        names = " ".join(missing)
        raise ResourceInsufficient(f"{host.name} lacks {names}; install there: apt-get install -y {names}")


def environment(host: Host, settings: Settings) -> str:
    """The interpreter of `rollout.server.python`, or of an environment made here, once for each set of pins.

    Raises:
        ConfigurationError: there is no such interpreter.
        RolloutFailed, EngineUnavailable: see Host.run.
    """
    own = settings.rollout.server
    if own.python:
        if not shell(host, 'if [ -x "$1" ]; then echo there; fi', own.python):
            raise ConfigurationError(
                f"{host.name} has no {own.python!r}; name an interpreter there as rollout.server.python, or leave it empty: "
                "an environment is made then"
            )
        return own.python
    folder = planned_environment(settings)
    if not shell(host, 'if [ -f "$1/made" ]; then echo there; fi', folder):
        shell(host, 'rm -rf -- "$1"; mkdir -p -- "$1"', folder)
        for name in ("pyproject.toml", "constraints.txt"):
            write(host, f"{folder}/{name}", (service.ROOT / name).read_text(encoding="utf-8"))
        shell(host, _MAKE, folder, limit_s=INSTALL_S)
    return python(settings)


def python(settings: Settings) -> str:
    """Where the interpreter is, or will be."""
    return settings.rollout.server.python or f"{planned_environment(settings)}/bin/python"


def planned_environment(settings: Settings) -> str:
    """The folder of the environment of today's pins."""
    pins = [(service.ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    digest = hashlib.sha256(b"".join(pins)).hexdigest()[:12]
    return f"{settings.rollout.server.root}/environments/{digest}"


_MAKE = """
cd -- "$1"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "python3 is older than 3.11" >&2; exit 1; }
python3 -m venv . || { echo "python3 cannot make environments; install there: apt-get install -y python3-venv" >&2; exit 1; }
bin/python -m pip -q --disable-pip-version-check install -c constraints.txt pip
bin/python -m pip -q install --no-input -c constraints.txt --group serve
: >made
"""


def key(host: Host) -> str | None:
    """The key by which this home's own commands ask the services there; None while they ask for none. Raises as Host.run."""
    return read(host, f"{HOME}/keys/{keys.machine_file(Path()).name}").strip() or None


def remove(host: Host, settings: Settings) -> None:
    """Take away all that was ever made there: traffic, instances, units, logs, releases, user; nginx, which stays, is switched off
    again if it was switched on for this.

    Raises:
        ConfigurationError: the root folder is not ours.
        RolloutFailed, EngineUnavailable: see Host.run.
    """
    own = settings.rollout.server
    server_front.close(host, settings)
    server_unwatched.remove(host)
    shell(host, _STOP_ALL, limit_s=settings.serve.deadline_s + 120)
    shell(host, 'rm -f -- "$1" "$1.new"; systemctl daemon-reload', JOURNAL)
    shell(host, _REMOVE_LOGS)
    shell(host, 'if [ -f "$1" ]; then systemctl disable -q --now nginx; fi', server_put.switched_on(settings))
    if shell(host, 'if [ -d "$1" ]; then echo there; fi', own.root):
        _own_root(host, own.root)
        host.run(["rm", "-rf", "--", own.root], limit_s=600)
    host.run(["rm", "-rf", "--", HOME], limit_s=600)
    script = 'if [ "$(getent passwd "$1" | cut -d: -f5)" = "$2" ]; then userdel "$1"; fi'
    shell(host, script, own.user, GECOS)
    shell(host, 'rm -f -- "$1"', server_lock.FILE)


_STOP_ALL = """
units=$(systemctl list-units --all --plain --no-legend 'tingsu@*' | cut -d' ' -f1)
enabled=$(find /etc/systemd/system -name 'tingsu@?*.service' -printf '%f\\n' | sort -u)
for unit in $units $enabled; do
    systemctl stop "$unit" 2>/dev/null || ! systemctl -q is-active "$unit"
    systemctl disable -q "$unit" 2>/dev/null || :
done
find /etc/systemd/system -name 'tingsu@*' -exec rm -f -- {} +
systemctl reset-failed 'tingsu@*' 2>/dev/null || :
systemctl stop system-tingsu.slice
"""
_REMOVE_LOGS = """
for kind in '' '-varlink'; do systemctl stop "systemd-journald$kind@tingsu.socket" 2>/dev/null || :; done
systemctl stop systemd-journald@tingsu.service 2>/dev/null || :
rm -rf -- /var/log/journal/*.tingsu /run/log/journal/*.tingsu
systemctl reset-failed 'systemd-journald*@tingsu*' 2>/dev/null || :
"""


def _own_root(host: Host, root: str) -> None:
    script = 'if [ -f "$1/$2" ] || [ -z "$(ls -A -- "$1" 2>/dev/null)" ]; then mkdir -p -- "$1"; : >"$1/$2"; else echo no; fi'
    if shell(host, script, root, MARK):
        raise ConfigurationError(
            f"{root} on {host.name} holds something that is not Tingsu's; set rollout.server.root to an empty or a new folder"
        )


def _make_user(host: Host, user: str) -> None:
    script = (
        'id -u "$1" >/dev/null 2>&1 || useradd --system --user-group --no-create-home --home-dir "$3" '
        '--shell /usr/sbin/nologin --comment "$2" "$1"'
    )
    shell(host, script, user, GECOS, HOME)


def _forget_operators(host: Host, kept: Sequence[str]) -> None:
    """Those whose key was revoked where the gate runs."""
    folder = f"{HOME}/{operators.folder(Path())}"
    there = shell(host, 'if [ -d "$1" ]; then find "$1" -name "*.pub"; fi', folder)
    revoked = [path for path in there.splitlines() if path not in kept]
    if revoked:
        host.run(["rm", "-f", "--", *revoked])


def _make_machine_key(host: Host, user: str) -> None:
    """As keys.machine makes it: it never leaves the machine but over the connection that made it."""
    script = (
        '[ -s "$1" ] || { umask 077; printf "tsk_%s" "$(head -c 32 /dev/urandom | base64 | tr -d "+/=\\n")" >"$1.new"; '
        'chgrp "$2" "$1.new"; chmod 640 "$1.new"; mv -T "$1.new" "$1"; }'
    )
    shell(host, script, f"{HOME}/keys/machine.key", user)


def _require_keys(home: Path, settings: Settings) -> None:
    kept = keys.read(home)
    if kept and kept.keys:
        return
    if is_public(settings):
        raise ConfigurationError(
            f"others than the server could ask it on {settings.serve.host!r}, and {home} has no API key; make one: "
            "./tingsu keys add NAME --scope classify, or leave serve.host out"
        )
    if settings.serve.mode == "production":
        raise ConfigurationError(
            f"serve.mode is production, and {home} has no API key; make one: ./tingsu keys add NAME --scope classify"
        )
