"""A certificate that callers would refuse is refused before anything is touched, one that ends soon is warned of."""

import logging
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from configs.settings import Settings
from configs.sources import load
from data_contracts.artifacts import BundleRef, Version
from data_contracts.errors import ConfigurationError
from deploy.store import FolderStore
from deploy.targets import server_tls
from deploy.targets.server_host import Here
from tasks import rollout

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
DAY = 86400


class Unprivileged(Here):
    """This machine, as whoever runs the tests: nothing here needs root."""

    @property
    def _become(self) -> list[str]:
        return []


def certified(folder: Path, begins_s: float, ends_s: float) -> Settings:
    """A certificate of a time that begins and ends so many seconds from now, and the settings that name it."""
    key, name, now = (
        ec.generate_private_key(ec.SECP256R1()),
        [x509.NameAttribute(NameOID.COMMON_NAME, "t")],
        datetime.now(UTC),
    )
    begins, ends = (now + timedelta(seconds=offset) for offset in (begins_s, ends_s))
    made = x509.CertificateBuilder(x509.Name(name), x509.Name(name), key.public_key(), 1, begins, ends)
    certificate = folder / "own.crt"
    certificate.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    sets = f"rollout.server.tls={{certificate: {certificate}, key: {folder / 'own.key'}}}"
    return load(sets=["rollout.target=server", sets], env={})


def test_one_in_its_time_is_taken_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server_tls.require_in_date(Unprivileged(), certified(tmp_path, -DAY, 15 * DAY))

    assert caplog.text == ""


def test_one_that_ends_within_two_weeks_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings, end = certified(tmp_path, -DAY, 13 * DAY), datetime.now(UTC) + timedelta(days=13)
    with caplog.at_level(logging.WARNING):
        server_tls.require_in_date(Unprivileged(), settings)

    assert f"own.crt on this machine ends at {end.date()}" in caplog.text and "renew it" in caplog.text


def test_one_that_cannot_be_read_is_told_of_by_who_reads_it(tmp_path: Path) -> None:
    settings = certified(tmp_path, -DAY, DAY)
    (tmp_path / "own.crt").write_text("none")

    server_tls.require_in_date(Unprivileged(), settings)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as a rollout to this machine does")
@pytest.mark.parametrize(
    ("begins_s", "ends_s", "said"), [(-2 * DAY, -60, "ended at"), (DAY, 90 * DAY, "does not begin before")]
)
def test_one_that_ended_or_has_not_begun_is_refused_before_anything_is_touched(
    begins_s: float, ends_s: float, said: str, tmp_path: Path
) -> None:
    bundle = BundleRef(digest="d" * 64, key="bundles/none", synthetic=True)
    version = Version(name="complaints", version=1, run_id="", bundle=bundle, decision="PROMOTE")
    home, settings = tmp_path / "home", certified(tmp_path, begins_s, ends_s)

    with pytest.raises(ConfigurationError, match=f"own.crt on this machine {said} .*renew it.*nothing was touched"):
        rollout.rollout(FolderStore(home / "store"), version, settings, home)
    assert not (home / "rollouts").exists()
