import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch import distributions as td

from tests.small import seeded
from vae_core.families import LIKELIHOODS, POSTERIORS, PRIORS, LikelihoodEntry, binarise, bounded_scale, grey

SIZE = 6
GREYS = torch.arange(256, dtype=torch.uint8)


def soft_bounded_exp(raw: Tensor) -> Tensor:
    return (7 * (raw / 7).tanh()).exp()


def gaussian_of_halves(raw: Tensor) -> td.Distribution:
    return td.Normal(raw[..., :SIZE], soft_bounded_exp(raw[..., SIZE:]))


EXPECTED_LIKELIHOODS: dict[str, Callable[[Tensor], td.Distribution]] = {
    "bernoulli": lambda raw: td.Bernoulli(logits=raw),
    "continuous_bernoulli": lambda raw: td.ContinuousBernoulli(logits=raw),
    "gaussian": lambda raw: td.Normal(raw, math.exp(7 * math.tanh(math.log(0.3) / 7))),
}
EXPECTED_POSTERIORS = {"diagonal_gaussian": gaussian_of_halves}
EXPECTED_PRIORS = {"standard_normal": td.Normal(torch.zeros(SIZE), torch.ones(SIZE))}
EXPECTED_OBSERVED = {"bernoulli": binarise, "continuous_bernoulli": grey, "gaussian": grey}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_likelihood_is_the_named_density(name: str) -> None:
    entry = LIKELIHOODS[name]
    family = entry.build(SIZE).double()
    raw = torch.randn(3, 4, family.inputs, generator=seeded(1), dtype=torch.float64)
    x = entry.observe(
        torch.randint(0, 256, (4, SIZE), generator=seeded(2)).to(torch.uint8), generator=seeded(3)
    ).double()
    density, expected = family(raw), EXPECTED_LIKELIHOODS[name](raw)
    torch.testing.assert_close(density.log_prob(x), expected.log_prob(x).sum(-1), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(density.mean, expected.mean, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_likelihood_sees_what_it_should(name: str) -> None:
    entry = LIKELIHOODS[name]
    assert entry.observe is EXPECTED_OBSERVED[name]
    seen = entry.observe(GREYS.repeat(4, 1), generator=seeded(1))
    assert seen.shape == (4, 256)
    assert seen.dtype == torch.float32
    assert (seen[:, 0] == 0).all()
    assert (seen[:, 255] == 1).all()


@pytest.mark.parametrize("name", POSTERIORS)
def test_posterior_is_the_named_density(name: str) -> None:
    family = POSTERIORS[name].build(SIZE)
    raw = torch.randn(4, family.inputs, generator=seeded(1))
    h = torch.randn(3, 4, SIZE, generator=seeded(2))
    expected = EXPECTED_POSTERIORS[name](raw)
    torch.testing.assert_close(family(raw).log_prob(h), expected.log_prob(h).sum(-1))
    torch.testing.assert_close(family(raw).mean, expected.mean)


@pytest.mark.parametrize("name", PRIORS)
def test_prior_is_the_named_density(name: str) -> None:
    h = torch.randn(3, 4, SIZE, generator=seeded(2))
    torch.testing.assert_close(PRIORS[name].build(SIZE)().log_prob(h), EXPECTED_PRIORS[name].log_prob(h).sum(-1))


@pytest.mark.parametrize("table", [LIKELIHOODS, POSTERIORS, PRIORS], ids=["likelihoods", "posteriors", "priors"])
def test_the_app_can_show_every_entry(table: dict[str, LikelihoodEntry]) -> None:
    assert len({entry.label for entry in table.values()}) == len(table)
    assert all(entry.label and entry.help.endswith(".") for entry in table.values())


def test_scales_are_bounded_and_follow_exp_near_one() -> None:
    raw = torch.tensor([-1e6, -100.0, -7.0, 0.0, 7.0, 100.0, 1e6], requires_grad=True)
    scale = bounded_scale(raw)
    assert scale.min() >= math.exp(-7) * (1 - 1e-6)
    assert scale.max() <= math.exp(7) * (1 + 1e-6)
    (slope,) = torch.autograd.grad(scale.sum(), raw)
    assert slope.isfinite().all()
    assert slope[3] == 1
    near = torch.linspace(-0.3, 0.3, 7)
    torch.testing.assert_close(bounded_scale(near), near.exp(), rtol=2e-4, atol=0)


def test_the_shared_scale_is_learned() -> None:
    family = LIKELIHOODS["gaussian"].build(SIZE)
    density = family(torch.zeros(2, SIZE))
    (slope,) = torch.autograd.grad(density.log_prob(torch.zeros(2, SIZE)).sum(), [family.raw_scale])
    raw = math.log(0.3)
    assert slope.item() == pytest.approx(-2 * SIZE * (1 - math.tanh(raw / 7) ** 2), rel=1e-5)


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
