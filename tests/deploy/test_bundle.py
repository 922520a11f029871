"""The bundle: named by its content, refused when anything in it changed, served only with a verdict that covers it."""

import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from data_contracts.artifacts import BundleRef
from data_contracts.errors import BundleCorrupt, ConfigurationError, GateRefused, ModelLoadError
from deploy import bundle
from deploy.store import LISTING, FolderStore, listing
from tests.deploy import served


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def ref(store: FolderStore) -> BundleRef:
    return served.fake_bundle(store)


def test_the_same_parts_give_the_same_bundle(store: FolderStore, ref: BundleRef) -> None:
    assert served.fake_bundle(store) == ref
    assert list(store.keys("bundles")) == [ref.key]


def test_assembling_again_replaces_a_damaged_bundle(store: FolderStore, ref: BundleRef) -> None:
    (store.root / ref.key / "model/model.safetensors").write_bytes(b"x" * 1000)

    served.fake_bundle(store)

    assert bundle.open(store.local(ref.key)).digest == ref.digest


def test_a_bundle_reads_back_what_was_assembled(store: FolderStore, ref: BundleRef) -> None:
    found = bundle.open(store.local(ref.key))

    assert found.digest == ref.digest == found.folder.name
    assert (found.prompt, found.taxonomy, found.calibration) == (served.PROMPT, served.TAXONOMY, served.CALIBRATION)
    assert len(set(found.code_ids)) == len(served.TAXONOMY.keys)
    assert found.facts.synthetic


@pytest.mark.parametrize("name", ["model/model.safetensors", "model/tokenizer.json", "calibration.json", "codes.json"])
def test_one_flipped_byte_is_refused_naming_the_file(store: FolderStore, ref: BundleRef, name: str) -> None:
    path = store.root / ref.key / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    with pytest.raises(BundleCorrupt, match=name):
        bundle.open(store.root / ref.key)


def test_a_missing_cut_or_added_file_is_refused_by_name(store: FolderStore, ref: BundleRef, tmp_path: Path) -> None:
    for number, (name, spoil) in enumerate(
        [
            ("golden.json", Path.unlink),
            ("model/model.safetensors", lambda p: os.truncate(p, 10)),
            ("model/extra.py", lambda p: p.write_text("x")),
            (LISTING, Path.unlink),
            (LISTING, lambda p: p.write_text("[1]")),
        ]
    ):
        copy = Path(shutil.copytree(store.root / ref.key, tmp_path / f"copy-{number}"))
        spoil(copy / name)
        with pytest.raises(BundleCorrupt, match=name):
            bundle.open(copy)


def test_a_listing_rewritten_to_fit_changed_files_no_longer_has_the_name(store: FolderStore, ref: BundleRef) -> None:
    folder = store.root / ref.key
    (folder / "calibration.json").write_text((folder / "calibration.json").read_text().replace("0.2", "0.1"))
    (folder / LISTING).write_text(json.dumps(listing(folder)))

    with pytest.raises(BundleCorrupt, match="was changed"):
        bundle.open(folder)


def test_pickled_weights_are_not_bundled(store: FolderStore) -> None:
    model = served.fake_model(store)
    (store.root / model.key / "pytorch_model.bin").write_bytes(b"pickle")

    with pytest.raises(ModelLoadError, match=r"pytorch_model\.bin"):
        bundle.assemble(served.parts(model, served.golden(store.root / model.key, served.FakeEngine())), store)


def test_a_promote_verdict_signed_here_lets_the_bundle_serve(
    store: FolderStore, ref: BundleRef, tmp_path: Path
) -> None:
    folder = served.promote(store, ref, tmp_path)

    verdict = bundle.permit(bundle.open(folder), bundle.public_key(tmp_path))

    assert verdict.decision == "PROMOTE"
    assert len(bundle.verdict_id(verdict)) == 16


def test_no_verdict_or_another_decision_is_refused(store: FolderStore, ref: BundleRef, tmp_path: Path) -> None:
    found = bundle.open(store.local(ref.key))
    with pytest.raises(GateRefused, match="has no verdict"):
        bundle.permit(found, "any")
    for decision in ("HOLD", "REJECT"):
        served.promote(store, ref, tmp_path, decision)
        with pytest.raises(GateRefused, match=decision):
            bundle.permit(found, bundle.public_key(tmp_path))


def test_a_verdict_covers_one_bundle_and_one_key_and_no_change(tmp_path: Path) -> None:
    signed = bundle.sign(served.verdict("a" * 64), bundle.keypair(tmp_path))
    key = bundle.public_key(tmp_path)
    bundle.keypair(tmp_path / "other")

    bundle.verify(type(signed).model_validate_json(signed.model_dump_json()), "a" * 64, key)
    with pytest.raises(GateRefused, match="does not cover"):
        bundle.verify(signed, "b" * 64, key)
    with pytest.raises(GateRefused, match="changed after"):
        bundle.verify(signed.model_copy(update={"profile": "production"}), "a" * 64, key)
    with pytest.raises(GateRefused, match="not signed by the key"):
        bundle.verify(signed, "a" * 64, bundle.public_key(tmp_path / "other"))
    with pytest.raises(GateRefused, match="not signed"):
        bundle.verify(served.verdict("a" * 64), "a" * 64, key)


def test_a_held_verdict_cannot_be_signed_over_into_promote(tmp_path: Path) -> None:
    held = bundle.sign(served.verdict("a" * 64, "HOLD"), bundle.keypair(tmp_path))

    with pytest.raises(GateRefused, match="changed after"):
        bundle.verify(held.model_copy(update={"decision": "PROMOTE"}), "a" * 64, bundle.public_key(tmp_path))


def test_the_key_is_private_made_once_and_agreed_on_by_racing_first_uses(tmp_path: Path) -> None:
    keys: list[bytes] = []
    racing = [
        threading.Thread(target=lambda: keys.append(bundle.keypair(tmp_path).private_bytes_raw())) for _ in range(8)
    ]
    for thread in racing:
        thread.start()
    for thread in racing:
        thread.join()

    assert len(keys) == 8 and len(set(keys)) == 1
    assert (tmp_path / "keys/gate.pem").stat().st_mode & 0o777 == 0o600


def test_a_home_without_a_key_or_with_a_damaged_one_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"gate\.pub"):
        bundle.public_key(tmp_path)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/gate.pem").write_text("nonsense")
    with pytest.raises(ConfigurationError, match=r"gate\.pem"):
        bundle.keypair(tmp_path)
