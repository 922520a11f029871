"""A release on a server: one folder with code, bundle and the command that serves it. Releases lie side by side; links say which is which.

ROOT/releases/VERSION-BUNDLE-FINGERPRINT/  code/  bundle/  bundle.attest/  serve
ROOT/current, ROOT/previous, ROOT/staged → releases/…
"""

import hashlib
import shlex
from pathlib import Path

from configs.settings import Settings
from data_contracts.errors import ResourceInsufficient
from data_contracts.schema import Frozen
from deploy import sealed, service
from deploy.targets import Placed
from deploy.targets.server_host import Host, send, shell, write

HOME = "/var/lib/tingsu"
"""The services' home: keys, settings.yaml, what they compile. systemd makes it (StateDirectory)."""
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
    """A release as it is to be: its name tells it from every other that would serve differently."""

    name: str
    script: str
    folder: str
    python: str


def plan(placed: Placed, settings: Settings, python: str, unit: str) -> Planned:
    """The release of a version under these settings. `unit`: the text of its systemd unit."""
    script = _script(placed, settings, python)
    parts = [placed.bundle_digest, placed.verdict_signature, service.code(), script, unit]
    fingerprint = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    name = f"{stem(placed)}{fingerprint[:8]}"
    folder = f"{settings.rollout.server.root}/releases/{name}"
    return Planned(name=name, script=script, folder=folder, python=python)


def stem(placed: Placed) -> str:
    """What the names of all releases of this version begin with."""
    return f"{placed.version}-{placed.bundle_digest[:12]}-"


def lay(host: Host, planned: Planned, placed: Placed, user: str) -> None:
    """Put the release there, whole or not at all; one that is there is left alone. The service can read it and nothing else.

    Raises:
        ResourceInsufficient: the disk has no room for it.
        RolloutFailed, EngineUnavailable: see Host.run.
    """
    if shell(host, 'if [ -d "$1" ]; then echo there; fi', planned.folder):
        return
    bundle, half = Path(placed.folder), f"{planned.folder}.half"
    _require_room(host, planned, bundle)
    shell(host, 'rm -rf -- "$1"; mkdir -p -- "$1"', half)
    for layer in service.LAYERS:
        send(host, service.ROOT / layer, f"{half}/code/{layer}", "__pycache__", "tiny-base", "helm", "docker")
    send(host, bundle, f"{half}/bundle")
    verdict = (sealed.beside(bundle) / sealed.VERDICT).read_text(encoding="utf-8")
    write(host, f"{half}/bundle.attest/{sealed.VERDICT}", verdict)
    write(host, f"{half}/serve", planned.script)
    script = '"$3" -m compileall -q "$1/code"; chgrp -R "$4" "$1"; chmod -R u=rwX,g=rX,o= "$1"; mv -T -- "$1" "$2"'
    shell(host, script, half, planned.folder, planned.python, user, limit_s=600)


def prune(host: Host, root: str, kept: int) -> None:
    """Remove what is older than the last `kept`, and halves of releases; never what a link or an instance names. Raises as Host.run."""
    script = """
cd -- "$1/releases"
used=$(for link in "$1/current" "$1/previous" "$1/staged"; do readlink -- "$link" || :; done
       sed -n 's/^RELEASE=//p' "$1"/instances/*.env 2>/dev/null || :)
ls -1t | { n=0; while read -r name; do
    case $name in *.half) rm -rf -- "$name"; continue ;; esac
    n=$((n + 1))
    [ "$n" -gt "$2" ] || continue
    printf '%s\\n' "$used" | grep -qx ".*/$name" || rm -rf -- "$name"
done; }"""
    shell(host, script, root, str(kept), limit_s=600)


def _script(placed: Placed, settings: Settings, python: str) -> str:
    serve = settings.serve.model_copy(update={"host": "127.0.0.1", "model_path": None})
    module = ["-P", "-m", "deploy.service"]
    exported = "\n".join(f"export {name}={value}" for name, value in ENVIRONMENT.items())
    fixed = [f"--home={HOME}", f"--version={placed.version}", *service.options(serve)]
    words = [shlex.join([python, *module]), '--bundle="$RELEASE/bundle"', '--port="$PORT"', *map(shlex.quote, fixed)]
    return (
        "#!/bin/sh\n# What every instance of this release runs; its own file in instances/ names RELEASE and PORT.\nset -eu\n"
        f'export PYTHONPATH="$RELEASE/code" TINGSU_HOME={HOME}\n{exported}\nexec ' + " \\\n    ".join(words) + "\n"
    )


def _require_room(host: Host, planned: Planned, bundle: Path) -> None:
    needed = SPARE_MB + sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file()) / 2**20
    script = 'at=$1; while [ ! -d "$at" ]; do at=$(dirname -- "$at"); done; df -Pk -- "$at" | tail -n 1'
    free = int(shell(host, script, planned.folder).split()[3]) / 1024
    if free < needed:
        raise ResourceInsufficient(
            f"{host.name} has {free:.0f} MB free for {planned.folder}, {needed:.0f} are needed; free some, or set "
            "rollout.server.kept lower"
        )
