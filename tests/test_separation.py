"""Separation of two groups against SciPy's bootstrap, the known spread of Cohen's d, and a second writing of it."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from tests.small import seeded
from vae_core.separation import LEAST, along, separation


def normal_groups(counts: tuple[int, int], shift: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = seeded(1)
    a, b = (torch.randn(count, generator=generator, dtype=torch.float64) for count in counts)
    return a + shift, 1.5 * b


def cohens_d(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
    count_a, count_b = a.shape[axis], b.shape[axis]
    squares = count_a * a.var(axis) + count_b * b.var(axis)
    return (a.mean(axis) - b.mean(axis)) / np.sqrt(squares / (count_a + count_b - 2))


@pytest.mark.parametrize("counts", [(40, 60), (200, 5)])
@pytest.mark.parametrize("shift", [-2.0, 0.0, 3.0])
def test_separation_is_that_of_scipys_bootstrap(counts: tuple[int, int], shift: float) -> None:
    a, b = normal_groups(counts, shift)
    found = separation(a, b, generator=seeded(2))
    theirs = stats.bootstrap(
        (a.numpy(), b.numpy()), cohens_d, n_resamples=4_000, method="percentile", rng=np.random.default_rng(3)
    )
    low, high = theirs.confidence_interval
    width = high - low
    assert found.distance == pytest.approx(float(cohens_d(a.numpy(), b.numpy())), rel=1e-12)
    # the ends of 1,000 resamples are quantiles with a standard error of about 2 % of the width
    assert found.low == pytest.approx(low, abs=0.1 * width)
    assert found.high == pytest.approx(high, abs=0.1 * width)


def test_the_interval_is_as_wide_as_theory_says() -> None:
    """Standard error of d for equal normal spreads (Hedges & Olkin 1985, section 5.B)."""
    generator = seeded(4)
    a, b = (torch.randn(2_000, generator=generator, dtype=torch.float64) + shift for shift in (1.0, 0.0))
    found = separation(a, b, generator=generator)
    error = math.sqrt(2 / 2_000 + found.distance**2 / (2 * 4_000))
    assert (found.high - found.low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.1)


def test_the_same_generator_gives_the_same_interval() -> None:
    a, b = normal_groups((30, 30), 1.0)
    assert separation(a, b, generator=seeded(5)) == separation(a, b, generator=seeded(5))
    assert separation(a, b, generator=seeded(5)) != separation(a, b, generator=seeded(6))


def test_large_groups_are_resampled_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = normal_groups((50, 50), 1.0)
    whole = separation(a, b, generator=seeded(7))
    monkeypatch.setattr("vae_core.separation.VALUES", 333)
    in_parts = separation(a, b, generator=seeded(7))
    assert in_parts.distance == whole.distance
    assert in_parts.low == pytest.approx(whole.low, abs=0.15)


@pytest.mark.parametrize("counts", [(LEAST - 1, 20), (20, LEAST - 1)])
def test_too_few_examples_are_refused(counts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"{LEAST} examples at least in either group; got {counts[0]} and {counts[1]}"):
        separation(*normal_groups(counts, 1.0), generator=seeded(8))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_groups_that_do_not_vary_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="neither group varies"):
        separation(torch.full((9,), value), torch.zeros(9), generator=seeded(9))


def test_along_measures_lengths_in_latent_units() -> None:
    codes = torch.tensor([[3.0, 4.0], [-4.0, 3.0]])
    assert along(codes, torch.tensor([30.0, 40.0])).tolist() == pytest.approx([5.0, 0.0], abs=1e-6)
    with pytest.raises(ValueError, match="choose other groups"):
        along(codes, torch.zeros(2))
