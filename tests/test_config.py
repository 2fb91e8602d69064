import json
import re
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from typing import Any

import pytest

from vae_core.config import FORMAT, Config, ModelConfig, ObjectiveConfig, ScheduleConfig
from vae_core.defaults import RECIPES, recipe

OTHER = Config(
    "mnist",
    ModelConfig(
        "conv",
        (3, 5),
        "relu",
        1,
        "gaussian_fixed",
        "full_gaussian",
        "gaussian",
        below=(9, 4),
        inner_widths=(6,),
        sigma=0.25,
        components=17,
        prior_mean=(0.5,),
        prior_covariance=(2.0,),
    ),
    ObjectiveConfig("renyi", "pathwise", 3, 0.5, 2, alpha=0.3, free_nats=1.5),
    ScheduleConfig("sgd", 1e-5, "cosine", 17, 9),
    seed=2**62,
    device="cuda:1",
)


def leaves(value: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, inner in value.items():
        yield from leaves(inner, (*path, name)) if isinstance(inner, dict) else [(*path, name)]


LEAVES = list(leaves(asdict(OTHER)))
SECTIONS = [(), ("model",), ("objective",), ("schedule",)]


def edited(path: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A config as JSON sees it, and the part of it that holds the last word of the path."""
    whole = json.loads(OTHER.to_json())
    part = whole
    for name in path[:-1]:
        part = part[name]
    return whole, part


@pytest.mark.parametrize("config", [OTHER, Config(), *RECIPES.values()], ids=lambda c: f"{c.dataset} {c.seed}")
def test_json_and_back(config: Config) -> None:
    assert Config.from_json(config.to_json()) == config


def test_every_field_is_tried() -> None:
    """A field that JSON lost would come back as its default."""
    parts = [(OTHER, Config())]
    parts += [(getattr(OTHER, name), getattr(Config(), name)) for name in ("model", "objective", "schedule")]
    for ours, default in parts:
        assert all(getattr(ours, f.name) != getattr(default, f.name) for f in fields(ours))


def test_json_is_what_hubs_and_people_read() -> None:
    assert json.loads(OTHER.to_json())["model"]["widths"] == [3, 5]
    assert OTHER.to_json().endswith("}\n")


def test_a_config_says_its_format_and_needs_not() -> None:
    whole = json.loads(OTHER.to_json())
    assert whole.pop("format") == FORMAT == 1
    assert Config.from_json(json.dumps(whole)) == OTHER


@pytest.mark.parametrize("number", [2, 10**30])
def test_a_newer_format_is_refused(number: int) -> None:
    whole = json.loads(OTHER.to_json()) | {"format": number, "colour": "red"}
    with pytest.raises(ValueError, match=r"^config was written by a newer version of this app; update the app to read"):
        Config.from_json(json.dumps(whole))


@pytest.mark.parametrize("number", ["2", None, 1.5, True, [1]])
def test_what_is_no_format(number: object) -> None:
    whole = json.loads(OTHER.to_json()) | {"format": number}
    with pytest.raises(ValueError, match=r"^config\.format must be of type int; got"):
        Config.from_json(json.dumps(whole))


@pytest.mark.parametrize("path", LEAVES, ids=".".join)
def test_a_missing_key_is_named(path: tuple[str, ...]) -> None:
    whole, part = edited(path)
    del part[path[-1]]
    where = ".".join(("config", *path[:-1]))
    with pytest.raises(ValueError, match=rf"^{where} has unknown keys \[\] and lacks \['{path[-1]}'\]"):
        Config.from_json(json.dumps(whole))


@pytest.mark.parametrize("section", SECTIONS, ids=str)
def test_an_unknown_key_is_named(section: tuple[str, ...]) -> None:
    whole, part = edited((*section, "colour"))
    part["colour"] = "red"
    with pytest.raises(ValueError, match=rf"^{'.'.join(('config', *section))} has unknown keys \['colour'\]"):
        Config.from_json(json.dumps(whole))


def fits(path: tuple[str, ...], value: object) -> bool:
    kind = type(edited(path)[1][path[-1]])
    return type(value) is kind or (kind is float and type(value) is int)


WRONG = [
    (path, value) for path in LEAVES for value in (None, True, {}, [["x"]], "word", 1.5, 3) if not fits(path, value)
]


@pytest.mark.parametrize(("path", "wrong"), WRONG, ids=str)
def test_a_wrong_type_is_named(path: tuple[str, ...], wrong: object) -> None:
    whole, part = edited(path)
    part[path[-1]] = wrong
    with pytest.raises(ValueError, match=rf"^config\.{'.'.join(path)} must be .*; got {re.escape(repr(wrong))}"):
        Config.from_json(json.dumps(whole))


@pytest.mark.parametrize("section", SECTIONS[1:], ids=str)
def test_a_section_must_be_an_object(section: tuple[str, ...]) -> None:
    whole, part = edited(section)
    part[section[-1]] = [1]
    with pytest.raises(ValueError, match=rf"^config\.{section[0]} must be an object; got \[1\]"):
        Config.from_json(json.dumps(whole))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("widths", "int"),
        ("below", "int"),
        ("inner_widths", "int"),
        ("prior_mean", "float"),
        ("prior_covariance", "float"),
    ],
)
def test_a_number_of_the_wrong_type_is_named(name: str, kind: str) -> None:
    whole, part = edited(("model", name))
    part[name] = [8, "9"]
    with pytest.raises(ValueError, match=rf"config\.model\.{name} must be of type {kind}; got '9'"):
        Config.from_json(json.dumps(whole))


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '{"seed": 1', "[" * 100_000, "1" * 5_000])
def test_what_is_no_config(text: str) -> None:
    with pytest.raises(ValueError, match=r"^config (is not JSON|must be an object)"):
        Config.from_json(text)


def test_whole_numbers_serve_where_fractions_do() -> None:
    whole, part = edited(("schedule", "learning_rate"))
    part["learning_rate"] = 1
    rate = Config.from_json(json.dumps(whole)).schedule.learning_rate
    assert rate == 1.0
    assert isinstance(rate, float)


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_for_another_latent_dimension(name: str) -> None:
    assert recipe(name) == RECIPES[name]
    assert RECIPES[name].dataset == name
    changed = recipe(name, 17)
    assert changed.model.latent == 17
    assert replace(changed, model=RECIPES[name].model) == RECIPES[name]
