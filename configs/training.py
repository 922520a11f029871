"""Settings of how a model is made: prompt, baseline, fine-tuning, calibration, quantization."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from configs.section import Section, Share
from data_contracts.artifacts import Form
from data_contracts.schema import PLACE


class PromptSettings(Section):
    """What the prompt tells the model: the `codes` alone (a tuned model knows what they mean), with `names`, with
    `definitions` too."""

    tells: Literal["codes", "names", "definitions"] = "definitions"
    max_call_tokens: int = Field(default=1024, ge=16)
    head_share: Share = 0.6


class BaselineSettings(Section):
    """TF-IDF of character n-grams and logistic regression; `c` is the inverse regularisation strength."""

    max_ngram: int = Field(default=3, ge=1, le=6)
    max_features: int = Field(default=100_000, ge=1000)
    c: float = Field(default=10.0, gt=0)


class TrainSettings(Section):
    """LoRA fine-tuning. `batch_tokens` bounds a batch; `patience` counts epochs without a better validation macro-F1; with a
    `dropout` above 0 peft's own layers are used, half as fast on CPU.

    `processes` cut every batch between them, one a GPU where there are GPUs. It says how the work is spread, not what is
    learned, so it is left out wherever settings are written down or digested: a run may be continued with another number.
    """

    base_model: Annotated[str, PLACE] = "builtin:tiny"
    epochs: int = Field(default=3, ge=1, le=100)
    learning_rate: float = Field(default=2e-4, gt=0)
    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    batch_tokens: int = Field(default=8192, ge=256)
    warmup_share: Share = 0.1
    weight_decay: float = Field(default=0.0, ge=0)
    class_weight_power: float = Field(default=0.5, ge=0, le=1)
    patience: int = Field(default=2, ge=1)
    method: Literal["lora", "qlora"] = "lora"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    gradient_checkpointing: bool = False
    checkpoint_steps: int = Field(default=50, ge=1)
    processes: Annotated[int, PLACE] = Field(default=1, ge=1, le=64, exclude=True)
    seed: int = Field(default=7, ge=0, lt=2**31)


class CalibrateSettings(Section):
    """`threshold_from`: the cost table, or the lowest threshold that reaches `target_accuracy` on the automatic answers."""

    threshold_from: Literal["cost", "accuracy"] = "cost"
    target_accuracy: Share = 0.95


class QuantizeSettings(Section):
    """Forms made from the merged model, and the one that is served and gated. `awq` is made by LMDeploy, whose own environment's
    interpreter is `lmdeploy_python` (deploy/lmdeploy/requirements.txt says how to make one)."""

    forms: tuple[Form, ...] = ("int8", "gguf-q8_0")
    serve: Form = "int8"
    lmdeploy_python: Annotated[str, PLACE] = Field(default="", exclude=True)

    @model_validator(mode="after")
    def _served_form_is_made(self) -> "QuantizeSettings":
        if self.serve != "merged" and self.serve not in self.forms:
            raise ValueError(
                f"serve {self.serve!r} is not among forms {list(self.forms)}; add it there or serve 'merged'"
            )
        return self
