"""Programs from outside Python that the settings need: what is missing, and the command that installs it."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from configs.settings import Settings
from data_contracts.errors import ConfigurationError, ResourceInsufficient
from data_contracts.schema import Frozen

PACKAGES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "apt-get": {"g++": ("g++", "python3-dev"), "nginx": ("nginx",)},
    "dnf": {"g++": ("gcc-c++", "python3-devel"), "nginx": ("nginx",)},
    "zypper": {"g++": ("gcc-c++", "python3-devel"), "nginx": ("nginx",)},
}
"""The package manager, and what it calls the packages of a program."""
OPTIONS = {"apt-get": ("install", "-y"), "dnf": ("install", "-y"), "zypper": ("--non-interactive", "install")}


class Missing(Frozen):
    """A program that is not on PATH. `install`: the command, word by word; empty where no package has it: `why` says more."""

    program: str
    why: str
    install: tuple[str, ...] = ()


def missing(settings: Settings) -> tuple[Missing, ...]:
    """What the settings need on this machine and is not here."""
    from deploy.engines import compiled, llama_server

    found = []
    serve = settings.serve
    if serve.compile and not any(map(shutil.which, compiled.COMPILERS)):
        found.append(_of("g++", "serve.compile is true, and engine transformers compiles with a C++ compiler"))
    if serve.engine == "llamacpp":
        try:
            llama_server.find(serve.llama_server)
        except ConfigurationError as error:
            found.append(Missing(program="llama-server", why=str(error)))
    return tuple(found)


def install(wanted: Sequence[Missing]) -> None:
    """Install what a package manager has; only ever called when somebody asked for it.

    Raises:
        ResourceInsufficient: it has no package, or the command failed; says which one to run.
    """
    for one in wanted:
        if not one.install:
            raise ResourceInsufficient(f"{one.program} cannot be installed by a package manager: {one.why}")
        done = subprocess.run(one.install, capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()[-1:]
            raise ResourceInsufficient(
                f"{one.program} was not installed ({' '.join(said)}); run it yourself: {' '.join(one.install)}"
            )


def require(settings: Settings) -> None:
    """Return if nothing is missing.

    Raises:
        ResourceInsufficient: names every program, and the command that installs it.
    """
    told = [
        f"{one.program} is missing ({one.why})" + (f": {' '.join(one.install)}" if one.install else "")
        for one in missing(settings)
    ]
    if told:
        raise ResourceInsufficient("; ".join(told) + ", or let ./tingsu up --install do it")


def _of(program: str, why: str) -> Missing:
    manager = next((name for name in PACKAGES if shutil.which(name)), None)
    if manager is None:
        return Missing(program=program, why=why)
    words = (manager, *OPTIONS[manager], *PACKAGES[manager][program])
    return Missing(program=program, why=why, install=words if os.geteuid() == 0 else ("sudo", *words))
