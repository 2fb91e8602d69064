import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from tests.small import seeded
from vae_core.traversals import attribute_vector, normal_range, quantile_range, spans, traversal, warmer


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


@pytest.mark.parametrize(("size", "steps"), [(1, 1), (1, 4), (3, 1), (3, 5), (20, 11)])
def test_a_traversal_replaces_one_coordinate_at_a_time(size: int, steps: int) -> None:
    values, centre = normal(size, steps), normal(size, seed=2)
    z, kept = traversal(values, centre), centre.clone()
    assert z.shape == (size * steps, size)
    for row in range(size):
        for column in range(steps):
            expected = centre.tolist()
            expected[row] = values[row, column].item()
            assert z[row * steps + column].tolist() == expected
    assert torch.equal(centre, kept)


@pytest.mark.parametrize("steps", [2, 3, 11])
def test_spans_are_even_and_include_both_ends(steps: int) -> None:
    low, high = normal(4), normal(4, seed=2) + 5
    values = spans(low, high, steps)
    torch.testing.assert_close(values, torch.from_numpy(np.linspace(low.numpy(), high.numpy(), steps, axis=-1)))
    assert torch.equal(values[:, 0], low)
    assert torch.equal(values[:, -1], high)


def test_one_step_is_the_middle() -> None:
    assert spans(torch.tensor([-1.0, 0.0]), torch.tensor([3.0, 0.0]), 1).tolist() == [[1.0], [0.0]]
    with pytest.raises(ValueError, match="steps of a traversal must be 1 at least; got 0"):
        spans(torch.zeros(2), torch.ones(2), 0)


@pytest.mark.parametrize("reach", [0.01, 0.1, 0.4])
def test_ranges_are_quantiles(reach: float) -> None:
    samples = normal(500, 3) * torch.tensor([0.1, 1.0, 7.0])
    expected = np.quantile(samples.numpy(), [reach, 1 - reach], axis=0)
    torch.testing.assert_close(torch.stack(quantile_range(samples, reach)), torch.from_numpy(expected))
    loc, scale = normal(3), normal(3, seed=2).exp()
    exact = stats.norm.ppf([[reach], [1 - reach]], loc.numpy(), scale.numpy())
    torch.testing.assert_close(torch.stack(normal_range(loc, scale, reach)), torch.from_numpy(exact))


def test_the_range_of_normal_draws_is_that_of_the_normal() -> None:
    """A quantile of N draws has the standard error sqrt(p (1 - p) / N) / density (asymptotically normal)."""
    count, reach = 40_000, 0.05
    found = torch.stack(quantile_range(normal(count, 5), reach))
    exact = torch.stack(normal_range(torch.zeros(5).double(), torch.ones(5).double(), reach))
    error = math.sqrt(reach * (1 - reach) / count) / float(stats.norm.pdf(stats.norm.ppf(reach)))
    assert ((found - exact) / error).abs().max() < 4.5


@pytest.mark.parametrize("reach", [-0.1, 0.0, 0.5, 1.0, math.nan])
def test_reach_leaves_something_between(reach: float) -> None:
    with pytest.raises(ValueError, match=r"above 0 and below 0\.5"):
        quantile_range(torch.zeros(3, 2), reach)
    with pytest.raises(ValueError, match=r"above 0 and below 0\.5"):
        normal_range(torch.zeros(2), torch.ones(2), reach)


def test_nothing_has_no_quantiles() -> None:
    with pytest.raises(ValueError, match="one latent vector at least"):
        quantile_range(torch.zeros(0, 2), 0.1)


@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0, 2.5])
def test_a_temperature_scales_the_deviations(temperature: float) -> None:
    draws, mean = normal(50, 3), normal(3, seed=2)
    warmed = warmer(draws, mean, temperature)
    torch.testing.assert_close(warmed - mean, temperature * (draws - mean))
    torch.testing.assert_close(warmed.std(0), temperature * draws.std(0))


def test_temperatures_0_and_1_are_exact() -> None:
    draws, mean = normal(50, 3), normal(3, seed=2)
    assert torch.equal(warmer(draws, mean, 1.0), draws)
    assert torch.equal(warmer(draws, mean, 0.0), mean.expand(50, 3))


@pytest.mark.parametrize("temperature", [-0.1, math.inf, math.nan])
def test_temperatures_are_not_negative_and_finite(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be a finite number, 0 or more"):
        warmer(torch.zeros(3, 2), torch.zeros(2), temperature)


def test_an_attribute_vector_leads_from_mean_to_mean() -> None:
    """The sets need not cover all examples; on all of them it is the slope of least squares on the label."""
    means, having = normal(30, 4), torch.arange(30) % 3 == 0
    found = attribute_vector(means, having, ~having)
    slope = np.polynomial.polynomial.polyfit(having.double().numpy(), means.numpy(), 1)[1]
    torch.testing.assert_close(found, torch.from_numpy(slope))
    some = torch.arange(30) < 2
    torch.testing.assert_close(attribute_vector(means, some, torch.arange(30) == 9), means[:2].mean(0) - means[9])


@pytest.mark.parametrize("empty", ["having", "lacking"])
def test_an_empty_set_is_named(empty: str) -> None:
    sets = {"having": torch.ones(3) > 0, "lacking": torch.ones(3) > 0} | {empty: torch.zeros(3) > 0}
    with pytest.raises(ValueError, match=f"examples {empty} the attribute is empty"):
        attribute_vector(torch.zeros(3, 2), **sets)
