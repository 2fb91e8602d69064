from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch import distributions as td

from tests import exact
from tests.small import layer, raw_scale, seeded, small_images, small_vae
from vae_core.bounds import BOUNDS, Terms, elbo
from vae_core.families import DiagonalGaussianFamily, SharedScaleGaussianFamily, StandardNormalPrior
from vae_core.model import HelmholtzMachine

BY_HAND: dict[str, Callable[[list[float], list[float], list[float], float], float]] = {
    "elbo": lambda lik, prior, q, beta: (
        sum(a + beta * (b - c) for a, b, c in zip(lik, prior, q, strict=True)) / len(lik)
    ),
}


def terms(draws: int = 4, batch: int = 3) -> Terms:
    return Terms(*torch.randn(3, draws, batch, generator=seeded(1), dtype=torch.float64))


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0, 4.0])
def test_bound_by_hand(name: str, beta: float) -> None:
    given = terms()
    columns = zip(given.log_lik.T.tolist(), given.log_prior.T.tolist(), given.log_q.T.tolist(), strict=True)
    expected = [BY_HAND[name](*column, beta) for column in columns]
    assert BOUNDS[name].value(given, beta).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", BOUNDS)
def test_linear_bounds_are_those_that_take_an_expected_kl(name: str) -> None:
    given = terms()
    mean_kl = given.kl.mean(0).expand_as(given.log_lik)
    averaged = Terms(given.log_lik, -mean_kl, torch.zeros_like(mean_kl))
    same = torch.allclose(BOUNDS[name].value(given, 1.0), BOUNDS[name].value(averaged, 1.0))
    assert BOUNDS[name].linear is same


def test_kl_is_log_q_minus_log_prior() -> None:
    given = Terms(torch.zeros(1, 1), torch.full((1, 1), -3.0), torch.full((1, 1), -1.0))
    assert given.kl.item() == 2.0


def test_beta_is_one_unless_given() -> None:
    assert torch.equal(elbo(terms()), elbo(terms(), 1.0))


def test_elbo_is_below_the_exact_evidence() -> None:
    model, x = small_vae(), small_images(8)
    with torch.no_grad():
        gap = exact.vae_log_evidence(model, x) - exact.vae_terms(model, x).elbo()
        drawn = model.terms(x, model.infer(x, 20_000, generator=seeded(2)))
        estimated = elbo(drawn)
    assert gap.min() > 0.01
    assert (estimated < exact.vae_log_evidence(model, x)).all()


class OneDimensional:
    """x = w z + b + s e, of three pixels and one latent dimension, with its exact posterior N(m(x), v)."""

    weight = torch.tensor([[0.8], [-1.5], [0.4]], dtype=torch.float64)
    bias = torch.tensor([0.1, 0.2, -0.3], dtype=torch.float64)
    noise = 0.5
    variance = 1 / (1 + (0.8**2 + 1.5**2 + 0.4**2) / 0.25)

    @classmethod
    def log_evidence(cls, x: Tensor) -> Tensor:
        covariance = cls.weight @ cls.weight.T + cls.noise**2 * torch.eye(3, dtype=torch.float64)
        return td.MultivariateNormal(cls.bias, covariance).log_prob(x)

    @classmethod
    def machine(cls) -> HelmholtzMachine:
        encoder, decoder = layer(3, DiagonalGaussianFamily(1)), layer(1, SharedScaleGaussianFamily(3))
        model = HelmholtzMachine([encoder], [decoder], StandardNormalPrior(1)).double()
        to_mean = cls.variance * cls.weight.T / cls.noise**2
        with torch.no_grad():
            fill(decoder.trunk[0], cls.weight, cls.bias)
            decoder.family.raw_scale.fill_(raw_scale(cls.noise))
            raw = torch.tensor([raw_scale(cls.variance**0.5)], dtype=torch.float64)
            fill(
                encoder.trunk[0],
                torch.cat([to_mean, torch.zeros(1, 3)]),
                torch.cat([-to_mean @ cls.bias, raw]),
            )
        return model


def fill(linear: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    linear.weight.copy_(weight)
    linear.bias.copy_(bias)


def test_exact_posterior_gives_the_evidence_at_every_draw() -> None:
    model = OneDimensional.machine()
    x = torch.randn(5, 3, generator=seeded(3), dtype=torch.float64)
    drawn = model.terms(x, model.infer(x, 7, generator=seeded(4)))
    evidence = OneDimensional.log_evidence(x)
    weights = drawn.log_lik + drawn.log_prior - drawn.log_q
    torch.testing.assert_close(weights, evidence.expand(7, 5), rtol=0, atol=1e-9)
    torch.testing.assert_close(elbo(drawn), evidence, rtol=0, atol=1e-9)


def test_gap_of_a_wrong_posterior_is_its_kl() -> None:
    model = OneDimensional.machine()
    x = torch.randn(5, 3, generator=seeded(3), dtype=torch.float64)
    right = model.encode(x)
    with torch.no_grad():
        model.recognition[0].trunk[0].bias += torch.tensor([0.4, -0.6])
    wrong = model.encode(x)
    drawn = model.terms(x, model.infer(x, 200_000, generator=seeded(4)))
    gap = td.kl_divergence(exact.reference(wrong), exact.reference(right))
    samples = drawn.log_lik + drawn.log_prior - drawn.log_q
    assert gap.min() > 0.1
    assert exact.z_scores(samples, OneDimensional.log_evidence(x) - gap).abs().max() < 4.5
