import math
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch import distributions as td
from torch.func import functional_call
from torch.utils._pytree import tree_leaves

from tests import exact
from tests.small import raw_scale, seeded
from vae_core.config import ModelConfig
from vae_core.distributions import Density
from vae_core.families import Family
from vae_core.likelihoods import LIKELIHOODS, RANK, binarise, grey

SIZES = [1, 2, 6]
GREYS = torch.arange(256, dtype=torch.uint8)
CONFIG = ModelConfig(sigma=0.25)


def soft_exp(raw: Tensor | float) -> Tensor:
    return (7 * (torch.as_tensor(raw, dtype=torch.float64) / 7).tanh()).exp()


SHARED = soft_exp(math.log(0.3))
"""The scale that learned scales start from."""


def independent(density: td.Distribution) -> td.Distribution:
    return td.Independent(density, 1, validate_args=False)


def low_rank(raw: Tensor, size: int) -> td.Distribution:
    columns = [raw[..., (2 + r) * size : (3 + r) * size] for r in range(RANK)]
    scale = soft_exp(raw[..., size : 2 * size])
    return td.LowRankMultivariateNormal(raw[..., :size], torch.stack(columns, -1), scale.square())


EXPECTED: dict[str, Callable[[Tensor, int], td.Distribution]] = {
    "bernoulli": lambda raw, d: independent(td.Bernoulli(logits=raw)),
    "continuous_bernoulli": lambda raw, d: independent(td.ContinuousBernoulli(logits=raw)),
    "gaussian": lambda raw, d: independent(td.Normal(raw, SHARED)),
    "gaussian_fixed": lambda raw, d: independent(td.Normal(raw, 0.25)),
    "gaussian_per_pixel": lambda raw, d: independent(td.Normal(raw[..., :d], soft_exp(raw[..., d:]))),
    "gaussian_low_rank": low_rank,
    "discretised_logistic": lambda raw, d: exact.Levels(
        exact.logistic_masses(raw[..., :d], soft_exp(raw[..., d:] - 3)).log()
    ),
    "categorical": lambda raw, d: exact.Levels(
        torch.stack([raw[..., level * d : (level + 1) * d] for level in range(256)], -1)
    ),
    "laplace": lambda raw, d: independent(td.Laplace(raw, SHARED)),
    "student_t": lambda raw, d: independent(td.StudentT(1 + soft_exp(math.log(4)), raw, SHARED)),
}
INPUTS = {
    "gaussian_per_pixel": 2,
    "gaussian_low_rank": 2 + RANK,
    "discretised_logistic": 2,
    "categorical": 256,
}
"""Raw numbers for every value, where not 1."""
LEARNED = {"gaussian": ["raw_scale"], "laplace": ["raw_scale"], "student_t": ["raw_scale", "raw_freedom"]}
"""Parameters of the family's own."""


def built(name: str, size: int) -> Family:
    return LIKELIHOODS[name].build(size, CONFIG)


def observed(name: str, size: int) -> Tensor:
    levels = torch.randint(0, 256, (4, size), generator=seeded(2)).to(torch.uint8)
    return LIKELIHOODS[name].observe(levels, generator=seeded(3))


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("size", SIZES)
def test_likelihood_is_the_named_density(name: str, size: int) -> None:
    family = built(name, size).double()
    assert family.inputs == INPUTS.get(name, 1) * size
    assert [name for name, _ in family.named_parameters()] == LEARNED.get(name, [])
    raw = torch.randn(3, 4, family.inputs, generator=seeded(1), dtype=torch.float64, requires_grad=True)
    # grey levels in single precision are multiples of 1/255 by 1e-8 only: the oracle rounds, so give exact ones
    x = (observed(name, size).double() * 255).round() / 255
    density, expected = family(raw), EXPECTED[name](raw, size)
    value, reference = density.log_prob(x), expected.log_prob(x.expand(3, 4, size))
    torch.testing.assert_close(value, reference, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(density.mean, expected.mean, rtol=1e-6, atol=1e-6)
    ours, theirs = (torch.autograd.grad(v.sum(), raw)[0] for v in (value, reference))
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("raw", [-1e6, -30.0, 30.0, 1e6])
def test_any_raw_numbers_give_a_density(name: str, size: int, raw: float) -> None:
    density: Density = built(name, size)(torch.full((4, size * INPUTS.get(name, 1)), raw))
    assert all(parameter.isfinite().all() for parameter in tree_leaves(list(vars(density).values())))
    if hasattr(density, "scale"):
        assert density.scale.min() >= math.exp(-7) * (1 - 1e-6)
        assert density.scale.max() <= math.exp(7) * (1 + 1e-6)
    assert density.mean.isfinite().all()
    draws = density.sample(5, generator=seeded(1))
    density.support.require(draws, name)
    if (name, raw) != ("gaussian_low_rank", -1e6):  # equal columns 1e9 times their noise: beyond double precision
        assert not density.log_prob(observed(name, size)).isnan().any()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_likelihood_sees_what_it_should(name: str) -> None:
    entry = LIKELIHOODS[name]
    assert entry.observe is (binarise if name == "bernoulli" else grey)
    seen = entry.observe(GREYS.repeat(4, 1), generator=seeded(1))
    assert seen.shape == (4, 256)
    assert seen.dtype == torch.float32
    assert (seen[:, 0] == 0).all()
    assert (seen[:, 255] == 1).all()


FINITE = "finite numbers", "clean the data first", [math.nan, math.inf, -math.inf]
LEVELS = (
    "whole multiples of 1/255 in [0, 1]",
    "give 8-bit grey levels divided by 255, or use the likelihood 'continuous_bernoulli'",
    [0.5003, -1 / 255, 2.0, 255.0, math.nan],
)
REFUSED = dict.fromkeys(LIKELIHOODS, FINITE) | {
    "bernoulli": (
        "0 or 1",
        "binarise grey values first, or use the likelihood 'continuous_bernoulli'",
        [0.37, -1.0, 255.0, math.nan],
    ),
    "continuous_bernoulli": (
        "in [0, 1]",
        "divide grey levels by 255, or use a Gaussian likelihood",
        [1.2, -0.1, 255.0, math.nan],
    ),
    "discretised_logistic": LEVELS,
    "categorical": LEVELS,
}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_data_outside_the_support_are_refused(name: str) -> None:
    family = built(name, 6)
    density = family(torch.zeros(4, family.inputs))
    x = observed(name, 6)
    density.support.require(x, name)
    rule, instead, wrong = REFUSED[name]
    for value in wrong:
        x[2, 3] = value
        sentence = f"x must be {rule} for {name}; got {value:g}: {instead}"
        with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
            density.support.require(x, name)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_only_whole_levels_and_bits_have_probabilities(name: str) -> None:
    """Log-densities may exceed 0, log-probabilities may not; what the bound is called says which."""
    family = built(name, 6)
    value = family(3 * torch.randn(50, family.inputs, generator=seeded(1))).log_prob(observed(name, 6)[0])
    counted = not LIKELIHOODS[name].continuous
    assert counted is ("density" not in LIKELIHOODS[name].bounds)
    assert counted is (REFUSED[name] is LEVELS or name == "bernoulli")
    assert not counted or value.max() <= 0


@pytest.mark.parametrize(("name", "parameter"), [(name, p) for name, own in LEARNED.items() for p in own])
def test_own_parameters_are_learned(name: str, parameter: str) -> None:
    family = built(name, 6).double()
    raw, x = torch.rand(2, 3, 6, generator=seeded(1), dtype=torch.float64)
    leaf = dict(family.named_parameters())[parameter]
    assert torch.autograd.gradcheck(lambda own: functional_call(family, {parameter: own}, (raw,)).log_prob(x), [leaf])
    (slope,) = torch.autograd.grad(family(raw).log_prob(x).sum(), leaf)
    assert (slope != 0).all()


@pytest.mark.parametrize("name", LEARNED)
def test_learned_scales_start_at_three_tenths(name: str) -> None:
    assert built(name, 6).raw_scale.item() == pytest.approx(raw_scale(0.3), abs=0.02)


@pytest.mark.parametrize("sigma", [0.001, 0.5, 10.0])
def test_the_fixed_scale_is_the_given_one(sigma: float) -> None:
    family = LIKELIHOODS["gaussian_fixed"].build(6, ModelConfig(sigma=sigma))
    assert family(torch.zeros(6)).scale.item() == pytest.approx(sigma)
    assert not family.state_dict()


def test_logistic_scales_start_near_fifteen_levels() -> None:
    density = built("discretised_logistic", 6)(torch.zeros(12))
    assert density.scale.mean().item() * 255 == pytest.approx(15, abs=0.5)


def test_binarise_is_one_as_often_as_the_grey_level_says() -> None:
    visits = 4_000
    ones = binarise(GREYS.repeat(visits, 1), generator=seeded(1)).sum(0).double()
    probability = GREYS.double() / 255
    deviation = (visits * probability * (1 - probability)).sqrt()
    assert ones[0] == 0
    assert ones[255] == visits
    assert ((ones - visits * probability)[1:255] / deviation[1:255]).abs().max() < 4.5


def test_binarise_never_rounds_white_to_black() -> None:
    """The largest number that torch.rand gives is 1 - 2^-24: times 255 it must stay below 255."""
    assert torch.tensor(1 - 2**-24) * 255 < torch.tensor(255, dtype=torch.uint8)


def test_grey_is_a_fraction_of_white() -> None:
    assert torch.equal(grey(GREYS, generator=seeded(1)), GREYS.float() / 255)


def test_real_values_are_seen_as_they_are_and_never_binarised() -> None:
    x = torch.rand(3, 6, generator=seeded(1))
    assert torch.equal(grey(x, generator=seeded(1)), x)
    with pytest.raises(
        ValueError, match=r"^x must be uint8 grey .* got torch\.float32: use the likelihood 'gaussian'$"
    ):
        binarise(x, generator=seeded(1))
