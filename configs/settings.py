"""Everything that can be set, by section; `sources` fills it. Unknown keys are refused, bounds and units are in the model."""

from typing import Literal

from pydantic import Field, model_validator

from configs.dataset import DataSettings, SplitSettings
from configs.places import MlflowSettings, PortSettings, StoreSettings
from configs.promotion import BenchmarkSettings, GateSettings
from configs.rollout import RolloutSettings
from configs.section import Section
from configs.serving import LogSettings, ServeSettings
from configs.training import BaselineSettings, CalibrateSettings, PromptSettings, QuantizeSettings, TrainSettings


class RetentionSettings(Section):
    """What `gc` keeps besides everything that is live, can come back or is cited: the newest versions and pipeline runs, and
    whatever is younger than `older_days`. Datasets, gold sets, splits, verdicts and their evidence are always kept."""

    keep_versions: int = Field(default=5, ge=1)
    keep_runs: int = Field(default=20, ge=1)
    older_days: float = Field(default=30.0, ge=0)


class Settings(Section):
    """Everything that can be set."""

    profile: str = "tiny"
    slot: Literal["classify", "generate"] = "classify"
    store: StoreSettings = StoreSettings()
    mlflow: MlflowSettings = MlflowSettings()
    ports: PortSettings = PortSettings()
    data: DataSettings = DataSettings()
    split: SplitSettings = SplitSettings()
    prompt: PromptSettings = PromptSettings()
    baseline: BaselineSettings = BaselineSettings()
    train: TrainSettings = TrainSettings()
    calibrate: CalibrateSettings = CalibrateSettings()
    quantize: QuantizeSettings = QuantizeSettings()
    benchmark: BenchmarkSettings = BenchmarkSettings()
    gate: GateSettings = GateSettings()
    serve: ServeSettings = ServeSettings()
    rollout: RolloutSettings = RolloutSettings()
    retention: RetentionSettings = RetentionSettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _has_a_port_for_tls(self) -> "Settings":
        tls = self.rollout.server.tls
        if tls is not None and tls.port == self.ports.service:
            raise ValueError(
                f"rollout.server.tls.port is {tls.port}, and so is ports.service, which has no TLS; change one of them"
            )
        return self
