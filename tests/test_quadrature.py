"""Against dense grids, closed forms and other tolerances; posteriors that are hard to find; what the error promises."""

import math
import re
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from pretrained import build
from tests import exact
from tests.small import (
    GIVEN,
    SIZE,
    Square,
    belief_net,
    conditioned,
    gaussian_machine,
    layer,
    linear_machine,
    mislead,
    raw_scale,
    seeded,
    small_images,
    small_machine,
    small_vae,
)
from vae_core import quadrature
from vae_core.distributions import Normal
from vae_core.families import DiagonalGaussianFamily
from vae_core.likelihoods import LIKELIHOODS, SharedScaleGaussianFamily
from vae_core.model import Conditional, HelmholtzMachine
from vae_core.priors import StandardNormalPrior
from vae_core.publish import read_sample
from vae_core.quadrature import Evidence, cross_log_prob, log_evidence, log_posterior
from vae_core.runs import load_model


def grid(dimensions: int, reach: float, width: float, nodes: int) -> tuple[Tensor, Tensor]:
    """Nodes [N, D] and log-weights [N] of panels side by side over [-reach, reach]^D."""
    axis, weights = exact.panels(-reach, reach, width, nodes)
    places = torch.cartesian_prod(*[axis] * dimensions).reshape(-1, dimensions)
    return places, torch.cartesian_prod(*[weights] * dimensions).reshape(-1, dimensions).log().sum(-1)


def dense(model: HelmholtzMachine, x: Tensor, reach: float = 8.0, width: float = 0.2, nodes: int = 6) -> Tensor:
    """log p(x) by brute force."""
    places, weights = grid(len(model.prior().mean), reach, width, nodes)
    parts = []
    with torch.no_grad():
        for z, weight in zip(places.split(20_000), weights.split(20_000), strict=True):
            log_lik = model.decode(z.unsqueeze(1)).log_prob(x)
            parts.append(torch.logsumexp(log_lik + (model.prior().log_prob(z) + weight).unsqueeze(1), 0))
    return torch.logsumexp(torch.stack(parts), 0)


def require_honest(found: Evidence, expected: Tensor, tolerance: float = 1e-3) -> None:
    """The error is within the tolerance, and what it promises is true."""
    assert found.error.max() <= tolerance
    difference = (found.log_p - expected).abs()
    assert (difference <= 3 * found.error + 1e-6).all(), (difference, found.error)
    assert difference.max() <= tolerance


def observed(name: str, pixels: int, count: int = 4) -> Tensor:
    levels = torch.randint(0, 256, (count, pixels), generator=seeded(9)).to(torch.uint8)
    x = LIKELIHOODS[name].observe(levels, generator=seeded(1)).double()
    return x if name == "bernoulli" else (x * 255).round() / 255


@pytest.mark.parametrize("tolerance", [1e-1, 1e-3, 1e-6])
def test_a_small_vae(tolerance: float) -> None:
    model, x = small_vae(), small_images(8)
    found = log_evidence(model, x, tolerance)
    require_honest(found, exact.vae_log_evidence(model, x).detach(), tolerance)
    assert found.evaluations < 100_000
    assert not found.log_p.requires_grad


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("latent", [1, 2])
def test_every_likelihood(name: str, latent: int) -> None:
    gain = 1.0 if name == "laplace" else 2.0  # its kinks are hard on the oracle
    model, x = small_machine(shape=(1, 1, 2), latent=latent, likelihood=name, gain=gain), observed(name, 2)
    width = 0.01 if latent == 1 else 0.4 if name in ("categorical", "discretised_logistic") else 0.1
    require_honest(log_evidence(model, x), dense(model, x, reach=5.6, width=width))


PAIRS = [
    *product(
        ["standard_normal", "gaussian", "learned_gaussian", "mixture"], ["diagonal_gaussian", "full_gaussian", "flow"]
    ),
    ("vamp", "diagonal_gaussian"),
]


@pytest.mark.parametrize(("prior", "posterior"), PAIRS)
def test_every_prior_and_posterior(prior: str, posterior: str) -> None:
    given = GIVEN if prior == "gaussian" else {}
    model, x = small_machine(prior=prior, posterior=posterior, **given), small_images(4)
    require_honest(log_evidence(model, x), dense(model, x, reach=16, width=0.4))


@pytest.mark.parametrize("prior", ["standard_normal", "gaussian", "learned_gaussian"])
@pytest.mark.parametrize("latent", [1, 2])
def test_linear_models(prior: str, latent: int) -> None:
    model = linear_machine(latent, prior=prior)
    x = model.dream(20, generator=seeded(2))[0]
    evidence, _ = conditioned(model, x)
    require_honest(log_evidence(model, x), evidence.log_prob(x).detach())


@pytest.mark.parametrize("latent", [1, 2])
@pytest.mark.parametrize("noise", [0.1, 0.01, 0.001])
@pytest.mark.parametrize("centre", [0.0, 15.0])
@pytest.mark.parametrize("encoder", [None, (0.0, 1.0), (3.0, 0.5), (-8.0, 2e-3)], ids=str)
def test_narrow_posteriors(latent: int, noise: float, centre: float, encoder: tuple[float, float] | None) -> None:
    """A thousand times narrower than the prior, fifteen deviations off, and an encoder that is right, or looks
    elsewhere."""
    model = linear_machine(latent, noise=max(noise, 4e-3) if encoder is None else noise)
    if encoder:
        mislead(model, *encoder)
    z = centre + torch.randn(3, latent, generator=seeded(5), dtype=torch.float64)
    x = model.decode(z).sample(1, generator=seeded(6)).squeeze(0).detach()
    require_honest(log_evidence(model, x), conditioned(model, x)[0].log_prob(x).detach())


def test_what_lies_beyond_every_box_is_admitted() -> None:
    model = linear_machine(1, noise=0.01)
    mislead(model, 0.0, 1.0)
    x = model.decode(torch.tensor([[100.0], [0.5]]).double()).mean.detach()
    found = log_evidence(model, x)
    assert found.error[0] == math.inf
    assert found.error[1] < 1e-3


def many_modes(latent: int, noise: float) -> HelmholtzMachine:
    """The encoder knows the mode at +1 only."""
    trunk = nn.Sequential(Square(), nn.Linear(latent, 4))
    decoder = Conditional(trunk, SharedScaleGaussianFamily(4))
    model = HelmholtzMachine([layer(4, DiagonalGaussianFamily(latent))], [decoder], StandardNormalPrior(latent))
    model = model.double()
    with torch.no_grad():
        trunk[1].weight.copy_(torch.randn(4, latent, generator=seeded(8)))
        trunk[1].bias.zero_()
        decoder.family.raw_scale.fill_(raw_scale(noise))
    mislead(model, 1.0, noise)
    return model


@pytest.mark.parametrize("latent", [1, 2])
@pytest.mark.parametrize("noise", [0.3, 0.03])
def test_posteriors_with_modes_unknown_to_the_encoder(latent: int, noise: float) -> None:
    model = many_modes(latent, noise)
    z = torch.tensor([1.0, 1.1, 0.9]).double().unsqueeze(1).expand(3, latent)
    x = model.decode(z).sample(1, generator=seeded(6)).squeeze(0).detach()
    found = log_evidence(model, x)
    expected = dense(model, x, reach=3, width=0.3 if noise > 0.1 else 0.05)
    require_honest(found, expected)


def test_the_error_is_honest_for_many_random_posteriors() -> None:
    """Two modes of any place and width between the nodes: no chance agreement of two rules may pass for the truth."""
    for seed in range(40):
        model = many_modes(1, 0.05 * 10 ** (seed / 40))
        with torch.no_grad():
            model.generative[0].trunk[1].weight.copy_(torch.randn(4, 1, generator=seeded(seed)))
        x = model.dream(5, generator=seeded(seed + 1))[0]
        require_honest(log_evidence(model, x), dense(model, x, reach=6, width=0.03))


def test_an_integral_cut_short_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quadrature, "DEEPEST", 3)
    model = linear_machine(2, noise=0.01)
    x = model.dream(5, generator=seeded(2))[0]
    found = log_evidence(model, x)
    difference = (found.log_p - conditioned(model, x)[0].log_prob(x)).abs()
    assert (found.error > 1e-3).all()
    assert (difference <= 3 * found.error).all()


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = small_vae(), small_images(5)
    whole = log_evidence(model, x)
    monkeypatch.setattr(quadrature, "EXAMPLES", 2)
    monkeypatch.setattr(quadrature, "VALUES", 50)
    parts = log_evidence(model, x)
    torch.testing.assert_close(parts.log_p, whole.log_p, rtol=0, atol=1e-6)
    assert parts.evaluations > whole.evaluations


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_cross_log_prob_is_broadcasting(name: str, precision: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_machine(likelihood=name, widths=(), gain=3.0)
    z, x = torch.randn(37, 2, generator=seeded(1)).double(), observed(name, SIZE)
    with torch.no_grad():
        expected = model.decode(z.unsqueeze(1)).log_prob(x)
        density = model.to(precision).decode(z.to(precision))
    monkeypatch.setattr(quadrature, "VALUES", SIZE * 4 * 10)
    found = cross_log_prob(density, x.to(precision))
    assert found.dtype == precision
    assert found.shape == (37, 4)
    close = {"rtol": 1e-12, "atol": 1e-12} if precision == torch.float64 else {"rtol": 1e-5, "atol": 1e-4}
    torch.testing.assert_close(found.double(), expected, **close)


def test_cross_log_prob_of_far_values_in_single_precision() -> None:
    """Squares of 1,000 deviations are expanded; their difference is what counts."""
    loc, x = torch.tensor([[1000.0], [1000.5]]), torch.tensor([[1001.0]])
    expected = Normal(loc.unsqueeze(1), torch.ones(1)).log_prob(x)
    torch.testing.assert_close(cross_log_prob(Normal(loc, torch.ones(1)), x), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("latent", [1, 2])
def test_the_posterior_integrates_to_one(latent: int) -> None:
    model, x = small_vae(latent), small_images(4)
    z, weights = grid(latent, 8, 0.4, 6)
    log_mass = log_posterior(model, x, z, log_evidence(model, x).log_p) + weights.unsqueeze(1)
    torch.testing.assert_close(torch.logsumexp(log_mass, 0), torch.zeros(4).double(), rtol=0, atol=1e-6)


def test_the_posterior_is_bayes() -> None:
    model = linear_machine(2)
    x, z = model.dream(4, generator=seeded(2))[0], torch.randn(9, 2, generator=seeded(3)).double()
    evidence, posterior = conditioned(model, x)
    found = log_posterior(model, x, z, evidence.log_prob(x))
    torch.testing.assert_close(found, posterior.log_prob(z.unsqueeze(1)).detach(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (small_machine(latent=3), "needs 1 or 2 latent dimensions; got 3: use importance or annealed sampling"),
        (small_machine(posterior="bernoulli", prior="bernoulli"), "use enumeration for small binary machines"),
        (belief_net(), "quadrature needs one layer of continuous units"),
        (gaussian_machine(), "quadrature needs one layer of continuous units"),
        (small_machine(posterior="deterministic", prior="none"), "a plain autoencoder has no prior to draw codes from"),
    ],
    ids=["3-D", "binary", "two binary layers", "two layers", "plain"],
)  # fmt: skip
def test_machines_that_are_refused(model: HelmholtzMachine, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        log_evidence(model, torch.zeros(1, 6).double())


def test_values_outside_the_support_are_refused() -> None:
    with pytest.raises(ValueError, match=r"x must be 0 or 1 for Bernoulli; got 0\.5: binarise grey values first"):
        log_evidence(small_vae(), torch.full((1, SIZE), 0.5).double())


@pytest.mark.parametrize(("name", "count"), [("digits-2d", 256), ("mnist-2d", 20)])
def test_bounds_of_shipped_models_rise_to_the_evidence(name: str, count: int) -> None:
    """ELBO < IWAE-2 < IWAE-50 < log p(x), each by more than four standard errors of the paired differences; two
    tolerances agree on the digits."""
    config, model = load_model(build.HERE / name)
    x = LIKELIHOODS[config.model.likelihood].observe(read_sample(build.HERE / name).x[:count], generator=seeded(1))
    found = log_evidence(model, x)
    assert found.error.max() <= 1e-3
    if count > 20:
        torch.testing.assert_close(found.log_p, log_evidence(model, x, 1e-4).log_p, rtol=0, atol=0.01)
    with torch.no_grad():
        log_w = model.terms(x, model.infer(x, 2_000, generator=seeded(2))).log_weights.double()
    chain = [
        (torch.logsumexp(log_w.unflatten(0, (-1, draws)), 1) - math.log(draws)).unflatten(0, (20, -1)).mean(1)
        for draws in (1, 2, 50)
    ]
    for looser, tighter in zip(chain, [*chain[1:], found.log_p.expand(20, -1)], strict=True):
        assert exact.z_scores((tighter - looser).mean(1), 0.0) > 4
