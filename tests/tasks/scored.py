"""Splits and predictions in a small real store, with a known share of right answers."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from configs.promotion import Bound, GateSettings
from data_contracts.artifacts import SIDES, BundleRef, Calibration, Hop, Predictions, Report, Side, Speed, Splits
from data_contracts.taxonomy import Category, Taxonomy
from deploy.calibration import identity
from deploy.store import FolderStore, sha256_file
from tasks.answered import Answers, costs
from tasks.evaluate import evaluate
from tasks.gate import Evidence

TAXONOMY = Taxonomy(
    name="four",
    none_key="none",
    review_cost=3.0,
    categories=(
        Category(key="billing", code="A", name_zh="计费", severity=2, cost_of_missing=20, cost_of_false_alarm=4),
        Category(key="network", code="B", name_zh="网络", severity=2, cost_of_missing=20, cost_of_false_alarm=4),
        Category(key="regulator", code="C", name_zh="监管", severity=5, cost_of_missing=200, cost_of_false_alarm=10),
        Category(key="none", code="D", name_zh="非投诉", severity=0, cost_of_missing=2, cost_of_false_alarm=0),
    ),
)
SHARES = (0.4, 0.25, 0.1, 0.25)
SPEED = Speed(
    requests=100,
    failures=0,
    rate_requested_qps=5,
    qps=5,
    p50_ms=30,
    p95_ms=80,
    p99_ms=120,
    mean_ms=35,
    error_share=0.0,
    load_time_s=2,
    memory_mb=400,
    histogram=((25.0, 30), (50.0, 50), (100.0, 15), (200.0, 5)),
    engine="transformers",
    machine={},
)


ABSOLUTE = (
    Bound(metric="macro_f1", at_least=0.75),
    Bound(metric="top_severity_recall_share", at_least=0.5),
    Bound(metric="calibration_error_share", at_most=0.2),
    Bound(metric="quantization_loss_f1", at_most=0.05),
    Bound(metric="p95_ms", at_most=1000),
    Bound(metric="error_share", at_most=0.0),
)


class Scored:
    """A store with splits of `rows` gold calls, two a customer, and as many on every other side."""

    def __init__(self, root: Path, rows: int = 400, seed: int = 0) -> None:
        self.store = FolderStore(root)
        self.rows = rows
        rng = np.random.default_rng(seed)
        self.truth = {side: rng.choice(4, p=SHARES, size=rows) for side in SIDES}
        self.splits = Splits(
            key="splits", dataset_id="d" * 64, family="f", counts=dict.fromkeys(SIDES, rows), gold_digest="g" * 64
        )
        for side in SIDES:
            self.write_side(side)

    def write_side(self, side: Side, **columns: Any) -> None:
        keys = [TAXONOMY.keys[i] for i in self.truth[side]]
        plain: dict[str, Any] = {
            "conversation_id": [f"{side}-{i}" for i in range(self.rows)],
            "group": self.groups(side),
            "input_text": [f"{side} {i} " + "话" * (i % 40) for i in range(self.rows)],
            "complaint_category": keys,
            "channel": ["phone" if i % 3 else None for i in range(self.rows)],
            "region": ["north" if i % 2 else "south" for i in range(self.rows)],
        }
        path = self.store.root / self.splits.file(side)
        path.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame({**plain, **columns}).write_parquet(path)

    def long_texts(self) -> None:
        """Calls of 120 random characters on every side."""
        rng = np.random.default_rng(4)
        for side in SIDES:
            codes = rng.integers(0x4E00, 0x9000, (self.rows, 120))
            self.write_side(side, input_text=["".join(map(chr, row)) for row in codes.tolist()])

    def trained_on(self) -> dict[Side, str]:
        sides: tuple[Side, ...] = ("train", "validation")
        return {side: sha256_file(self.store.root / self.splits.file(side)) for side in sides}

    def groups(self, side: Side) -> list[str]:
        return [f"{side}-g{i // 2}" for i in range(self.rows)]

    def predict(
        self, right: float, hop: Hop = "served", side: Side = "gold", seed: int = 1, sure: float = 3.0
    ) -> Predictions:
        """Predictions of which about `right` are right, confidence grows with `sure`; equal seeds share luck."""
        rng = np.random.default_rng(seed)
        truth = self.truth[side]
        luck, other = rng.random(self.rows), (truth + rng.integers(1, 4, self.rows)) % 4
        answer = np.where(luck < right, truth, other)
        scores = rng.normal(0, 0.7, (self.rows, 4))
        scores[np.arange(self.rows), answer] = scores.max(axis=1) + np.abs(rng.normal(sure, 1, self.rows)) * (
            0.3 + (luck < right)
        )
        return self.keep(f"predictions/{hop}-{side}-{right}-{seed}-{sure}", hop, side, scores)

    def keep(self, key: str, hop: Hop, side: Side, scores: np.ndarray) -> Predictions:
        logprobs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        frame = pl.DataFrame(
            {
                "conversation_id": [f"{side}-{i}" for i in range(self.rows)],
                "group": self.groups(side),
                "category": [TAXONOMY.keys[i] for i in self.truth[side]],
                "logprobs": logprobs.tolist(),
                "label_mass": np.ones(self.rows),
                "tokens": [100] * self.rows,
                "truncated": [False] * self.rows,
            }
        )
        path = self.store.root / f"{key}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(path)
        return Predictions(
            key=f"{key}.parquet",
            hop=hop,
            side=side,
            rows=self.rows,
            rows_digest="r" * 64,
            taxonomy_digest=TAXONOMY.digest,
            seconds=1.0,
            tokens=100 * self.rows,
        )

    def report(
        self, right: float, hop: Hop = "served", seed: int = 1, calibration: Calibration | None = None
    ) -> Report:
        chosen = calibration or identity(4)
        predictions = self.predict(right, hop, seed=seed)
        return evaluate(predictions, chosen, self.splits, TAXONOMY, 300, 5, self.store, True)


def random_answers(rows: int, seed: int, right: float = 0.8) -> Answers:
    """Random answers, two a customer, about `right` of them right."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, rows)
    predicted = np.where(rng.random(rows) < right, truth, rng.integers(0, 4, rows))
    p = rng.dirichlet(np.ones(4), rows)
    top = p.argmax(axis=1)
    p[np.arange(rows), top], p[np.arange(rows), predicted] = p[np.arange(rows), predicted], p[np.arange(rows), top]
    is_auto = p.max(axis=1) > 0.5
    return Answers(
        ids=tuple(map(str, range(rows))),
        groups=(np.arange(rows) // 2).astype(str),
        truth=truth,
        predicted=predicted,
        probabilities=p,
        confidence=p.max(axis=1),
        is_auto=is_auto,
        cost=costs(truth, predicted, is_auto, TAXONOMY),
        label_mass=np.ones(rows),
        truncated=np.zeros(rows, bool),
    )


def evidence_of(scored: Scored, right: float, **changes: Any) -> Evidence:
    """Evidence on a candidate of which about `right` answers are right."""
    reports = {
        "served": scored.report(right),
        "merged": scored.report(right, "merged"),
        "baseline": scored.report(0.8, "baseline"),
    }
    plain: dict[str, Any] = {
        "taxonomy": TAXONOMY,
        "splits": scored.splits,
        "settings": asking(*ABSOLUTE),
        "profile": "qwen3-0.6b",
        "bundle": BundleRef(digest="b" * 64, key="bundles/b", synthetic=True),
        "prompt_digest": "p" * 64,
        "engine": "transformers",
        "quantization": "int8",
        "reports": reports,
        "speed": SPEED,
        "adapter": "a" * 64,
        "trained_on": scored.trained_on(),
    }
    return Evidence(**{**plain, **changes})


def asking(*asked: Bound, improve: str | None = None) -> GateSettings:
    """Gate settings with these bounds."""
    return GateSettings(bounds=asked, improve=improve, resamples=500)
