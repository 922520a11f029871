"""What every group of settings is made of: a frozen model, and the ranges several of them name."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Tokens = Annotated[int, Field(ge=1)]
Port = Annotated[int, Field(ge=1, le=65535)]


class Section(BaseModel):
    """A group of settings; frozen, unknown keys refused, and numbers that are none (nan, inf)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
