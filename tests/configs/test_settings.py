"""Settings: every checked-in file loads, what is unknown is refused, later sources win."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from configs.settings import Settings
from configs.sources import HERE, OVERLAYS, PROFILES, home, known_keys, load
from data_contracts.errors import ConfigurationError

NOWHERE = {"TINGSU_HOME": "/nowhere"}


def test_every_checked_in_file_is_a_profile_or_an_overlay() -> None:
    assert {file.stem for file in HERE.glob("*.yaml")} == {"base", *PROFILES, *OVERLAYS}


@pytest.mark.parametrize("overlays", [(), OVERLAYS])
@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_loads_alone_and_with_every_overlay(profile: str, overlays: tuple[str, ...]) -> None:
    assert load(profile, overlays, env=NOWHERE).profile == profile


@pytest.mark.parametrize(
    ("sets", "named"),
    [
        (["train.epoch=3"], "train.epochs"),
        (["gate.resample=300"], "gate.resamples"),
        (["trian.epochs=3"], "train"),
    ],
)
def test_an_unknown_key_is_refused_and_the_nearest_known_one_named(sets: list[str], named: str) -> None:
    with pytest.raises(ConfigurationError, match="unknown") as refused:
        load(sets=sets, env=NOWHERE)

    assert named in str(refused.value)


def test_an_unknown_profile_is_refused_and_the_nearest_known_one_named() -> None:
    with pytest.raises(ConfigurationError, match=r"did you mean 'qwen3-0\.6b'"):
        load("qwen3-06b", env=NOWHERE)


def test_an_unknown_overlay_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match="production"):
        load(overlays=["produktion"], env=NOWHERE)


@pytest.mark.parametrize(
    "item", ["train.epochs", "train.epochs=[1", "train.epochs=0", "train.epochs=many", "train.epochs.x=1"]
)
def test_a_wrong_set_is_refused_with_its_key(item: str) -> None:
    with pytest.raises(ConfigurationError, match=r"train\.epochs"):
        load(sets=[item], env=NOWHERE)


def test_a_homes_own_file_names_its_profile_and_settings_and_the_command_line_wins(tmp_path: Path) -> None:
    env = {"TINGSU_HOME": str(tmp_path)}
    (tmp_path / "settings.yaml").write_text("profile: qwen3-0.6b\ntrain: {epochs: 5}\n", encoding="utf-8")

    assert (load(env=env).profile, load(env=env).train.epochs) == ("qwen3-0.6b", 5)
    assert load("tiny", env=env).profile == "tiny"
    assert load(sets=["train.epochs=7"], env=env).train.epochs == 7


@pytest.mark.parametrize("text", ["profile: qwen3", "train: {epoch: 3}", "[1", "- 1", "profile: [tiny]"])
def test_a_wrong_home_file_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(text, encoding="utf-8")

    with pytest.raises(ConfigurationError, match=r"settings\.yaml|profile|train\.epoch"):
        load(env={"TINGSU_HOME": str(tmp_path)})


FAMILIES = "data:\n  min_chars: 6\n  families:\n    hotline: {min_chars: 2, severities: {no_agent: reject}}\n    mail: {min_cjk_share: 0}\n"


def test_a_family_has_thresholds_of_its_own_and_the_command_line_wins(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(FAMILIES, encoding="utf-8")
    env = {"TINGSU_HOME": str(tmp_path)}
    other, own = load(env=env).data, load(env=env, sets=["data.family=hotline"]).data
    by_hand = load(env={**env, "TINGSU_DATA__FAMILY": "hotline"}, sets=["data.min_chars=3"]).data

    assert (other.min_chars, other.severities) == (6, {})
    assert (own.min_chars, own.severities, own.min_cjk_share) == (2, {"no_agent": "reject"}, 0.2)
    assert by_hand.min_chars == 3


@pytest.mark.parametrize(
    ("families", "named"),
    [
        ("{hotline: {min_char: 2}}", "data.min_char"),
        ("{Hot Line: {}}", "Hot Line"),
        ("{hotline: 3}", "a section for each"),
    ],
)
def test_a_wrong_section_of_any_family_is_refused(families: str, named: str, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(f"data: {{families: {families}}}", encoding="utf-8")

    with pytest.raises(ConfigurationError, match=named):
        load(env={"TINGSU_HOME": str(tmp_path)})


def test_later_sources_win() -> None:
    base, env = load(env=NOWHERE).train.epochs, {"TINGSU_TRAIN__EPOCHS": "41"}

    assert base not in (41, 42)
    assert load(env=env).train.epochs == 41
    assert load(env=env, sets=["train.epochs=42"]).train.epochs == 42


def test_an_unknown_environment_override_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"train\.epochs"):
        load(env={"TINGSU_TRAIN__EPOCH": "3"})


def test_model_path_and_log_level_are_read_from_the_environment() -> None:
    settings = load(env={"MODEL_PATH": "/models/a", "LOG_LEVEL": "DEBUG"})

    assert settings.serve.model_path == "/models/a"
    assert settings.log.level == "DEBUG"


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load(env=NOWHERE).train.epochs = 9  # type: ignore[misc]


def test_a_served_form_that_is_not_made_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="not among forms"):
        load(sets=["quantize.serve=int8", "quantize.forms=[gguf-q8_0]"], env=NOWHERE)


def test_a_bound_has_exactly_one_kind() -> None:
    with pytest.raises(ConfigurationError, match="exactly one"):
        load(sets=["gate.bounds=[{metric: macro_f1, at_least: 0.8, margin: 0.1}]"], env=NOWHERE)


def test_resolved_settings_survive_being_stored() -> None:
    settings = load("qwen3-0.6b", OVERLAYS, env=NOWHERE)

    assert Settings.model_validate_json(settings.model_dump_json()) == settings


def test_every_known_key_can_be_set_to_its_own_value() -> None:
    settings = load(env=NOWHERE)

    for key in known_keys():
        value: object = settings
        for name in key.split("."):
            value = getattr(value, name)
        if isinstance(value, int | float | None):
            assert load(sets=[f"{key}={'null' if value is None else value}"], env=NOWHERE) == settings


@given(st.floats(min_value=0, max_value=1, allow_nan=False, width=16))
def test_numbers_arrive_as_written(share: float) -> None:
    assert load(sets=[f"train.warmup_share={share:f}"], env=NOWHERE).train.warmup_share == float(f"{share:f}")


def test_home_is_the_variable_or_the_users_own() -> None:
    assert home({"TINGSU_HOME": "/srv/tingsu"}) == Path("/srv/tingsu")
    assert home({}) == Path.home() / ".local/share/tingsu"
    assert home({"TINGSU_HOME": ""}) == home({})
