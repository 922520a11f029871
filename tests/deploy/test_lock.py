"""Whether a lock is held is asked without changing anything."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from deploy.operate import lock

ROOT = Path(__file__).parents[2]
SHARER = """
import sys
from pathlib import Path
from deploy.operate import lock
with lock.held(Path(sys.argv[1]), shared=True):
    pass
"""


def test_it_is_shared_until_the_last_of_several_ends_in_whatever_order_they_came(tmp_path: Path) -> None:
    file = tmp_path / "moving.lock"
    assert not lock.is_shared_by_any(file) and not file.exists()
    with ExitStack() as first:
        first.enter_context(lock.held(file, shared=True))
        subprocess.run([sys.executable, "-P", "-c", SHARER, str(file)], env={"PYTHONPATH": str(ROOT)}, check=True)
        text = file.read_text()

        assert lock.is_shared_by_any(file) and file.read_text() == text
    assert not lock.is_shared_by_any(file) and file.read_text() == text
