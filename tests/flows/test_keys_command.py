"""`./tingsu keys …` as an operator meets it."""

import json
from pathlib import Path

from deploy import keys, targets
from deploy.store import FolderStore
from deploy.targets import Placed, Record
from tests.deploy import served
from tests.flows.test_command_line import tingsu


def test_a_key_is_printed_alone_and_never_listed(tmp_path: Path) -> None:
    made = tingsu("keys", "add", "crm", "--scope", "classify,admin", "--rate", "5/s", home=tmp_path)
    key = made.stdout.strip()
    listed, as_json = tingsu("keys", "list", home=tmp_path), tingsu("keys", "list", "--json", home=tmp_path)

    assert made.returncode == 0 and made.stdout == f"{key}\n" and key.startswith("tsk_")
    assert "not shown again" in made.stderr and "5 requests a second" in made.stderr
    assert "crm" in listed.stdout and "classify,admin" in listed.stdout and "5/s" in listed.stdout
    assert [entry["name"] for entry in json.loads(as_json.stdout)] == ["crm"]
    assert key not in listed.stdout + as_json.stdout and "digest" not in as_json.stdout


def test_revoking_the_last_key_says_that_the_door_stays_shut(tmp_path: Path) -> None:
    tingsu("keys", "add", "crm", home=tmp_path)
    live = Placed(version=1, bundle_digest="d", folder="/nowhere", verdict_signature="s")
    targets.write(tmp_path, Record(target="server", live=live))

    said = tingsu("keys", "revoke", "crm", home=tmp_path).stdout
    assert "service.json" in said and "The server does not know of it yet: ./tingsu deploy --target server" in said
    assert "No key is left" in tingsu("keys", "list", home=tmp_path).stdout
    assert tingsu("keys", "revoke", "crm", home=tmp_path).returncode == 2


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    for words, said in (
        (("add", "crm", "--scope", "clasify"), "allowed: classify, generate, metrics, admin"),
        (("add", "crm", "--rate", "fast"), "write it as 5/s"),
        (("add", "a b"), "name 'a b'"),
    ):
        found = tingsu("keys", *words, home=tmp_path)
        assert (found.returncode, said in found.stderr, "Traceback" in found.stderr) == (2, True, False), found.stderr
    assert "listens on loopback only" in tingsu("keys", "list", home=tmp_path).stdout


def test_the_products_own_commands_go_on_when_keys_are_in_use(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "bundles")
    folder = served.promote(store, served.fake_bundle(store), tmp_path)
    key = keys.add(tmp_path, "crm", ["classify"])
    stranger = tmp_path / "elsewhere"
    stranger.mkdir()
    with served.serving(folder, tmp_path) as running:
        running.ready()
        own = [
            tingsu(*words, home=tmp_path)
            for words in (("classify", "你好", "--url", running.url), ("verify", running.url))
        ]
        without = tingsu("classify", "你好", "--url", running.url, home=stranger)
        given = tingsu("classify", "你好", "--url", running.url, home=stranger, env={"TINGSU_API_KEY": key})

    assert [found.returncode for found in own] == [0, 0], own
    assert without.returncode == 2 and "TINGSU_API_KEY" in without.stderr
    assert given.returncode == 0
