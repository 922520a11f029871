"""The steps of the pipeline as Prefect tasks: what each returns, and the policy it runs under."""

from data_contracts.artifacts import Adapter, BundleRef, Model, Report, Splits, Verdict
from flows import release
from flows.stage import once, stage
from tasks import awq, baseline, benchmark, judge, measure, merge, pack, quantize, registry, score, split, train
from tasks.benchmark import Benchmarked
from tasks.score import ScoredSides

divide = stage(split.split, Splits)
fit_baseline = stage(baseline.fit, ScoredSides)
fit = stage(train.fit, Adapter, tags=["gpu"])  # not retried: same data, same crash
fuse = stage(merge.merge, Model)
shrink = stage(quantize.quantize, Model)
squeeze = stage(awq.quantize, Model)
answer = stage(score.score, ScoredSides)
assess = stage(measure.measure, Report)
bind = stage(pack.pack, BundleRef)
drive = stage(benchmark.benchmark, Benchmarked)
decide = stage(judge.judge, Verdict)
record = once(registry.record, "record", retries=3, retry_delay_seconds=[2, 10, 30])  # MLflow may be restarting
go_live = once(release.promote, "release")
