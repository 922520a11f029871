"""The whole story, in order: from an accepted dataset to a verdict, and to a live release if the verdict is PROMOTE."""

from data_contracts.artifacts import (
    BundleRef,
    Calibration,
    Form,
    Hop,
    Model,
    Release,
    Report,
    Side,
    Speed,
    Splits,
    Verdict,
    Version,
)
from data_contracts.prompt import Prompt
from data_contracts.schema import Frozen
from data_contracts.taxonomy import Taxonomy
from flows.run import Run
from flows.steps import answer, assess, bind, decide, divide, drive, fit, fit_baseline, fuse, go_live, record, shrink
from tasks import champion, gate, prompting
from tasks.champion import Champion
from tasks.gate import Evidence
from tasks.score import ScoredSides


class Ending(Frozen):
    """What a run ended with. `release` is None unless the verdict was PROMOTE and the version went live."""

    dataset_id: str
    bundle: BundleRef
    verdict: Verdict
    version: Version
    reports: dict[Hop, Report]
    speed: Speed
    release: Release | None


def pipeline(run: Run, taxonomy: Taxonomy) -> Ending:
    """Split, learn, measure every hop on the same gold calls, judge, and release what the gate lets through."""
    s = run.settings
    gate.check(s.gate, taxonomy)
    prompt = prompting.compose(run.base, taxonomy, s.prompt)
    reigning = champion.find(run.registry, taxonomy)
    splits = divide(run, run.dataset, s.split, s.data)
    reports, models = learn(run, splits, prompt, taxonomy)

    chosen = reports[s.quantize.serve].calibration
    bundle = bind(run, models[s.quantize.serve], prompt, taxonomy, chosen, s.serve, run.dataset.synthetic)
    driven = drive(run, bundle, splits, s.benchmark, s.serve, s.ports, run.home)
    served = ScoredSides(predictions={"gold": driven.served})
    reports["served"] = measure(run, served, splits, taxonomy, "served", chosen)
    if (
        reigning is not None and reigning.bundle == bundle
    ):  # nothing new: the champion keeps its version and its verdict
        verdict, version = reigning.verdict, reigning.version
    else:
        verdict = judge(run, evidence_of(run, bundle, splits, prompt, taxonomy, reports, driven.speed), reigning)
        version = record(run.registry, run.candidate(bundle, verdict, reports, driven.speed))
    is_free = verdict.decision == "PROMOTE" and not s.gate.approval
    live = go_live(run.registry, version.version, s) if is_free else None
    return Ending(
        dataset_id=run.dataset.id,
        bundle=bundle,
        verdict=verdict,
        version=version,
        reports=reports,
        speed=driven.speed,
        release=live,
    )


def learn(run: Run, splits: Splits, prompt: Prompt, taxonomy: Taxonomy) -> tuple[dict[Hop, Report], dict[Form, Model]]:
    """Baseline, untuned base, adapter, merged model and every quantized form, each scored on the same gold calls."""
    s = run.settings
    reports: dict[Hop, Report] = {}
    models: dict[Form, Model] = {}

    def hop(name: Hop, subject: object, sides: tuple[Side, ...] = ("calibration", "gold")) -> None:
        scored = answer(run, subject, name, splits, sides, prompt, taxonomy, s.serve, label=name)
        reports[name] = measure(run, scored, splits, taxonomy, name)

    reports["baseline"] = measure(run, fit_baseline(run, splits, taxonomy, s.baseline), splits, taxonomy, "baseline")
    hop("untuned", run.base, ("gold",))
    adapter = fit(run, splits, run.base, prompt, taxonomy, s.train)
    hop("adapter", adapter)
    models["merged"] = fuse(run, adapter)
    hop("merged", models["merged"])
    for form in s.quantize.forms:
        models[form] = shrink(run, models["merged"], form, label=form)
        hop(form, models[form])
    return reports, models


def measure(
    run: Run,
    scored: ScoredSides,
    splits: Splits,
    taxonomy: Taxonomy,
    label: str,
    calibration: Calibration | None = None,
) -> Report:
    """A hop's report on gold, under its own calibration unless one is given."""
    settings = (run.settings.calibrate, run.settings.gate)
    return assess(run, scored.predictions, calibration, splits, taxonomy, settings, run.dataset.synthetic, label=label)


def judge(run: Run, evidence: Evidence, reigning: Champion | None) -> Verdict:
    """The verdict, against the champion if there is one, which answers the same gold calls anew."""
    if reigning is None:
        return decide(run, evidence, run.home)
    taxonomy, splits, s = evidence.taxonomy, evidence.splits, run.settings
    scored = answer(
        run, reigning.model, "served", splits, ("gold",), reigning.prompt, taxonomy, s.serve, label="champion"
    )
    report = measure(run, scored, splits, taxonomy, "champion", reigning.calibration)
    against = {"champion": report, "champion_bundle": reigning.bundle.digest}
    return decide(run, evidence.model_copy(update=against), run.home)


def evidence_of(
    run: Run,
    bundle: BundleRef,
    splits: Splits,
    prompt: Prompt,
    taxonomy: Taxonomy,
    reports: dict[Hop, Report],
    speed: Speed,
) -> Evidence:
    """What the gate is shown."""
    s = run.settings
    return Evidence(
        taxonomy=taxonomy, splits=splits, settings=s.gate, profile=s.profile, bundle=bundle, prompt_digest=prompt.digest,
        engine="transformers", quantization=s.quantize.serve, reports=reports, speed=speed,
    )  # fmt: skip
