"""Measures one hop: calibrates it on its own side, reports it on gold, draws its figures."""

from configs.promotion import GateSettings
from configs.training import CalibrateSettings
from data_contracts.artifacts import Calibration, Predictions, Report, Side, Speed, Splits
from data_contracts.schema import Frozen
from data_contracts.taxonomy import Taxonomy
from deploy.calibration import identity
from tasks import calibrate, evaluate, figures
from tasks.stages import Work


class How(Frozen):
    """The settings of a measurement. `calibration`: this one instead of one fitted here; `speed`: drawn if given."""

    calibrate: CalibrateSettings
    gate: GateSettings
    calibration: Calibration | None = None
    speed: Speed | None = None


def measure(
    predictions: dict[Side, Predictions],
    splits: Splits,
    taxonomy: Taxonomy,
    how: How,
    synthetic: bool,
    *,
    work: Work,
) -> Report:
    """The report of a hop on gold, with its figures in `work.out`.

    Args:
        predictions: "gold", and "calibration" where one is to be fitted; without it, and without `how.calibration`,
            probabilities are taken as they come.
    """
    used = how.calibration or identity(len(taxonomy.keys))
    if how.calibration is None and "calibration" in predictions:
        used = calibrate.fit(predictions["calibration"], taxonomy, how.calibrate, work.store)
    gold, gate = predictions["gold"], how.gate
    report = evaluate.evaluate(gold, used, splits, taxonomy, gate.resamples, gate.seed, work.store, synthetic)
    figures.figures(report, taxonomy, work.store, work.out, how.speed)
    (work.out / "report.json").write_text(report.model_dump_json(indent=1), encoding="utf-8")
    return report
