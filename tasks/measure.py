"""Measures one hop: calibrates it on its own side, reports it on gold, draws its figures."""

from configs.settings import CalibrateSettings, GateSettings
from data_contracts.artifacts import Calibration, Predictions, Report, Side, Splits
from data_contracts.taxonomy import Taxonomy
from deploy.calibration import identity
from tasks import calibrate, evaluate, figures
from tasks.stages import Work


def measure(
    predictions: dict[Side, Predictions],
    calibration: Calibration | None,
    splits: Splits,
    taxonomy: Taxonomy,
    settings: tuple[CalibrateSettings, GateSettings],
    synthetic: bool,
    *,
    work: Work,
) -> Report:
    """The report of a hop on gold, with its figures in `work.out`.

    Args:
        predictions: "gold", and "calibration" where the hop is to be calibrated.
        calibration: used instead of a fitted one; with neither, probabilities are taken as they come.
    """
    how, gate = settings
    if calibration is None and "calibration" in predictions:
        calibration = calibrate.fit(predictions["calibration"], taxonomy, how, work.store)
    used = calibration or identity(len(taxonomy.keys))
    report = evaluate.evaluate(
        predictions["gold"], used, splits, taxonomy, gate.resamples, gate.seed, work.store, synthetic
    )
    figures.figures(report, taxonomy, work.store, work.out)
    (work.out / "report.json").write_text(report.model_dump_json(indent=1), encoding="utf-8")
    return report
