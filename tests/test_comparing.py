import math
from dataclasses import replace

import pytest
import torch
from scipy import stats

from vae_core.comparing import best_of, config_differences, mean_and_error
from vae_core.config import Config, ModelConfig, ScheduleConfig

TRIALS = 200


def test_recipes_that_are_the_same_do_not_differ() -> None:
    assert config_differences(Config(), Config()) == []


def test_differences_are_named_with_both_values() -> None:
    other = Config("mnist", ModelConfig(latent=7, widths=(3, 4)), schedule=ScheduleConfig(epochs=9), seed=5)
    assert config_differences(Config(), other) == [
        ("dataset", "digits", "mnist"),
        ("model.widths", (512, 256, 128), (3, 4)),
        ("model.latent", 2, 7),
        ("schedule.epochs", 40, 9),
        ("seed", 0, 5),
    ]
    assert config_differences(other, replace(other, seed=6)) == [("seed", 5, 6)]


def test_groups_are_in_the_order_of_their_best(generator: torch.Generator) -> None:
    groups = {"a": [-101.0, -99.0, -100.0], "b": [-98.0], "c": [-100.0, -97.0]}
    rows = best_of(groups, generator=generator)
    assert [(row.name, row.runs, row.best, row.mean) for row in rows] == [
        ("c", 2, -97.0, -98.5),
        ("b", 1, -98.0, -98.0),
        ("a", 3, -99.0, -100.0),
    ]
    assert (rows[1].best_interval, rows[1].mean_interval) == (None, None)
    for row in (rows[0], rows[2]):
        assert row.best_interval
        assert row.mean_interval
        assert row.mean_interval[0] < row.mean < row.mean_interval[1]
        assert row.best_interval[0] < row.best < row.best_interval[1]


def test_the_standard_error_of_one_run_is_not_known() -> None:
    mean, error = mean_and_error([1.0, 2.0, 6.0])
    assert (mean, error) == (3.0, pytest.approx((7 / 3) ** 0.5))
    assert math.isnan(mean_and_error([5.0])[1])


def test_equal_runs_leave_nothing_open(generator: torch.Generator) -> None:
    (row,) = best_of({"a": [-3.0] * 4}, generator=generator)
    assert row.best_interval == row.mean_interval == (-3.0, -3.0)


def test_intervals_move_and_grow_with_the_numbers(generator: torch.Generator) -> None:
    values = [0.3, -1.2, 0.8, 2.0, -0.1]
    state = generator.get_state()
    (row,) = best_of({"a": values}, generator=generator)
    (other,) = best_of({"a": [5 + 3 * value for value in values]}, generator=generator.set_state(state))
    assert other.best_interval == pytest.approx([5 + 3 * end for end in row.best_interval or ()])
    assert other.mean_interval == pytest.approx([5 + 3 * end for end in row.mean_interval or ()])


def test_the_interval_of_the_mean_of_many_runs_is_that_of_the_textbook(generator: torch.Generator) -> None:
    values = torch.randn(200, generator=generator, dtype=torch.float64)
    (row,) = best_of({"a": values.tolist()}, generator=generator)
    half = stats.t.ppf(0.975, 199) * values.std().item() / math.sqrt(200)
    # each end is an order statistic of 4,000 draws, with a standard error of 0.04 standard errors of the mean
    expected = [values.mean().item() - half, values.mean().item() + half]
    assert row.mean_interval == pytest.approx(expected, abs=4 * 0.042 * values.std().item() / math.sqrt(200))


def expected_best(count: int) -> float:
    """Of standard normal draws, by quadrature."""
    x = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    density = count * torch.special.ndtr(x) ** (count - 1) * torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)
    return torch.trapezoid(x * density, x).item()


@pytest.mark.parametrize(("count", "coverage"), [(3, 0.84), (8, 0.9)])
def test_intervals_hold_the_truth_as_often_as_they_say(
    count: int, coverage: float, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Normal runs: 95 % of the intervals hold mean and expected best; with three runs, of which no bootstrap can make
    more, nine tenths."""
    monkeypatch.setattr("vae_core.comparing.RESAMPLES", 1_000)
    draws = torch.randn(TRIALS, count, generator=generator, dtype=torch.float64).tolist()
    rows = best_of({str(trial): values for trial, values in enumerate(draws)}, generator=generator)
    spread = 4 * math.sqrt(0.05 * 0.95 / TRIALS)
    for name, truth in {"mean_interval": 0.0, "best_interval": expected_best(count)}.items():
        held = sum(low <= truth <= high for low, high in (getattr(row, name) for row in rows)) / TRIALS
        assert coverage <= held <= 0.95 + spread


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [-math.inf]])
def test_groups_that_cannot_be_compared(values: list[float], generator: torch.Generator) -> None:
    with pytest.raises(ValueError, match="the group 'a' must have at least one run, and finite numbers only; got"):
        best_of({"b": [1.0], "a": values}, generator=generator)
