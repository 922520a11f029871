"""A release on a server: one folder with all that its instances run by, so that no other release changes them. Links say which is which.

ROOT/releases/VERSION-BUNDLE-FINGERPRINT/  code/  bundle/  bundle.attest/  serve  unit  home/
ROOT/current, ROOT/previous, ROOT/staged → releases/…

`home` is the TINGSU_HOME of its instances: the settings and the gate's key are the release's own; API keys and operators, which may be
revoked, and what was compiled are links to what all releases share.
"""

import hashlib
import shlex
from pathlib import Path

from configs.settings import Settings
from configs.sources import OWN
from data_contracts.errors import ResourceInsufficient
from data_contracts.schema import Frozen
from deploy import bundle, sealed, service
from deploy.targets import Placed
from deploy.targets.server_host import Host, send, shell, write

HOME = "/var/lib/tingsu"
"""What the releases share: API keys, operators, what they compile. systemd makes it (StateDirectory)."""
SHARED = ("keys/service.json", "keys/machine.key", "keys/operators", "compiled")
"""Of a release's home: links into HOME, so that a key revoked there is revoked for all."""
OWN_FILES = (OWN, "keys/gate.pub")
LINKS = ("current", "previous", "staged")
ENVIRONMENT = {
    "PYTHONUNBUFFERED": "1",
    "DO_NOT_TRACK": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "GOMP_SPINCOUNT": "20000",
}
SPARE_MB = 200


class Planned(Frozen):
    """A release as it is to be: its name tells it from every other that would serve differently. `files`: its own, besides code and
    bundle, by their path in it."""

    name: str
    folder: str
    python: str
    files: dict[str, str]


def plan(placed: Placed, settings: Settings, python: str, unit: str, home: Path) -> Planned:
    """The release of a version under these settings. `unit`: the text of its systemd unit; `home`: of the controller."""
    own = {name: (home / name).read_text(encoding="utf-8") for name in OWN_FILES if (home / name).is_file()}
    files = {"serve": _script(placed, settings, python), "unit": unit, **{f"home/{name}": own[name] for name in own}}
    parts = [
        placed.bundle_digest,
        placed.verdict_signature,
        service.code(),
        *(part for one in files.items() for part in one),
    ]
    fingerprint = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    name = f"{stem(placed)}{fingerprint[:8]}"
    folder = f"{settings.rollout.server.root}/releases/{name}"
    return Planned(name=name, folder=folder, python=python, files=files)


def stem(placed: Placed) -> str:
    """What the names of all releases of this version begin with."""
    return f"{placed.version}-{placed.bundle_digest[:12]}-"


def is_of(release: str, placed: Placed) -> bool:
    """Whether a release's folder is of this version, by whatever code and settings."""
    return release.rpartition("/")[2].startswith(stem(placed))


def lay(host: Host, planned: Planned, placed: Placed, user: str) -> None:
    """Put the release there, whole or not at all; one that is there is left alone. The service can read it and nothing else.

    Raises:
        ResourceInsufficient: the disk has no room for it.
        RolloutFailed, EngineUnavailable: see Host.run.
    """
    if shell(host, 'if [ -d "$1" ]; then echo there; fi', planned.folder):
        return
    content, half = Path(placed.folder), f"{planned.folder}.half"
    _require_room(host, planned, content)
    shell(host, 'rm -rf -- "$1"; mkdir -p -- "$1"', half)
    for layer in service.LAYERS:
        send(host, service.ROOT / layer, f"{half}/code/{layer}", *service.LEFT_OUT)
    send(host, content, f"{half}/bundle")
    for name in (bundle.VERDICT, bundle.EMERGENCY):
        verdict = sealed.beside(content) / name
        if verdict.is_file():
            write(host, f"{half}/bundle.attest/{name}", verdict.read_text(encoding="utf-8"))
    for name, text in planned.files.items():
        write(host, f"{half}/{name}", text)
    shell(host, _FINISH, half, planned.folder, planned.python, user, HOME, *SHARED, limit_s=600)


_FINISH = """
half=$1 folder=$2 python=$3 user=$4 shared=$5
shift 5
mkdir -p -- "$half/home/keys"
for name in "$@"; do ln -s -- "$shared/$name" "$half/home/$name"; done
"$python" -m compileall -q "$half/code"
chgrp -hR "$user" "$half"
chmod -R u=rwX,g=rX,o= "$half"
mv -T -- "$half" "$folder"
"""


def prune(host: Host, root: str, kept: int) -> None:
    """Remove what is older than the last `kept`, and halves of releases; never what a link or an instance names; and environments
    that no release is left to run in. Raises as Host.run."""
    script = """
cd -- "$1/releases"
used=$(for link in "$1/current" "$1/previous" "$1/staged"; do readlink -- "$link" || :; done
       sed -n 's/^RELEASE=//p' "$1"/instances/*.env 2>/dev/null || :)
ls -1t | { n=0; while read -r name; do
    case $name in *.half) rm -rf -- "$name"; continue ;; esac
    n=$((n + 1))
    [ "$n" -gt "$2" ] || continue
    printf '%s\\n' "$used" | grep -qx ".*/$name" || rm -rf -- "$name"
done; }
for made in "$1"/environments/*/; do
    [ ! -d "$made" ] || grep -qsF -- "$made" "$1"/releases/*/serve || rm -rf -- "$made"
done"""
    shell(host, script, root, str(kept), limit_s=600)


def _script(placed: Placed, settings: Settings, python: str) -> str:
    serve = settings.serve.model_copy(update={"host": "127.0.0.1", "model_path": None})
    module = ["-P", "-m", "deploy.service"]
    exported = "\n".join(f"export {name}={value}" for name, value in ENVIRONMENT.items())
    given = ['--bundle="$RELEASE/bundle"', '--home="$RELEASE/home"', '--port="$PORT"']
    fixed = [f"--version={placed.version}", *service.options(serve)]
    words = [shlex.join([python, *module]), *given, *map(shlex.quote, fixed)]
    return (
        "#!/bin/sh\n# What every instance of this release runs; its own file in instances/ names RELEASE and PORT.\nset -eu\n"
        f'export PYTHONPATH="$RELEASE/code" TINGSU_HOME="$RELEASE/home"\n{exported}\nexec '
        + " \\\n    ".join(words)
        + "\n"
    )


def _require_room(host: Host, planned: Planned, content: Path) -> None:
    needed = SPARE_MB + sum(file.stat().st_size for file in content.rglob("*") if file.is_file()) / 2**20
    script = 'at=$1; while [ ! -d "$at" ]; do at=$(dirname -- "$at"); done; df -Pk -- "$at" | tail -n 1'
    free = int(shell(host, script, planned.folder).split()[3]) / 1024
    if free < needed:
        raise ResourceInsufficient(
            f"{host.name} has {free:.0f} MB free for {planned.folder}, {needed:.0f} are needed; free some, or set "
            "rollout.server.kept lower"
        )
