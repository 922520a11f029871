from pathlib import Path

import pytest

from tasks import figures
from tests.tasks.scored import SPEED, TAXONOMY, Scored

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    return Scored(tmp_path_factory.mktemp("store"), rows=200)


def test_every_figure_is_a_png(scored: Scored, tmp_path: Path) -> None:
    drawn = figures.figures(scored.report(0.85), TAXONOMY, scored.store, tmp_path / "new", SPEED)

    assert [p.name for p in drawn] == ["confusion.png", "reliability.png", "risk_coverage.png", "latency.png"]
    assert all(p.read_bytes()[:8] == PNG and p.stat().st_size > 5000 for p in drawn)


def test_no_latency_without_answered_requests(scored: Scored, tmp_path: Path) -> None:
    nothing = SPEED.model_copy(update={"histogram": ()})

    drawn = figures.figures(scored.report(0.85), TAXONOMY, scored.store, tmp_path, nothing)

    assert len(drawn) == 3


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_extreme_reports_are_drawn(scored: Scored, tmp_path: Path, right: float) -> None:
    assert len(figures.figures(scored.report(right), TAXONOMY, scored.store, tmp_path)) == 3


def test_every_chinese_name_is_drawn_with_glyphs(
    scored: Scored, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    if figures.cjk_font() is None:
        pytest.skip("no font with Chinese glyphs here: apt-get install fonts-noto-cjk")

    figures.figures(scored.report(0.85), TAXONOMY, scored.store, tmp_path, SPEED)

    assert not [w for w in recwarn if "Glyph" in str(w.message)]


def test_without_a_chinese_font_keys_are_shown_and_no_glyph_is_missing(
    scored: Scored, tmp_path: Path, recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "cjk_font", lambda: None)

    figures.figures(scored.report(0.85), TAXONOMY, scored.store, tmp_path, SPEED)

    assert not [w for w in recwarn if "Glyph" in str(w.message)]


def test_drawing_leaves_the_global_style_alone(scored: Scored, tmp_path: Path) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    figures.figures(scored.report(0.85), TAXONOMY, scored.store, tmp_path)

    assert dict(matplotlib.rcParams) == before
