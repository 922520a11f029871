"""Watching the settings does not end with what nobody thought of."""

import asyncio
import logging
from pathlib import Path

import pytest

from configs.serving import ServeSettings
from deploy.service import live
from deploy.service.live import Live, read


def test_an_unexpected_error_is_logged_told_and_the_next_edit_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "POLL_S", 0.02)

    def tune(serve: ServeSettings) -> None:
        if serve.max_turns == 13:
            raise RuntimeError("客户：王小明")

    async def scene() -> None:
        file, watched = tmp_path / "settings.yaml", Live(tmp_path, read(tmp_path), tune)
        watching = asyncio.create_task(watched.watch())
        file.write_text("serve: {max_turns: 13}\n")
        async with asyncio.timeout(10):
            while watched.info.problem is None:
                await asyncio.sleep(0.01)
            assert "internal error (RuntimeError)" in watched.info.problem
            assert watched.serve.max_turns == ServeSettings().max_turns
            file.write_text("serve: {max_turns: 14}\n")
            while watched.serve.max_turns != 14:
                assert not watching.done()
                await asyncio.sleep(0.01)
        assert watched.info.problem is None
        watching.cancel()

    with caplog.at_level(logging.INFO):
        asyncio.run(scene())

    (line,) = [record for record in caplog.records if record.message == "unexpected"]
    assert "tune" in str(vars(line)["where"]) and "王小明" not in str(vars(line))
