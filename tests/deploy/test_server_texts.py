"""What a rollout writes on a server: the unit is as tight as promised, nginx takes the file, and it splits as asked."""

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from configs.settings import Settings
from configs.sources import load
from data_contracts.errors import ConfigurationError, RolloutFailed
from deploy import keys, operators, service
from deploy.targets import Placed, server_front, server_install, server_put, server_release, server_tls, server_units
from deploy.targets.server_front import Traffic
from deploy.targets.server_host import Here, Ssh, write

TLS = "rollout.server.tls={certificate: /etc/ssl/a.crt, key: /etc/ssl/a.key}"
PLACED = Placed(version=12, bundle_digest="3fa9c1d2e4b5" + "0" * 52, folder="/nowhere", verdict_signature="s")


def settings(*sets: str) -> Settings:
    return load(sets=sets, env={})


def traffic(share: float) -> Traffic:
    """Two instances a side; the candidate is green."""
    names = [("blue", 1), ("blue", 2), ("green", 1), ("green", 2)]
    ones = tuple(server_units.instance(settings(), side, number, "/r/1") for side, number in names)  # type: ignore[arg-type]
    return Traffic(instances=ones, to="green", share=share)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze: apt-get install systemd")
@pytest.mark.parametrize(
    "sets", [(), ("serve.engine=ollama", "rollout.server.memory_mb=4096", "rollout.server.cpus=1.5")]
)
def test_an_instance_is_exposed_less_than_three(sets: tuple[str, ...], tmp_path: Path) -> None:
    unit = tmp_path / "tingsu@.service"
    unit.write_text(server_units.unit(settings(*sets)))

    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=30", unit], capture_output=True, text=True
    )

    assert done.returncode == 0 and "Overall exposure level" in done.stdout, done.stdout[-500:] + done.stderr


def test_torch_may_make_code_and_limits_are_those_of_the_settings() -> None:
    lines = server_units.unit(settings("rollout.server.memory_mb=4096", "rollout.server.cpus=1.5")).splitlines()

    assert {"MemoryDenyWriteExecute=no", "MemoryMax=4096M", "CPUQuota=150%", "IPAddressDeny=any"} <= set(lines)
    assert not [line for line in lines if "@" in line and not line.startswith(("#", "SystemCallFilter="))]


def test_an_engine_elsewhere_may_be_asked() -> None:
    assert "IPAddressDeny=any" not in server_units.unit(settings("serve.engine=lmdeploy")).splitlines()


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx: apt-get install nginx-light")
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "TLS"])
def test_nginx_takes_the_file(share: float, host: str, tmp_path: Path) -> None:
    sets = tls_on(tmp_path) if host == "TLS" else [f'serve.host="{host}"']
    (tmp_path / "tingsu.conf").write_text(server_front.text(settings(*sets), traffic(share)))
    main = main_file(tmp_path)

    done = subprocess.run(["nginx", "-t", "-c", main, "-p", tmp_path], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


def main_file(folder: Path) -> Path:
    """nginx's main file around `tingsu.conf` in a folder."""
    main = folder / "nginx.conf"
    main.write_text(
        f"pid {folder}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n access_log off;\n"
        + "".join(f" {name}_temp_path {folder};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        + f" include {folder}/tingsu.conf;\n}}\n"
    )
    return main


class Instances:
    """Web servers that answer 503 to the first `refusals` requests each, and 200 from then on."""

    def __init__(self, count: int, refusals: int) -> None:
        left = [refusals * count]

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                left[0] -= 1
                self.send_response(503 if left[0] >= 0 else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.servers = [ThreadingHTTPServer(("127.0.0.1", 0), Answer) for _ in range(count)]
        for one in self.servers:
            threading.Thread(target=one.serve_forever, daemon=True).start()

    @property
    def ports(self) -> list[int]:
        return [one.server_port for one in self.servers]

    def end(self) -> None:
        for one in self.servers:
            one.shutdown()
            one.server_close()


@contextmanager
def front(ports: list[int], folder: Path) -> Iterator[httpx.Client]:
    """A caller of a real nginx before instances at these ports."""
    ones = tuple(server_units.Instance(side="blue", number=n, port=p, release="/r/1") for n, p in enumerate(ports, 1))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = server_front.text(settings(f"ports.service={port}"), Traffic(instances=ones, to="blue"))
    (folder / "tingsu.conf").write_text(text)
    command = ["nginx", "-c", main_file(folder), "-p", folder, "-g", "daemon off;"]
    transport = httpx.HTTPTransport(retries=5)  # of connecting: until nginx listens
    with (
        subprocess.Popen(command, stderr=subprocess.DEVNULL) as nginx,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=transport) as caller,
    ):
        yield caller
        nginx.terminate()


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx: apt-get install nginx-light")
def test_instances_that_were_full_are_asked_again_at_once(tmp_path: Path) -> None:
    made = Instances(2, refusals=10)
    with front(made.ports, tmp_path) as caller:
        statuses = [caller.get("/").status_code for _ in range(20)]
    made.end()

    assert statuses == [503] * 10 + [200] * 10


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx: apt-get install nginx-light")
def test_one_instance_of_five_that_is_up_answers_every_request(tmp_path: Path) -> None:
    made = Instances(5, refusals=0)
    for one in made.servers[1:]:
        one.shutdown()
        one.server_close()
    with front(made.ports, tmp_path) as caller:
        statuses = {caller.get("/").status_code for _ in range(20)}
    made.servers[0].shutdown()
    made.servers[0].server_close()

    assert statuses == {200}


def tls_on(folder: Path) -> list[str]:
    """The settings that have a certificate of its own in a folder."""
    certificate, key = folder / "own.crt", folder / "own.key"
    made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=tingsu -addext subjectAltName=IP:127.0.0.2"
    done = subprocess.run(["openssl", *made.split(), "-keyout", key, "-out", certificate], capture_output=True)
    assert done.returncode == 0, done.stderr
    return ["serve.host=0.0.0.0", f"rollout.server.tls={{certificate: {certificate}, key: {key}}}"]


@pytest.mark.parametrize(
    ("sets", "open"),
    [
        (("serve.host=0.0.0.0",), ["0.0.0.0:8000"]),
        (('serve.host="::"',), ["127.0.0.1:8000", "[::]:8000"]),
        (("serve.host=192.0.2.7",), ["127.0.0.1:8000", "192.0.2.7:8000"]),
        (("serve.host=0.0.0.0", TLS), ["127.0.0.1:8000", "0.0.0.0:443"]),
        (("serve.host=192.0.2.7", TLS), ["127.0.0.1:8000", "192.0.2.7:443"]),
    ],
)
def test_with_tls_nothing_but_this_machine_reaches_a_plain_port(sets: tuple[str, ...], open: list[str]) -> None:
    text = server_front.text(settings(*sets), traffic(1.0))

    lines = [line.split() for line in text.splitlines() if line.strip().startswith("listen ")]
    assert [line[1].rstrip(";") for line in lines] == open
    assert [line[1] for line in lines if line[-1] == "ssl;"] == [address for address in open if "443" in address]
    assert ("travel in clear" in text) == (TLS not in sets) == ("ssl_protocols TLSv1.2 TLSv1.3;" not in text)


@pytest.mark.parametrize(
    ("sets", "url"), [((), "http://[2001:db8::7]:8000"), ((TLS, "serve.host=0.0.0.0"), "https://[2001:db8::7]")]
)
def test_an_ipv6_address_stands_in_brackets_where_callers_ask(sets: tuple[str, ...], url: str) -> None:
    assert server_tls.url(settings(*sets), "2001:db8::7") == url


def test_tls_has_a_port_of_its_own() -> None:
    with pytest.raises(ConfigurationError, match=r"rollout\.server\.tls\.port is 8000, and so is ports\.service"):
        settings(TLS, "rollout.server.tls.port=8000")


@pytest.fixture
def cutting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ssh:
    """A machine behind an `ssh` whose connection drops after three bytes, as when the controller is killed."""
    programs = {"ssh": 'for last; do :; done\nhead -c 3 | sh -c "$last"', "sudo": 'shift\nexec "$@"'}
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return Ssh("server")


def test_a_text_that_was_cut_off_on_its_way_replaces_nothing(cutting: Ssh, tmp_path: Path) -> None:
    root, release = tmp_path / "root", tmp_path / "release"
    own = settings(f"rollout.server.root={root}", f"rollout.server.nginx={tmp_path}/tingsu.conf")
    one = server_units.instance(own, "blue", 1, str(release))
    there = [tmp_path / "tingsu.conf", Path(server_units.file(own, one)), tmp_path / "unit"]
    for path in there:
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("whole")

    for changed in (
        lambda: server_put.put(cutting, own, "another"),
        lambda: server_units.start(cutting, own, [one]),
        lambda: write(cutting, str(there[2]), "another"),
    ):
        with pytest.raises(RolloutFailed, match=r"3 of \d+ bytes arrived, so nothing was done"):
            changed()
    assert [path.read_text() for path in there] == ["whole"] * 3
    assert not [*tmp_path.rglob("*.new"), *tmp_path.rglob("*.came")]


def test_a_candidates_requests_may_fall_to_what_is_live_and_never_the_other_way_round() -> None:
    text = server_front.text(settings(), traffic(0.05))
    blue, green = text.split("upstream tingsu_green")

    assert "    5.00% tingsu_green;\n    * tingsu_blue;" in text
    assert "8102" not in blue and green.count("backup;") == 2 and "server 127.0.0.1:8101 " in green


def test_what_an_instance_gave_up_on_for_want_of_time_is_not_asked_of_the_next() -> None:
    lines = server_front.text(settings("serve.deadline_s=0.5", "serve.generate.wait_s=20"), traffic(1.0)).splitlines()
    bounds = [line.split()[1] for line in lines if "proxy_next_upstream_timeout" in line]

    assert bounds == ["450ms;", "18000ms;"]


@pytest.mark.parametrize(("share", "silent"), [(0.0, "green"), (1.0, "blue")])
def test_a_side_that_gets_nothing_is_not_there(share: float, silent: str) -> None:
    assert f"tingsu_{silent}" not in server_front.text(settings(), traffic(share))


def test_another_number_of_instances_moves_no_port() -> None:
    ports = [server_units.instance(settings(), side, n, "r").port for n in range(1, 5) for side in server_units.SIDES]

    assert ports == list(range(8101, 8109))


def test_a_release_is_named_anew_when_it_would_serve_differently(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def name(*sets: str, placed: Placed = PLACED) -> str:
        own = settings(*sets)
        return server_release.plan(placed, own, "/opt/python", server_units.unit(own), tmp_path).name

    names = [name(), name("serve.max_turns=9"), name("rollout.server.memory_mb=4096")]
    names.append(name(placed=PLACED.model_copy(update={"verdict_signature": "other"})))
    monkeypatch.setattr(service, "code", lambda: "other code")
    names.append(name())
    (tmp_path / "settings.yaml").write_text("log: {level: WARNING}")
    names.append(name())

    assert len(set(names)) == 6 and all(name.startswith("12-3fa9c1d2e4b5-") for name in names)
    assert name("rollout.server.kept=9") == names[-1]


def test_what_serves_is_a_command_a_person_can_read_and_run(tmp_path: Path) -> None:
    own = settings('serve.review_categories=["it\'s $HOME"]')
    script = server_release.plan(PLACED, own, "/opt/p/bin/python", "", tmp_path).files["serve"]

    told = subprocess.run(
        ["sh", "-c", script.replace("exec /opt/p/bin/python", "printf '%s\\n'")],
        env={"RELEASE": "/r/12 a", "PORT": "8101"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert {
        "--bundle=/r/12 a/bundle",
        "--home=/r/12 a/home",
        "--port=8101",
        "--version=12",
        '--set=serve.host="127.0.0.1"',
    } <= set(told)
    assert '--set=serve.review_categories=["it\'s $HOME"]' in told


def test_a_server_that_others_reach_needs_an_api_key(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/gate.pub").write_text("p")
    public = settings("serve.host=0.0.0.0")

    with pytest.raises(ConfigurationError, match=r"'0\.0\.0\.0'.*no API key.*keys add"):
        server_install.parts(Here(), tmp_path, public)
    with pytest.raises(ConfigurationError, match=r"production.*no API key.*keys add"):
        server_install.parts(Here(), tmp_path, settings("serve.mode=production"))
    keys.add(tmp_path, "crm", ["classify"])
    assert "/var/lib/tingsu/keys/service.json" in [part.path for part in server_install.parts(Here(), tmp_path, public)]
    assert not [part.path for part in server_install.parts(Here(), tmp_path, public) if "gate.pem" in part.path]


def test_operators_whose_word_counts_here_are_known_there(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/gate.pub").write_text("p")
    operators.trust(tmp_path, "li", tmp_path / "li.pem")

    paths = [part.path for part in server_install.parts(Here(), tmp_path, settings())]

    assert "/var/lib/tingsu/keys/operators/li.pub" in paths and not [path for path in paths if path.endswith(".pem")]


def test_operators_of_another_home_are_not_put_out_of_office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their emergency verdicts would count no more. Those whom this home itself trusted once are its to take away."""
    home, other = tmp_path / "home", tmp_path / "other"
    monkeypatch.setattr(server_install, "HOME", str(tmp_path / "server"))
    there = tmp_path / "server/keys/operators"
    there.mkdir(parents=True)
    for name, its in {"li": home, "wang": other}.items():
        operators.trust(its, name, tmp_path / f"{name}.pem")
        shutil.copy(operators.folder(its) / f"{name}.pub", there)

    with pytest.raises(
        ConfigurationError, match=r"operators in .* on this machine are of another home .* know: wang\. .*replace"
    ):
        server_install.parts(Here(), home, settings())
    assert server_install.parts(Here(), home, settings("rollout.replace_keys=true"))
    (there / "wang.pub").unlink()
    operators.revoke(home, "li")
    assert server_install.parts(Here(), home, settings())


@pytest.mark.parametrize(
    "wrong", ["root=/", "root=/opt", "root=/opt/../etc", "host=-oProxyCommand=x", "user=a b", "python=python3"]
)
def test_settings_that_could_do_harm_are_refused(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=f"rollout.server.{wrong.split('=')[0]}"):
        settings(f"rollout.server.{wrong}")
