import math

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import distributions as td

from tests import exact
from tests.small import seeded
from tests.test_distributions import example
from vae_core import pixels
from vae_core.pixels import Categorical, DiscretisedLogistic, Laplace, StudentT

DTYPES = [torch.float32, torch.float64]
GREYS = np.arange(256) / 255


def edges(loc: float, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Where each level begins and ends, in scales from the centre."""
    z = (np.concatenate([[-np.inf], (np.arange(255) + 0.5) / 255, [np.inf]]) - loc) / scale
    return z[:-1], z[1:]


def log_masses(loc: float, scale: float) -> np.ndarray:
    """Log-masses of all levels: differences of the cumulative function in the nearer tail, by logarithms."""
    low, high = edges(loc, scale)
    mirrored = low + high > 0
    low, high = np.where(mirrored, -high, low), np.where(mirrored, -low, high)
    log_low, log_high = stats.logistic.logcdf(low), stats.logistic.logcdf(high)
    return log_high + np.log(-np.expm1(log_low - log_high))


def slopes(loc: float, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Of log_masses in loc and scale, in closed form from the logistic density at both edges."""
    log_mass = log_masses(loc, scale)
    pull = [np.exp(stats.logistic.logpdf(edge) - log_mass) for edge in edges(loc, scale)]
    lever = [np.where(np.isinf(edge), 0, edge) for edge in edges(loc, scale)]
    return (pull[0] - pull[1]) / scale, (pull[0] * lever[0] - pull[1] * lever[1]) / scale


LOGISTICS = [
    (0.5, 0.06),
    (0.5, 1e-3),  # a hundred scales from edge to edge of a level's neighbours
    (0.2, 9.2e-4),
    (0.0, 9.2e-4),
    (1.0, 9.2e-4),
    (0.3, 20.0),
    (0.5, 1096.0),
    (-30.0, 9.2e-4),
    (31.0, 9.2e-4),
    (1e4, 0.1),
    (-1e4, 1096.0),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("loc", "scale"), LOGISTICS)
def test_discretised_logistic_in_the_tails(loc: float, scale: float, dtype: torch.dtype) -> None:
    """Every level, in both precisions, with the logarithm of masses far below the smallest number."""
    x = torch.tensor(GREYS, dtype=dtype).unsqueeze(-1)
    locs = torch.full((256, 1), loc, dtype=dtype, requires_grad=True)
    scales = torch.full((256, 1), scale, dtype=dtype, requires_grad=True)
    value = DiscretisedLogistic(locs, scales).log_prob(x)
    given = locs[0].item(), scales[0].item()
    rounding = torch.finfo(dtype).eps * (1 + abs(loc)) / scale  # of (x - loc) / scale
    expected = torch.from_numpy(log_masses(*given))
    torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-6 + 4 * rounding)
    by_loc, by_scale = torch.autograd.grad(value.sum(), [locs, scales])
    exact_loc, exact_scale = (torch.from_numpy(slope) for slope in slopes(*given))
    reach = (1 + abs(loc)) / scale
    loose = 2e-5 if dtype is torch.float64 else 1e-3
    torch.testing.assert_close(by_loc[:, 0].double(), exact_loc, rtol=loose, atol=(1e-6 + 4 * rounding) / scale)
    torch.testing.assert_close(
        by_scale[:, 0].double(), exact_scale, rtol=loose, atol=(1e-6 + 4 * rounding) * reach / scale
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("loc", "scale"), LOGISTICS)
def test_discretised_logistic_masses_sum_to_one_and_have_the_mean(loc: float, scale: float, dtype: torch.dtype) -> None:
    x = torch.tensor(GREYS, dtype=dtype).unsqueeze(-1)
    density = DiscretisedLogistic(torch.tensor([loc], dtype=dtype), torch.tensor([scale], dtype=dtype))
    mass = density.log_prob(x).exp().double()
    assert mass.sum().item() == pytest.approx(1, abs=1e-9 if dtype is torch.float64 else 2e-4)
    expected = np.exp(log_masses(density.loc.item(), density.scale.item())) @ GREYS
    assert density.mean.item() == pytest.approx(expected, abs=2e-6)


def test_discretised_logistic_of_one_shared_scale() -> None:
    density = DiscretisedLogistic(torch.rand(3, 4, generator=seeded(1)), torch.tensor([0.1]))
    x = torch.randint(0, 256, (5, 3, 4), generator=seeded(2)) / 255
    wide = DiscretisedLogistic(density.loc, torch.full((3, 4), 0.1))
    torch.testing.assert_close(density.log_prob(x), wide.log_prob(x))
    torch.testing.assert_close(density.mean, wide.mean)


LEVEL_DENSITIES = {
    "logistic": DiscretisedLogistic(torch.tensor([0.4]), torch.tensor([0.1])),
    "sharp logistic": DiscretisedLogistic(torch.tensor([0.4]), torch.tensor([1e-3])),
    "logistic at the edge": DiscretisedLogistic(torch.tensor([1.0]), torch.tensor([0.02])),
    "wide logistic": DiscretisedLogistic(torch.tensor([0.3]), torch.tensor([5.0])),
    "categorical": Categorical(2 * torch.randn(1, 256, generator=seeded(1))),
    "uniform categorical": Categorical(torch.zeros(1, 256)),
}


@pytest.mark.parametrize("name", LEVEL_DENSITIES)
def test_levels_are_drawn_as_often_as_they_weigh(name: str) -> None:
    density = LEVEL_DENSITIES[name]
    draws = 20_000
    levels = (density.sample(draws, generator=seeded(3)) * 255).round().long().flatten()
    counts = torch.bincount(levels, minlength=256).double()
    expected = draws * density.log_prob(torch.arange(256).unsqueeze(-1) / 255).exp().double()
    rare = expected < 5  # lumped, as the chi-square test needs several of each
    lumped = [torch.cat([part[~rare], part[rare].sum(0, keepdim=True)]) for part in (counts, expected)]
    seen, awaited = (part[lumped[1] > 0.5] for part in lumped)
    assert stats.chisquare(seen.numpy(), (awaited / awaited.sum() * seen.sum()).numpy()).pvalue > 1e-3


def test_categorical_never_draws_what_has_no_mass() -> None:
    logits = torch.full((1, 256), -math.inf)
    logits[0, 3] = logits[0, 200] = 5.0
    draws = Categorical(logits).sample(10_000, generator=seeded(4))
    assert set((draws * 255).round().int().flatten().tolist()) == {3, 200}


@pytest.mark.parametrize("kind", [DiscretisedLogistic, Categorical])
def test_drawn_levels_keep_the_precision_and_are_valid_data(kind: type) -> None:
    for dtype in DTYPES:
        density = kind(*(parameter.to(dtype) for parameter in vars(example(kind, (3, 4))).values()))
        draws = density.sample(100, generator=seeded(5))
        assert draws.dtype == dtype
        assert torch.equal(draws, (draws * 255).round() / 255)


@pytest.mark.parametrize("u", [0.0, 2.0**-24, 1 - 2.0**-24])
def test_the_ends_of_the_uniform_numbers_draw_finite_values(u: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.rand gives 0 once in 2^24 draws: a few thousand images."""
    monkeypatch.setattr(pixels, "uniform_like", lambda n, like, generator: torch.full((n, *like.shape), u))
    loc, scale = torch.zeros(3), torch.ones(3)
    laplace = Laplace(loc, scale).sample(2, generator=seeded(1))
    assert laplace.isfinite().all()
    assert (laplace.sign() == (1 if u > 0.5 else -1)).all()
    assert laplace.abs().min() > 14
    logistic = DiscretisedLogistic(loc, scale).sample(2, generator=seeded(1))
    assert (logistic == (u > 0.5)).all()
    categorical = Categorical(torch.zeros(3, 256)).sample(2, generator=seeded(1))
    assert (categorical == (u > 0.5)).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_laplace_draws_follow_the_density(dtype: torch.dtype) -> None:
    density = Laplace(torch.tensor([-2.0], dtype=dtype), torch.tensor([0.3], dtype=dtype))
    draws = density.sample(20_000, generator=seeded(6)).flatten().numpy()
    assert stats.kstest(draws, stats.laplace(-2, 0.3).cdf).pvalue > 1e-3


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("freedom", [1.001, 2.5, 30.0, 1097.0])
def test_student_draws_follow_the_density(freedom: float, dtype: torch.dtype) -> None:
    density = StudentT(*(torch.tensor([value], dtype=dtype) for value in (-2.0, 0.3, freedom)))
    draws = density.sample(20_000, generator=seeded(7)).flatten().numpy()
    assert stats.kstest(draws, stats.t(freedom, -2, 0.3).cdf).pvalue > 1e-3


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("freedom", [1.0009, 3.0, 30.0, 300.0, 1097.0])
@pytest.mark.parametrize("scale", [9.2e-4, 0.3, 1096.0])
def test_student_over_many_pixels(freedom: float, scale: float, dtype: torch.dtype) -> None:
    """A constant of lgammas that is wrong by rounding is wrong 784 times over."""
    leaf = torch.tensor([freedom], dtype=dtype, requires_grad=True)
    x = scale * torch.linspace(-5, 5, 784, dtype=dtype)
    density = StudentT(torch.zeros(784, dtype=dtype), torch.tensor([scale], dtype=dtype), leaf)
    value = density.log_prob(x)
    given = leaf.detach().double().requires_grad_()
    precise = td.StudentT(given, 0.0, density.scale.double())
    expected = precise.log_prob(x.double()).sum()
    tolerance = 1e-9 if dtype is torch.float64 else 2e-6
    torch.testing.assert_close(value.double(), expected, rtol=tolerance, atol=784 * tolerance / 10)
    ours, theirs = torch.autograd.grad(value, leaf)[0], torch.autograd.grad(expected, given)[0]
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("kind", [Laplace, StudentT])
def test_outliers_are_finite_and_pull_little(kind: type) -> None:
    loc = torch.zeros(3, requires_grad=True)
    shared = [torch.tensor([9.2e-4])] + ([torch.tensor([3.0])] if kind is StudentT else [])
    value = kind(loc, *shared).log_prob(torch.tensor([1.0, 1e3, 1e6]))
    (pull,) = torch.autograd.grad(value, loc)
    assert value.isfinite()
    expected = torch.full((3,), 1 / 9.2e-4) if kind is Laplace else 4 / torch.tensor([1.0, 1e3, 1e6])
    torch.testing.assert_close(pull, expected, rtol=1e-4, atol=0)


def test_laplace_at_its_kink() -> None:
    density = Laplace(torch.zeros(1), torch.ones(1))
    assert density.log_prob(torch.zeros(1)).item() == pytest.approx(-math.log(2))


def test_log_masses_of_the_oracle() -> None:
    """The oracle of the tails against plain differences where those are good."""
    plain = np.diff(special.expit(np.concatenate([[-np.inf], ((np.arange(255) + 0.5) / 255 - 0.4) / 0.1, [np.inf]])))
    np.testing.assert_allclose(np.exp(log_masses(0.4, 0.1)), plain, rtol=1e-10, atol=1e-14)
    other = exact.logistic_masses(*torch.tensor([0.4, 0.1], dtype=torch.float64))
    np.testing.assert_allclose(np.exp(log_masses(0.4, 0.1)), other.numpy(), rtol=1e-10)
