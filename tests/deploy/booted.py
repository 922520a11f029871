"""A real Linux server: systemd, nginx and sshd of this machine's own system, booted in a container over a copy that is thrown away.

`systemd-nspawn` boots an overlay of `/`, so nothing is downloaded and what is installed here is there. The network is shared: its ports
are this machine's.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.targets.server_host import Ssh
from tests.deploy.served import free_port

NEEDED = ("systemd-nspawn", "nginx", "ssh", "nsenter", "pgrep", "sudo")
PYTHON = "/opt/environment/bin/python"
DEPLOYER = "deployer"
"""Not root, and may become it without a password."""
BOOT_S = 60.0
IN = 'for procs in $1; do echo $$ > "$procs/cgroup.procs"; done; shift; exec "$@"'
PROBE = """
mount -t tmpfs tmpfs "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root"
"""


def lacking() -> str | None:
    """Why no server can be booted here, if so."""
    missing = [name for name in (*NEEDED, "/usr/sbin/sshd") if shutil.which(name) is None]
    if missing:
        return f"needs {', '.join(missing)}: apt-get install systemd-container nginx-light openssh-server openssh-client sudo"
    if os.geteuid():
        return "needs root, for systemd-nspawn"
    with tempfile.TemporaryDirectory() as folder:
        tried = subprocess.run(
            ["unshare", "--mount", "sh", "-ec", PROBE, "sh", folder], capture_output=True, check=False
        )
    return (
        "needs to mount an overlay of /, which a container may only when it is privileged" if tried.returncode else None
    )


@dataclass(frozen=True)
class Machine:
    """`pid`: of its first process. `root`: its files, `own`: those of them that are not this machine's. `ssh`: options that reach
    root there."""

    pid: int
    root: Path
    own: Path
    ssh: tuple[str, ...]

    def run(self, *argv: str) -> str:
        """What a command there says, whether or not it fails."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-p", *argv],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        return done.stdout.strip()

    def written(self) -> set[str]:
        """Files that were made or changed there, and folders that were made."""
        found = set()
        for folder, folders, files in os.walk(self.own):
            for path in (Path(folder, name) for name in (*folders, *files)):
                there = "/" / path.relative_to(self.own)
                is_deleted = path.is_char_device()
                is_same = there.is_dir() if path.is_dir() else _text(path) == _text(there)
                if not is_deleted and not is_same:
                    found.add(str(there))
        return found

    def host(self) -> Ssh:
        return Ssh("root@127.0.0.1", self.ssh)


@contextlib.contextmanager
def booted(folder: Path) -> Iterator[Machine]:
    """A server that is up, sshd included."""
    root, layer = folder / "root", folder / "layer"
    root.mkdir(parents=True)
    layer.mkdir()
    with contextlib.ExitStack() as undo:
        _mounted(undo, layer, "-t", "tmpfs", "tmpfs")
        for name in ("up", "work"):
            (layer / name).mkdir()
        _mounted(undo, root, "-t", "overlay", "overlay", f"-olowerdir=/,upperdir={layer}/up,workdir={layer}/work")
        _strip(root)
        options = _open_ssh(root, folder)
        starting = ["systemd-nspawn", "-D", str(root), "--register=no", "--keep-unit", "--console=pipe", *_python(root)]
        with (folder / "boot.log").open("wb") as log:
            leader = subprocess.Popen(
                ["sh", "-ec", IN, "sh", " ".join(_cgroups(undo)), *starting, "--boot"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        undo.callback(_end, leader)
        machine = Machine(_first(leader), root, layer / "up", options)
        _until(lambda: machine.run("systemctl", "is-system-running") in ("running", "degraded"), "booted")
        machine.run("ldconfig")
        machine.run("useradd", "--create-home", "--password=*", DEPLOYER)
        machine.run("systemctl", "start", "ssh")
        with contextlib.closing(machine.host()) as host:
            host.run(["true"])
        yield machine


def _text(path: Path) -> bytes | str | None:
    if path.is_symlink():
        return str(path.readlink())
    return path.read_bytes() if path.is_file() else None


def _mounted(undo: contextlib.ExitStack, at: Path, *how: str) -> None:
    subprocess.run(["mount", *how, str(at)], check=True)
    undo.callback(subprocess.run, ["umount", "-l", str(at)], check=False)


def _cgroups(undo: contextlib.ExitStack) -> list[str]:
    """A new one in each hierarchy of systemd's: of two machines in one, each keeps the units of the other loaded."""
    name, found = f"machine-{os.urandom(4).hex()}", []
    for hierarchy in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"):
        if Path(hierarchy, "cgroup.procs").exists():
            made = Path(hierarchy, name)
            made.mkdir()
            undo.callback(_removed, made)
            found.append(str(made))
    return found


def _removed(cgroup: Path) -> None:
    for folder, _, _ in os.walk(cgroup, topdown=False):
        with contextlib.suppress(OSError):  # a process that was killed may not be gone yet
            Path(folder).rmdir()


def _strip(root: Path) -> None:
    """Nothing starts by itself, and the machine has an identity of its own."""
    for folder in (root / "etc/systemd/system").glob("*.wants"):
        shutil.rmtree(folder)
    for site in (root / "etc/nginx/sites-enabled").glob("*"):
        site.unlink()
    (root / "etc/machine-id").write_text(os.urandom(16).hex() + "\n")


def _python(root: Path) -> list[str]:
    """This interpreter and its packages where a hardened unit may read them, which /root is not."""
    base = sys.base_prefix
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    binds = []
    if base.startswith(("/root", "/home")):
        binds, base = [f"--bind-ro={base}:/opt/python"], "/opt/python"
        (root / "etc/ld.so.conf.d/00-python.conf").write_text("/opt/python/lib\n")  # a shared libpython names /root
    folder = root / "opt/environment"
    (folder / "bin").mkdir(parents=True)
    (folder / f"lib/{version}/site-packages").mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text(f"home = {base}/bin\n")
    (folder / "bin/python").symlink_to(f"{base}/bin/{version}")
    return [*binds, f"--bind-ro={sysconfig.get_path('purelib')}:/opt/environment/lib/{version}/site-packages"]


def _open_ssh(root: Path, folder: Path) -> tuple[str, ...]:
    """Keys, port and files of its own."""
    port = free_port()
    for name in ("host", "client"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    own = root / "etc/ssh/own"
    own.mkdir()
    shutil.copy(folder / "host", own / "host")
    shutil.copy(folder / "client.pub", own / "authorized")
    lines = [f"Port {port}", "ListenAddress 127.0.0.1", "HostKey /etc/ssh/own/host", "UsePAM no", "StrictModes no"]
    lines += [
        "AuthorizedKeysFile /etc/ssh/own/authorized",
        "PermitRootLogin prohibit-password",
        "PasswordAuthentication no",
    ]
    (root / "etc/ssh/sshd_config").write_text("\n".join(lines) + "\n")
    public = " ".join((folder / "host.pub").read_text().split()[:2])
    (root / f"etc/sudoers.d/{DEPLOYER}").write_text(f"{DEPLOYER} ALL=(ALL) NOPASSWD: ALL\n")
    (folder / "known").write_text(f"[127.0.0.1]:{port} {public}\n")
    return ("-F/dev/null", f"-p{port}", f"-i{folder}/client", f"-oUserKnownHostsFile={folder}/known")


def _first(leader: "subprocess.Popen[bytes]") -> int:
    found: list[str] = []

    def seen() -> bool:
        assert leader.poll() is None, "systemd-nspawn ended"
        asked = subprocess.run(["pgrep", "-P", str(leader.pid)], capture_output=True, text=True, check=False)
        found[:] = asked.stdout.split()
        return bool(found)

    _until(seen, "a first process")
    return int(found[0])


def _until(holds: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + BOOT_S
    while not holds():
        assert time.monotonic() < until, f"no {what} within {BOOT_S:g} s"
        time.sleep(0.1)


def _end(leader: "subprocess.Popen[bytes]") -> None:
    leader.terminate()
    try:
        leader.wait(20)
    except subprocess.TimeoutExpired:
        leader.kill()
        leader.wait()
