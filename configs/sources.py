"""Where the settings come from: base.yaml, a profile, the home's own settings.yaml, overlays, the environment and `--set`."""

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from configs.dataset import DataSettings
from configs.section import Section
from configs.settings import Settings
from data_contracts.errors import ConfigurationError

HERE = Path(__file__).parent
PROFILES = ("tiny", "qwen3-0.6b", "qwen3-1.7b", "qwen3-4b-thinking")
OVERLAYS = ("production",)
OWN = "settings.yaml"
PREFIX = "TINGSU_"
ALIASES = {"MODEL_PATH": "serve.model_path", "LOG_LEVEL": "log.level"}


def load(
    profile: str | None = None,
    overlays: Sequence[str] = (),
    sets: Sequence[str] = (),
    env: Mapping[str, str] = os.environ,
) -> Settings:
    """Resolve the settings: base.yaml, the profile, the home's `settings.yaml`, overlays, environment, then `a.b=c`.

    Args:
        profile: if left out, the one that the home's `settings.yaml` names, else `tiny`.
        env: with settings such as `TINGSU_TRAIN__EPOCHS=3`.

    Raises:
        ConfigurationError: unknown profile, key or value; an unknown key comes with the nearest known one.
    """
    own = _own(home(env) / OWN)
    named = own.pop("profile", None)
    profile = profile or named or "tiny"
    if profile not in PROFILES:
        raise ConfigurationError(
            f"profile {profile!r} is unknown; allowed: {', '.join(PROFILES)}{_nearest(str(profile), PROFILES)}"
        )
    tree: dict[str, Any] = {}
    for part in (_read("base"), _read(profile), own, *map(_read, overlays)):
        _merge(tree, part)
    pairs = [*_from_environment(env), *(_pair(item) for item in sets)]
    _merge_family(tree, dict(pairs).get("data.family"))
    for key, value in pairs:
        _put(tree, key, value)
    tree["profile"] = profile
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise ConfigurationError(_explain(error)) from error


def home(env: Mapping[str, str] = os.environ) -> Path:
    """Where state lives: `$TINGSU_HOME`, else `~/.local/share/tingsu`."""
    return Path(env.get("TINGSU_HOME") or Path.home() / ".local/share/tingsu").expanduser().absolute()


def _read(name: str) -> dict[str, Any]:
    path = HERE / f"{name}.yaml"
    if not path.is_file():
        raise ConfigurationError(f"overlay {name!r} is unknown; allowed: {', '.join(OVERLAYS)}")
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def _own(path: Path) -> dict[str, Any]:
    """What this home's classifier is made with, whatever command asks; nothing if the file is not there."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path} cannot be read as YAML: {str(error).splitlines()[0]}") from error
    if tree is not None and not isinstance(tree, dict):
        raise ConfigurationError(f"{path} holds {type(tree).__name__}; it needs sections, as configs/base.yaml has")
    return tree or {}


def _merge(into: dict[str, Any], tree: Mapping[str, Any]) -> None:
    for key, value in tree.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _merge_family(tree: dict[str, Any], asked: object) -> None:
    """What `data.families` says of the family there is, into the section `data`; what it says of others is only looked at."""
    data = tree.get("data")
    families = data.pop("families", None) or {} if isinstance(data, dict) else {}
    if not isinstance(families, dict) or not all(isinstance(own, dict) for own in families.values()):
        raise ConfigurationError(
            "setting 'data.families' needs a section for each family, e.g. hotline: {min_chars: 2}"
        )
    for name, own in families.items():
        try:
            DataSettings.model_validate({**own, "family": name})
        except ValidationError as error:
            raise ConfigurationError(f"data.families.{name}: {_explain(error, 'data.')}") from error
    family = asked or (data or {}).get("family") or DataSettings().family
    if family in families and isinstance(data, dict):
        _merge(data, families[family])


def _from_environment(env: Mapping[str, str]) -> list[tuple[str, Any]]:
    own = [
        (k[len(PREFIX) :].lower().replace("__", "."), v)
        for k, v in sorted(env.items())
        if k.startswith(PREFIX) and "__" in k
    ]
    named = [(key, env[name]) for name, key in ALIASES.items() if env.get(name)]
    pairs = [_pair(f"{key}={value}") for key, value in [*named, *own]]
    return [(key, value.upper() if key == "log.level" else value) for key, value in pairs]


def _pair(item: str) -> tuple[str, Any]:
    key, equals, value = item.partition("=")
    if not equals:
        raise ConfigurationError(f"--set {item!r} has no '='; write it as section.key=value, e.g. train.epochs=3")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"--set {item!r}: the value is not YAML") from error


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for name in sections:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise ConfigurationError(f"setting {key!r}: {name!r} is a value, not a section")
    tree[last] = value


def known_keys(model: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    """Every settable key, dotted."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            keys += known_keys(kind, f"{prefix}{name}.")
        else:
            keys.append(prefix + name)
    return keys


def _nearest(key: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _explain(error: ValidationError, section: str = "") -> str:
    lines = []
    for item in error.errors():
        key = section + ".".join(str(p) for p in item["loc"])
        if item["type"] == "extra_forbidden":
            lines.append(f"setting {key!r} is unknown{_nearest(key, known_keys()) or '; see configs/base.yaml'}")
        else:
            lines.append(f"setting {key!r} = {item['input']!r}: {item['msg']}")
    return "; ".join(lines)
