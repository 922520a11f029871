"""The whole story, in order: from an accepted dataset to a verdict, and to a live release if the verdict is PROMOTE."""

from pathlib import Path

from data_contracts.artifacts import Adapter, Calibration, Form, Hop, Model, Release, Report, Side, Speed, Verdict
from data_contracts.errors import Busy
from data_contracts.taxonomy import Taxonomy
from flows.approval import released
from flows.run import Ending, Run, Trial
from flows.steps import (
    benchmark,
    fit_baseline,
    judge,
    measure,
    merge,
    pack,
    quantize,
    quantize_awq,
    record,
    score,
    split,
    train,
)
from tasks import champion, prompting
from tasks.champion import Champion
from tasks.gate import Evidence
from tasks.measure import How
from tasks.score import ScoredSides
from tasks.split import custody


def pipeline(run: Run, taxonomy: Taxonomy) -> Ending:
    """Split, learn, measure every hop on the same gold calls, judge, and release what the gate lets through."""
    with run.kept():
        ending = judged(run, taxonomy)
    if ending.withheld:
        return ending
    version = ending.version.version
    try:
        live = released(run.registry, version, run.settings)  # may wait for a person for days; `gc` works
    except Busy as error:
        raise Busy(
            f"version {version} has the verdict PROMOTE and is not released; when that is possible: ./tingsu promote {version}. {error}"
        ) from error
    outcome = {"release": live} if isinstance(live, Release) else {"withheld": live.sentence}
    return ending.model_copy(update=outcome)


def judged(run: Run, taxonomy: Taxonomy) -> Ending:
    """All of it but the release."""
    s = run.settings
    run.check(taxonomy)  # what can be known to be wrong now is said now, not after the training
    prompt = prompting.compose(run.base, taxonomy, s.prompt)
    reigning = champion.find(run.registry, taxonomy, s.serve)
    sides = split(run, run.dataset, s.split, s.data, custody(run.store, run.dataset, s.split))
    trial = Trial(run, taxonomy, prompt, sides)
    reports, models, adapter = learn(trial)

    chosen = reports[s.quantize.serve].calibration
    bundle = pack(run, models[s.quantize.serve], prompt, taxonomy, chosen, s.serve, run.dataset.synthetic)
    # the bundle in the real service: its answers to the gold calls, and its speed under load
    driven = benchmark(run, bundle, trial.splits, s.benchmark, s.serve, s.ports, run.home)
    served = ScoredSides(predictions={"gold": driven.served})
    reports["served"] = report(trial, served, "served", chosen, driven.speed)
    evidence = trial.evidence(bundle, reports, driven.speed, adapter)
    if reigning is not None and champion.covers(reigning, evidence):  # nothing new: it keeps its version and verdict
        verdict, version = reigning.verdict, reigning.version
    else:
        verdict = decide(trial, evidence, reigning)
        version = record(run.registry, run.candidate(bundle, verdict, reports, driven.speed))
    return Ending(
        dataset_id=run.dataset.id,
        bundle=bundle,
        verdict=verdict,
        version=version,
        reports=reports,
        speed=driven.speed,
        release=None,
        withheld=run.withheld(verdict, version.version),
    )


def learn(trial: Trial) -> tuple[dict[Hop, Report], dict[Form, Model], Adapter]:
    """Baseline, untuned base, adapter, merged model and every quantized form, each scored on the same gold calls."""
    run, s, splits, taxonomy = trial.run, trial.run.settings, trial.splits, trial.taxonomy
    reports: dict[Hop, Report] = {}
    models: dict[Form, Model] = {}

    def hop(name: Hop, subject: object, sides: tuple[Side, ...] = ("calibration", "gold")) -> None:
        how = (trial.prompt, taxonomy, trial.serve(name))
        scored = score(run, subject, name, splits, sides, *how, label=name)
        reports[name] = report(trial, scored, name)

    reports["baseline"] = report(trial, fit_baseline(run, splits, taxonomy, s.baseline), "baseline")
    hop("untuned", run.base, ("gold",))
    adapter = train(run, splits, run.base, trial.prompt, taxonomy, s.train)
    adapter = adapter.model_copy(update={"base": run.base})  # found, it names the folder where the base lay then
    hop("adapter", adapter)
    models["merged"] = merge(run, adapter)
    hop("merged", models["merged"])
    for form in s.quantize.forms:
        models[form] = smaller(trial, models["merged"], form)
        hop(form, models[form])
    return reports, models, adapter


def smaller(trial: Trial, merged: Model, form: Form) -> Model:
    """Another form of the merged model; AWQ's scales are learned from calls, by LMDeploy's interpreter."""
    if form != "awq":
        return quantize(trial.run, merged, form, label=form)
    python = Path(trial.run.settings.quantize.lmdeploy_python)
    return quantize_awq(trial.run, merged, trial.splits, trial.prompt, python)


def report(
    trial: Trial,
    scored: ScoredSides,
    label: str,
    calibration: Calibration | None = None,
    speed: Speed | None = None,
) -> Report:
    """A hop's report on gold, under its own calibration unless one is given."""
    run, s = trial.run, trial.run.settings
    how = How(calibrate=s.calibrate, gate=s.gate, calibration=calibration, speed=speed)
    return measure(run, scored.predictions, trial.splits, trial.taxonomy, how, run.dataset.synthetic, label=label)


def decide(trial: Trial, evidence: Evidence, reigning: Champion | None) -> Verdict:
    """The verdict, against the champion if there is one, which answers the same gold calls anew."""
    run, trusted = trial.run, trial.run.registry.trusted_key
    if reigning is None or reigning.bundle == evidence.bundle:  # nobody to beat, or itself under new thresholds
        return judge(run, evidence, trusted, run.home)
    its_own = run.settings.serve.model_copy(update={"engine": reigning.engine})
    how = (reigning.prompt, trial.taxonomy, its_own)
    scored = score(run, reigning.model, "served", trial.splits, ("gold",), *how, label="champion")
    answered = report(trial, scored, "champion", reigning.calibration)
    against = {"champion": answered, "champion_bundle": reigning.bundle.digest}
    return judge(run, evidence.model_copy(update=against), trusted, run.home)
