"""The complaint categories, what they cost, and the one-token code that stands for each in an answer."""

import hashlib
import unicodedata
from functools import cached_property
from pathlib import Path

import yaml
from pydantic import Field, ValidationError, model_validator

from data_contracts.errors import ModelLoadError, WrongRequest
from data_contracts.messages import told
from data_contracts.prompt import Encoder
from data_contracts.schema import Frozen

DEFAULT = Path(__file__).with_name("taxonomy.yaml")


class Category(Frozen):
    """One category. Costs are in the taxonomy's own money unit, per call."""

    key: str = Field(min_length=1)
    code: str = Field(min_length=1)
    name_zh: str = Field(min_length=1)
    definition: str = ""
    severity: int = Field(default=1, ge=0, le=5)
    cost_of_missing: float = Field(default=10.0, ge=0)
    cost_of_false_alarm: float = Field(default=4.0, ge=0)


class Taxonomy(Frozen):
    """An ordered set of categories; the order is the order of every probability vector."""

    name: str
    version: int = 1
    none_key: str
    categories: tuple[Category, ...] = Field(min_length=2, max_length=64)
    review_cost: float = Field(default=3.0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> "Taxonomy":
        for what in ("key", "code", "name_zh"):
            values = [getattr(c, what) for c in self.categories]
            twice = sorted({v for v in values if values.count(v) > 1})
            if twice:
                raise ValueError(f"{what} {twice[0]!r} stands for two categories; each must be unique")
            plain = [unicodedata.normalize("NFKC", v).strip() for v in values]
            alike = next((v for v, p in zip(values, plain, strict=True) if plain.count(p) > 1), None)
            if alike:
                raise ValueError(f"{what} {alike!r} looks like another category's, in full width or with a space more")
        if self.none_key not in self.keys:
            raise ValueError(f"none_key {self.none_key!r} is no category; allowed: {', '.join(self.keys)}")
        return self

    @cached_property
    def keys(self) -> tuple[str, ...]:
        return tuple(c.key for c in self.categories)

    @cached_property
    def index(self) -> dict[str, int]:
        return {key: i for i, key in enumerate(self.keys)}

    def __getitem__(self, key: str) -> Category:
        return self.categories[self.index[key]]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the taxonomy's canonical JSON."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def code_ids(self, encoder: Encoder) -> tuple[int, ...]:
        """The token id of each category's code with this tokenizer, in order.

        Raises:
            ModelLoadError: a code is not exactly one token, or two codes share one.
        """
        ids: list[int] = []
        for c in self.categories:
            tokens = encoder.text_ids(c.code)
            if len(tokens) != 1:
                raise ModelLoadError(
                    f"category {c.key!r}: code {c.code!r} is {len(tokens)} tokens with this model's tokenizer; "
                    "it must be exactly one. Choose another code in the taxonomy file (capital letters and digits work)"
                )
            if tokens[0] in ids:
                raise ModelLoadError(
                    f"category {c.key!r}: code {c.code!r} is the same token as another category's code"
                )
            ids.append(tokens[0])
        return tuple(ids)


def load(path: Path = DEFAULT) -> Taxonomy:
    """Read a taxonomy file.

    Raises:
        WrongRequest: missing, not YAML, or not a taxonomy; names the field.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Taxonomy.model_validate(raw)
    except FileNotFoundError as error:
        raise WrongRequest(told("taxonomy_missing", path=path)) from error
    except OSError as error:
        raise WrongRequest(told("taxonomy_unreadable", path=path, why=error.strerror)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise WrongRequest(told("taxonomy_not_yaml", path=path, why=error)) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"]) or "file"
        raise WrongRequest(told("taxonomy_wrong", path=path, where=where, why=first["msg"])) from error
