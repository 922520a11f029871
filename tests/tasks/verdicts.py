"""Values the registry tests share: a verdict with one bound."""

from data_contracts.artifacts import BoundResult, Verdict


def bound(**changes: object) -> BoundResult:
    values: dict[str, object] = {
        "metric": "macro_f1",
        "kind": "at_least",
        "bound": 0.75,
        "relative": False,
        "binding": True,
        "value": 0.83,
        "low": 0.8,
        "high": 0.86,
        "champion": None,
        "decision": "PROMOTE",
        "calls_to_decide": None,
        "sentence_en": "macro_f1 0.830 [0.800, 0.860] is at least 0.75",
        "sentence_zh": "宏平均F1 0.830 不低于 0.75",
    }
    return BoundResult.model_validate({**values, **changes})


def verdict(bundle: str = "b" * 64, **changes: object) -> Verdict:
    values: dict[str, object] = {
        "decision": "PROMOTE",
        "bundle_digest": bundle,
        "dataset_id": "d" * 64,
        "gold_digest": "g" * 64,
        "taxonomy_digest": "t" * 64,
        "prompt_digest": "p" * 64,
        "report_digest": "r" * 64,
        "thresholds_digest": "h" * 64,
        "champion_bundle": None,
        "engine": "transformers",
        "quantization": "int8",
        "profile": "tiny",
        "synthetic": True,
        "gold_looks": 1,
        "bounds": (bound(),),
        "created_at": "2026-11-22T00:00:00+00:00",
    }
    return Verdict.model_validate({**values, **changes})
