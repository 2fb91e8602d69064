import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch import distributions as td

from tests import exact
from tests.small import layer, raw_scale, seeded, small_images, small_vae
from vae_core.bounds import BOUNDS, Objective, Terms, elbo, free_bits, iwae, renyi
from vae_core.config import ObjectiveConfig
from vae_core.families import DiagonalGaussianFamily
from vae_core.likelihoods import SharedScaleGaussianFamily
from vae_core.model import HelmholtzMachine
from vae_core.priors import StandardNormalPrior

SETTINGS = {
    "plain": ObjectiveConfig(),
    "no beta": ObjectiveConfig(beta=0.0),
    "small beta": ObjectiveConfig(beta=0.3, alpha=0.0, free_nats=0.0),
    "large beta": ObjectiveConfig(beta=4.0, alpha=0.9, free_nats=0.4),
    "all free": ObjectiveConfig(beta=1.5, alpha=1.0, free_nats=100.0),
}


def terms(draws: int = 4, batch: int = 3) -> Terms:
    return Terms(*torch.randn(3, draws, batch, generator=seeded(1), dtype=torch.float64))


def of_weights(*weights: float) -> Terms:
    """One example whose draws have these importance weights, and a KL of 1 nat."""
    log_lik = torch.tensor(weights, dtype=torch.float64).log()[:, None] + 1
    return Terms(log_lik, torch.zeros_like(log_lik), torch.ones_like(log_lik))


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("draws", [1, 4])
def test_bound_is_the_formula(name: str, settings: str, draws: int) -> None:
    given, settled = terms(draws), replace(SETTINGS[settings], bound=name)
    expected = exact.BOUNDS[name](given.log_lik, given.log_prior, given.log_q, settled)
    torch.testing.assert_close(Objective(settled)(given), expected, rtol=1e-12, atol=1e-12)


def test_bounds_by_hand() -> None:
    """Of two draws with weights 1 and 4; the reconstruction is log 2 + 1, the KL 1."""
    given = of_weights(1, 4)
    by_hand = {
        "elbo": (elbo(given), math.log(2)),
        "beta": (elbo(given, 3.0), math.log(2) - 2),
        "free bits, KL counts": (free_bits(given, 2.0, 0.5), math.log(2) - 1),
        "free bits, KL is free": (free_bits(given, 2.0, 1.5), math.log(2) - 2),
        "iwae": (iwae(given), math.log(2.5)),
        "renyi": (renyi(given, 0.5), 2 * math.log(1.5)),
    }
    for value, expected in by_hand.values():
        assert value.tolist() == pytest.approx([expected], rel=1e-14)


def test_bounds_survive_weights_that_overflow() -> None:
    given = Terms(torch.tensor([[-5e4], [-6e4]]), torch.zeros(2, 1), torch.zeros(2, 1))
    assert iwae(given).item() == pytest.approx(-5e4 - math.log(2))
    assert renyi(given, 0.5).item() == pytest.approx(-5e4 - 2 * math.log(2))


def test_limits_of_the_renyi_bound() -> None:
    given = terms(7)
    torch.testing.assert_close(renyi(given, 0.0), iwae(given), rtol=1e-14, atol=0)
    assert torch.equal(renyi(given, 1.0), elbo(given))
    near = (renyi(given, 1 - 1e-4) - elbo(given)).abs().max()
    nearer = (renyi(given, 1 - 1e-5) - elbo(given)).abs().max()
    assert nearer < 1e-4
    assert near / nearer == pytest.approx(10, rel=1e-2)


@pytest.mark.parametrize("name", BOUNDS)
def test_all_bounds_of_one_draw_are_the_elbo(name: str) -> None:
    given, settings = of_weights(3), ObjectiveConfig(bound=name, alpha=0.3, free_nats=0.7)
    torch.testing.assert_close(Objective(settings)(given), elbo(given), rtol=1e-14, atol=0)


@pytest.mark.parametrize("name", BOUNDS)
def test_only_analytic_bounds_take_an_expected_kl(name: str) -> None:
    """They are linear in the KL of a draw, or depend on its mean alone."""
    given, objective = terms(), Objective(ObjectiveConfig(bound=name, free_nats=0.1))
    mean_kl = given.kl.mean(0).expand_as(given.log_lik)
    averaged = Terms(given.log_lik, -mean_kl, torch.zeros_like(mean_kl))
    same = torch.allclose(objective(given), objective(averaged))
    assert BOUNDS[name].analytic is same


@pytest.mark.parametrize("name", BOUNDS)
def test_only_weighted_bounds_take_a_beta(name: str) -> None:
    given, objective = terms(), Objective(ObjectiveConfig(bound=name, free_nats=0.1))
    assert BOUNDS[name].weighted is not torch.equal(objective(given), objective.with_beta(3.0)(given))
    assert objective.with_beta(3.0).settings == replace(objective.settings, beta=3.0)


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_alpha_is_the_order_of_the_gradient(name: str, alpha: float) -> None:
    """d bound / d log w = softmax((1 - alpha) log w), or there is no such alpha."""
    log_weights = 2 * torch.randn(5, 3, generator=seeded(1), dtype=torch.float64)
    log_weights.requires_grad_()
    settings = ObjectiveConfig(bound=name, alpha=alpha, free_nats=1.0)
    given = Terms(torch.zeros_like(log_weights), log_weights, torch.zeros_like(log_weights))
    (slope,) = torch.autograd.grad(Objective(settings)(given).sum(), log_weights)
    order = BOUNDS[name].alpha
    if order is None:
        for tried in torch.linspace(0, 1, 11):
            assert not torch.allclose(slope, ((1 - tried) * log_weights).softmax(0))
    else:
        torch.testing.assert_close(slope, ((1 - order(settings)) * log_weights).softmax(0))


def test_free_bits_gradient_to_the_kl_vanishes_below_them() -> None:
    kl = torch.tensor([[0.5, 1.5], [0.9, 3.5]], dtype=torch.float64, requires_grad=True)
    given = Terms(torch.zeros(2, 2).double(), -kl, torch.zeros(2, 2).double())
    (slope,) = torch.autograd.grad(free_bits(given, 3.0, 1.0).sum(), kl)
    assert torch.equal(slope, torch.tensor([[0.0, -1.5], [0.0, -1.5]], dtype=torch.float64))


def test_kl_is_log_q_minus_log_prior() -> None:
    given = Terms(torch.zeros(1, 1), torch.full((1, 1), -3.0), torch.full((1, 1), -1.0))
    assert given.kl.item() == 2.0
    assert given.log_weights.item() == -2.0


def test_settings_are_their_defaults_unless_given() -> None:
    assert torch.equal(elbo(terms()), elbo(terms(), 1.0))
    assert torch.equal(free_bits(terms()), free_bits(terms(), 1.0, 0.0))
    assert Objective().bound is BOUNDS["elbo"]


def test_more_draws_are_tighter_and_none_exceeds_the_evidence() -> None:
    """ELBO < IWAE-2 < IWAE-5 < IWAE-50 < log p(x), at the same draws, for every image."""
    model, x = small_vae(), small_images(4)
    with torch.no_grad():
        drawn = model.terms(x, model.infer(x, 100_000, generator=seeded(2)))
        evidence = exact.vae_log_evidence(model, x)
        expected = exact.vae_terms(model, x).elbo()

        def grouped(draws: int) -> Tensor:
            """IWAE of so many draws, the mean over every hundred of them [1000, B]."""
            parts = [term.unflatten(0, (-1, draws)).transpose(0, 1).flatten(1) for term in vars(drawn).values()]
            return iwae(Terms(*parts)).reshape(1000, 100 // draws, len(x)).mean(1)

    chain = [grouped(draws) for draws in (1, 2, 5, 50)]
    for looser, tighter in zip(chain, [*chain[1:], evidence.expand(1000, -1)], strict=True):
        assert exact.z_scores(tighter - looser, 0.0).min() > 5
    assert exact.z_scores(chain[0], expected).abs().max() < 4
    assert (evidence - chain[-1].mean(0) < 0.6 * (evidence - expected)).all()


def test_renyi_falls_from_iwae_to_the_elbo_with_alpha() -> None:
    model, x = small_vae(), small_images(4)
    drawn = model.terms(x, model.infer(x, 10, generator=seeded(2)))
    falling = torch.stack([renyi(drawn, alpha) for alpha in (0.0, 0.2, 0.5, 0.8, 1.0)])
    assert (falling.diff(dim=0) < 0).all()


def test_beta_above_one_and_free_bits_stay_below_the_evidence() -> None:
    model, x = small_vae(), small_images(4)
    exactly = exact.vae_terms(model, x)
    drawn = model.terms(x, model.infer(x, 20_000, generator=seeded(2)))
    for bound in (elbo(drawn, 1.5), free_bits(drawn, 1.0, exactly.kl.min().item() + 0.5)):
        assert (bound < elbo(drawn) + 1e-9).all()
        assert (bound < exact.vae_log_evidence(model, x)).all()


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


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("draws", [1, 2, 7])
def test_exact_posterior_gives_the_evidence_for_every_number_of_draws(name: str, draws: int) -> None:
    model = OneDimensional.machine()
    x = torch.randn(50, 3, generator=seeded(3), dtype=torch.float64)
    drawn = model.terms(x, model.infer(x, draws, generator=seeded(4)))
    evidence = OneDimensional.log_evidence(x)
    torch.testing.assert_close(drawn.log_weights, evidence.expand(draws, 50), rtol=0, atol=1e-9)
    # the sampled KL of a few draws may be negative, and even 0 free nats then cost its size
    cost = torch.relu(-drawn.kl.mean(0)) if name == "free_bits" else 0.0
    value = Objective(ObjectiveConfig(bound=name, alpha=0.3, free_nats=0.0))(drawn)
    torch.testing.assert_close(value, evidence - cost, rtol=0, atol=1e-9)


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
