from dataclasses import replace
from typing import Any

import pytest

from vae_core.config import Config, ModelConfig, ObjectiveConfig, ScheduleConfig
from vae_core.steering import STEERABLE, Change, differences, steered

PLAIN = Config(model=ModelConfig(widths=(16,)), schedule=ScheduleConfig(epochs=4))
OTHERS: dict[str, Any] = {
    "learning_rate": 5e-4,
    "epochs": 9,
    "beta": 0.5,
    "draws": 3,
    "estimator": "pathwise",
}


def test_every_setting_that_can_change_is_tried() -> None:
    assert set(OTHERS) == set(STEERABLE)


@pytest.mark.parametrize(("name", "value"), OTHERS.items())
def test_one_setting_changes_and_nothing_else(name: str, value: object) -> None:
    after = steered(PLAIN, {name: value})
    assert getattr(getattr(after, STEERABLE[name]), name) == value
    assert differences(PLAIN, after) == {name: value}
    assert steered(after, differences(after, PLAIN)) == PLAIN


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"seed": 1}, "seed cannot change while a run trains"),
        ({"latent": 3, "widths": [4]}, "latent, widths cannot change"),
        ({"beta": -1.0}, "β is -1.0"),
        ({"learning_rate": float("nan")}, "Learning rate is nan"),
        ({"estimator": "score_function_loo"}, "Draws is 1, but the estimator"),
        ({"epochs": 0}, "Epochs is 0"),
    ],
)
def test_what_cannot_change_is_refused_with_a_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        steered(PLAIN, settings)


def test_recipes_that_differ_in_more_are_refused() -> None:
    other = replace(PLAIN, seed=7, objective=ObjectiveConfig(beta=2.0))
    with pytest.raises(ValueError, match="the recipes differ in more than"):
        differences(PLAIN, other)


def test_a_change_survives_being_written() -> None:
    change = Change(17, OTHERS)
    assert Change.from_json(change.to_json()) == change


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"step": "x", "settings": {}}', '{"step": 1}', "\0"])
def test_what_is_no_change_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Change.from_json(text)
