"""API keys at rest: shown once, kept as hashes in a private file, found by what is shown; the machine key stays here."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data_contracts.errors import ConfigurationError
from deploy import keys, operators


def kept(home: Path) -> tuple[keys.ApiKey, ...]:
    found = keys.read(home)
    assert found is not None
    return found.keys


def test_a_key_is_kept_as_a_hash_in_a_private_file(tmp_path: Path) -> None:
    shown = keys.add(tmp_path, "crm", ["classify", "admin"], 5)

    file = keys.file(tmp_path)
    assert shown not in file.read_text() and shown.removeprefix("tsk_") not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
    (key,) = kept(tmp_path)
    assert (key.name, key.scopes, key.rate_per_s) == ("crm", ("classify", "admin"), 5)
    assert keys.find(kept(tmp_path), shown) == key


def test_only_the_whole_key_is_found(tmp_path: Path) -> None:
    shown = keys.add(tmp_path, "crm", ["classify"])
    digest = kept(tmp_path)[0].digest

    for wrong in (shown[:-1], shown + "x", shown.upper(), "", digest, "钥匙"):
        assert keys.find(kept(tmp_path), wrong) is None


def test_keys_made_at_once_are_all_kept(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        shown = list(pool.map(lambda i: keys.add(tmp_path, f"k{i}", ["classify"]), range(16)))

    assert {keys.find(kept(tmp_path), one).name for one in shown} == {f"k{i}" for i in range(16)}  # type: ignore[union-attr]


def test_a_revoked_key_is_gone_and_the_file_stays(tmp_path: Path) -> None:
    shown = keys.add(tmp_path, "crm", ["classify"])

    assert keys.revoke(tmp_path, "crm") == 0
    assert keys.find(kept(tmp_path), shown) is None
    with pytest.raises(ConfigurationError, match="no key 'crm'; there are: none"):
        keys.revoke(tmp_path, "crm")


@pytest.mark.parametrize(
    ("name", "scopes", "rate", "said"),
    [
        ("c r m", ["classify"], None, "name 'c r m'"),
        ("", ["classify"], None, "name ''"),
        ("crm", ["clasify"], None, "allowed: classify, generate, metrics, admin"),
        ("crm", [], None, "scopes"),
        ("crm", ["classify"], 0, "rate_per_s 0"),
        ("crm", ["classify"], float("inf"), "rate_per_s inf"),
        ("there", ["classify"], None, "'there' is taken"),
        (keys.MACHINE, ["classify"], None, "is taken"),
    ],
)
def test_a_wrong_key_is_refused_with_what_is_allowed(
    name: str, scopes: list[str], rate: float | None, said: str, tmp_path: Path
) -> None:
    keys.add(tmp_path, "there", ["classify"])

    with pytest.raises(ConfigurationError, match=said):
        keys.add(tmp_path, name, scopes, rate)
    assert len(kept(tmp_path)) == 1


@pytest.mark.parametrize("damage", [b"", b"{", b'{"keys": [{}]}', b"\xff\xfe"])
def test_a_damaged_file_is_never_taken_for_no_keys(damage: bytes, tmp_path: Path) -> None:
    keys.add(tmp_path, "crm", ["classify"])
    keys.file(tmp_path).write_bytes(damage)

    for attempt in (lambda: keys.read(tmp_path), lambda: keys.add(tmp_path, "new", ["classify"])):
        with pytest.raises(ConfigurationError, match=r"service\.json cannot be read"):
            attempt()
    assert keys.file(tmp_path).read_bytes() == damage


def test_the_machine_key_is_made_once_and_only_where_keys_are_in_use(tmp_path: Path) -> None:
    assert keys.machine(tmp_path) is None and not keys.machine_file(tmp_path).exists()
    keys.add(tmp_path, "crm", ["classify"])

    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: keys.machine(tmp_path), range(16)))

    assert len(made) == 1 and made == {keys.machine_file(tmp_path).read_text()}
    assert keys.machine_file(tmp_path).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in keys.file(tmp_path).parent.glob("tmp*")] == []


def test_the_machine_key_is_shown_on_this_machine_alone_and_the_environments_anywhere(tmp_path: Path) -> None:
    keys.add(tmp_path, "crm", ["classify"])
    own = keys.machine(tmp_path)

    for here in ("http://127.0.0.1:8000", "http://localhost:8000", "http://[::1]:8000"):
        assert keys.chosen(tmp_path, here, {}) == own
    for elsewhere in ("http://203.0.113.5:8000", "http://example.com", "http://127.0.0.1.example.com", "http://[", ""):
        assert keys.chosen(tmp_path, elsewhere, {}) is None
        assert keys.chosen(tmp_path, elsewhere, {"TINGSU_API_KEY": "mine"}) == "mine"
    assert keys.chosen(tmp_path, "http://127.0.0.1:8000", {"TINGSU_API_KEY": "mine"}) == "mine"


def test_the_file_holds_nothing_but_what_it_says(tmp_path: Path) -> None:
    keys.add(tmp_path, "crm", ["classify"])

    (entry,) = json.loads(keys.file(tmp_path).read_text())["keys"]
    assert set(entry) == {"name", "digest", "scopes", "rate_per_s", "created_at"}


def test_a_mounted_home_trusts_the_operators_of_the_home_it_was_made_from(tmp_path: Path) -> None:
    (tmp_path / "pod/keys").mkdir(parents=True)
    public = operators.trust(tmp_path, "li", tmp_path / "li.pem")
    operators.shared_file(tmp_path / "pod").write_text(operators.shared(tmp_path))

    assert operators.trusted(tmp_path / "pod") == {"li": public}

    operators.revoke(tmp_path, "li")
    assert operators.shared(tmp_path) == "{}"
    operators.shared_file(tmp_path / "pod").write_text("[]")
    with pytest.raises(ConfigurationError, match=r"operators.json cannot be read"):
        operators.trusted(tmp_path / "pod")


def test_no_caller_is_shut_out_but_by_the_home_that_let_it_in(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    keys.add(first, "crm", ["classify"])
    keys.add(first, "app", ["classify"])
    keys.add(second, "other", ["classify"])
    there = keys.shared(first)

    for home in (second, third):
        with pytest.raises(
            ConfigurationError, match=r"the server lets callers in by keys of another home .*: crm, app\. "
        ):
            keys.require_own(home, there, "the server")
    keys.revoke(first, "app")
    keys.require_own(first, there, "the server")
    keys.require_own(third, "", "the server")
    keys.file(second).write_bytes(keys.file(first).read_bytes())
    keys.add(second, "new", ["classify"])
    keys.require_own(second, there, "the server")
    keys.require_own(first, keys.shared(second), "the server")
