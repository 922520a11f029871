"""The steps of the pipeline as Prefect tasks: what each returns, and the policy it runs under."""

import flows.release
import tasks.awq
import tasks.baseline
import tasks.benchmark
import tasks.judge
import tasks.measure
import tasks.merge
import tasks.pack
import tasks.quantize
import tasks.registry
import tasks.score
import tasks.split
import tasks.train
from data_contracts.artifacts import Adapter, BundleRef, Model, Report, Splits, Verdict
from flows.stage import once, stage
from tasks.benchmark import Benchmarked
from tasks.score import ScoredSides

split = stage(tasks.split.split, Splits)
fit_baseline = stage(tasks.baseline.fit, ScoredSides)
train = stage(tasks.train.fit, Adapter, tags=["gpu"])  # not retried: same data, same crash
merge = stage(tasks.merge.merge, Model)
quantize = stage(tasks.quantize.quantize, Model)
quantize_awq = stage(tasks.awq.quantize, Model)
score = stage(tasks.score.score, ScoredSides)
measure = stage(tasks.measure.measure, Report)
pack = stage(tasks.pack.pack, BundleRef)
benchmark = stage(tasks.benchmark.benchmark, Benchmarked)
judge = stage(tasks.judge.judge, Verdict)
record = once(tasks.registry.record, "record", retries=3, retry_delay_seconds=[2, 10, 30])  # MLflow may be restarting
release = once(flows.release.attempt, "release")
