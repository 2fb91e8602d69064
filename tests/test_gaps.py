"""Gaps of models whose posteriors are known, and quadrature of the bound."""

import math

import pytest
import torch
from torch import Tensor
from torch import distributions as td

from tests import exact
from tests.small import (
    belief_net,
    conditioned,
    linear_machine,
    seeded,
    small_images,
    small_machine,
    small_vae,
)
from vae_core import gaps as module
from vae_core.closed_form import enumerated_log_evidence, linear_gaussian
from vae_core.gaps import best_posterior, elbo_by_quadrature, exact_log_evidence, gaps, hermite
from vae_core.model import HelmholtzMachine
from vae_core.quadrature import log_evidence


def images(model: HelmholtzMachine, count: int = 6) -> Tensor:
    return model.dream(count, generator=seeded(2))[0]


def shift(model: HelmholtzMachine) -> None:
    """Every mean 0.3 off, every scale by a factor of 1.5."""
    latent = model.prior().mean.shape[-1]
    with torch.no_grad():
        bias = model.recognition[0].trunk[0].bias
        bias[:latent] += 0.3
        bias[latent : 2 * latent] += math.log(1.5)


def divergence(model: HelmholtzMachine, x: Tensor) -> Tensor:
    """KL(q(z|x) || p(z|x)), with q as torch.distributions has it."""
    return td.kl_divergence(as_multivariate(model, x), conditioned(model, x)[1]).detach()


def as_multivariate(model: HelmholtzMachine, x: Tensor) -> td.MultivariateNormal:
    q = model.encode(x)
    tril = q.scale_tril if hasattr(q, "scale_tril") else torch.diag_embed(q.scale)
    return td.MultivariateNormal(q.loc, scale_tril=tril)


def test_hermite_integrates_polynomials() -> None:
    nodes, weights = hermite(8, 2)
    moments = [
        (weights * nodes[:, 0] ** a * nodes[:, 1] ** b).sum().item() for a, b in ((0, 0), (2, 0), (4, 2), (3, 2))
    ]
    assert moments == pytest.approx([1, 1, 3, 0], abs=1e-12)


def test_elbo_by_quadrature_of_a_small_vae() -> None:
    model, x = small_vae(), small_images(5)
    with torch.no_grad():
        found = elbo_by_quadrature(model, x, model.encode(x))
        same, finer = (exact.vae_terms(model, x, nodes=nodes).elbo() for nodes in (24, 60))
    torch.testing.assert_close(found, same, rtol=0, atol=1e-12)
    torch.testing.assert_close(found, finer, rtol=0, atol=1e-4)


@pytest.mark.parametrize("posterior", ["full_gaussian", "flow"])
def test_elbo_by_quadrature_is_the_mean_of_draws(posterior: str) -> None:
    model, x = small_machine(posterior=posterior), small_images(4)
    with torch.no_grad():
        found = elbo_by_quadrature(model, x, model.encode(x))
        drawn = model.terms(x, model.infer(x, 20_000, generator=seeded(1))).log_weights
    assert exact.z_scores(drawn, found).abs().max() < 4


def test_a_posterior_without_noise_to_push_is_refused() -> None:
    with pytest.raises(ValueError, match="quadrature needs a Gaussian posterior or a flow; got Bernoulli"):
        elbo_by_quadrature(belief_net(), small_images(2), belief_net().encode(small_images(2)))


def test_the_exact_evidence_by_whatever_serves() -> None:
    linear, vae, binary = linear_machine(2), small_vae(), belief_net()
    x = images(linear)
    assert torch.equal(exact_log_evidence(linear, x).log_p, linear_gaussian(linear, x)[0])
    assert exact_log_evidence(linear, x).evaluations == 0
    x = small_images(3)
    assert torch.equal(exact_log_evidence(vae, x).log_p, log_evidence(vae, x).log_p)
    assert torch.equal(exact_log_evidence(binary, x).log_p, enumerated_log_evidence(binary, x))
    with pytest.raises(ValueError, match="got 3: use importance or annealed sampling"):
        exact_log_evidence(small_machine(latent=3), x)


@pytest.mark.parametrize("prior", ["standard_normal", "gaussian", "learned_gaussian"])
@pytest.mark.parametrize("latent", [1, 2])
def test_an_encoder_that_is_right_has_no_gaps(prior: str, latent: int) -> None:
    model = linear_machine(latent, prior=prior)
    found = gaps(model, images(model))
    for gap in (found.total, found.approximation, found.amortisation):
        torch.testing.assert_close(gap, torch.zeros_like(gap), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("latent", "posterior"), [(1, "diagonal_gaussian"), (2, "full_gaussian")])
def test_a_wrong_encoder_of_the_right_family_has_an_amortisation_gap_only(latent: int, posterior: str) -> None:
    model = linear_machine(latent, posterior=posterior)
    shift(model)
    x = images(model)
    found, expected = gaps(model, x), divergence(model, x)
    assert expected.min() > 0.1
    torch.testing.assert_close(found.amortisation, expected, rtol=0, atol=1e-3)
    assert found.approximation.abs().max() < 1e-3
    assert found.approximation.min() > -1e-9
    best, truth = best_posterior(model, x), linear_gaussian(model, x)[1]
    torch.testing.assert_close(best.mean, truth.mean, rtol=0, atol=0.02)


def test_a_diagonal_family_has_the_gap_of_the_best_diagonal_gaussian() -> None:
    """Where the posterior is correlated: variances of one over the precision's diagonal (Bishop 2006, eq. 10.12-10.15),
    and a wrong encoder adds its own."""
    model = linear_machine(2, posterior="diagonal_gaussian")
    x = images(model)
    best = divergence(model, x)  # the helper's encoder is that best one
    precision = conditioned(model, x)[1].precision_matrix[0].detach()
    by_hand = 0.5 * (precision.diagonal().log().sum() - torch.logdet(precision))
    assert by_hand > 0.05
    torch.testing.assert_close(best, by_hand.expand(6))
    shift(model)
    found = gaps(model, x)
    torch.testing.assert_close(found.approximation, best, rtol=0, atol=1e-3)
    torch.testing.assert_close(found.total, divergence(model, x), rtol=0, atol=1e-9)
    torch.testing.assert_close(found.total, found.approximation + found.amortisation, rtol=0, atol=1e-12)
    wide = linear_machine(2, posterior="full_gaussian")
    shift(wide)
    assert gaps(wide, x).approximation.max() < 1e-3


@pytest.mark.parametrize("posterior", ["diagonal_gaussian", "full_gaussian", "flow"])
def test_no_gap_is_negative(posterior: str) -> None:
    model, x = small_machine(posterior=posterior), small_images(4)
    found = gaps(model, x)
    assert (found.amortisation >= 0).all()
    assert (found.approximation >= -found.error - 1e-5).all()
    assert found.amortisation.max() > 0.1


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = small_vae(), small_images(5)
    monkeypatch.setattr(module, "STEPS", 20)
    whole = gaps(model, x)
    monkeypatch.setattr(module, "EXAMPLES", 2)
    parts = gaps(model, x)
    torch.testing.assert_close(parts.elbo, whole.elbo, rtol=0, atol=1e-12)
    torch.testing.assert_close(parts.best_elbo, whole.best_elbo, rtol=0, atol=1e-9)


def test_nothing_is_trained_on_the_way() -> None:
    model, x = small_machine(posterior="flow"), small_images(2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gaps(model, x)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
