from collections.abc import Iterator
from itertools import product

import pytest
import torch
from torch import Tensor

from tests import exact
from tests.small import belief_net, gaussian_machine, seeded, small_images, small_vae
from vae_core.bounds import BOUNDS, Terms, elbo
from vae_core.estimators import ESTIMATORS
from vae_core.model import HelmholtzMachine

REPEATS, DRAWS = 150, 1000
SMALLEST_ERROR = 0.02
"""A gradient that is wrong by this factor must be found."""

SERVED = [
    (estimator, bound)
    for estimator, bound in product(ESTIMATORS, BOUNDS)
    if BOUNDS[bound].linear or not ESTIMATORS[estimator].analytic_kl
]


def groups(model: HelmholtzMachine) -> list[list[Tensor]]:
    return [list(model.recognition.parameters()), list(model.generative.parameters())]


def flat_gradients(objective: Tensor, model: HelmholtzMachine) -> list[Tensor]:
    """The gradients of encoder and decoder, each as one vector."""
    gradients = iter(torch.autograd.grad(objective, [p for group in groups(model) for p in group]))
    return [torch.cat([next(gradients).flatten() for _ in group]) for group in groups(model)]


def estimates(
    estimator: str, bound: str, model: HelmholtzMachine, x: Tensor, beta: float
) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Independent estimates of the mean bound, with their gradients."""
    generator = seeded(8)
    for _ in range(REPEATS):
        estimate = ESTIMATORS[estimator].estimate(
            model, x, lambda terms: BOUNDS[bound].value(terms, beta), DRAWS, generator=generator
        )
        objective = estimate.objective.mean()
        yield BOUNDS[bound].value(estimate.terms, beta).detach().mean(), flat_gradients(objective, model)


def assert_unbiased(samples: Tensor, expected: Tensor) -> None:
    """Within three standard errors as a vector, and so precisely that a factor of 1.02 would not be."""
    error = samples.std(0) / len(samples) ** 0.5
    assert 3 * error.norm() < SMALLEST_ERROR * expected.norm()
    assert (samples.mean(0) - expected).norm() < 3 * error.norm()
    assert exact.z_scores(samples, expected).abs().max() < 4.5


@pytest.mark.parametrize(("estimator", "bound"), SERVED)
@pytest.mark.parametrize("latent", [1, 2])
@pytest.mark.parametrize("beta", [1.0, 2.5])
def test_value_and_gradients_against_quadrature(estimator: str, bound: str, latent: int, beta: float) -> None:
    model, x = small_vae(latent), small_images()
    expected = exact.BOUNDS[bound](exact.vae_terms(model, x), beta).mean()
    expected_gradients = flat_gradients(expected, model)
    values, gradients = zip(*estimates(estimator, bound, model, x, beta), strict=True)
    assert_unbiased(torch.stack(values)[:, None], expected.detach()[None])
    for samples, gradient in zip(zip(*gradients, strict=True), expected_gradients, strict=True):
        assert_unbiased(torch.stack(samples), gradient)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_objective_and_terms_have_one_value_an_example(estimator: str) -> None:
    model, x = small_vae(), small_images(5)
    estimate = ESTIMATORS[estimator].estimate(model, x, elbo, 7, generator=seeded(1))
    assert estimate.objective.shape == (5,)
    assert all(term.shape == (7, 5) for term in vars(estimate.terms).values())


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_estimates_depend_on_the_generator_only(estimator: str) -> None:
    model, x = small_vae(), small_images()
    first, again, other = (
        ESTIMATORS[estimator].estimate(model, x, elbo, 2, generator=seeded(seed)).objective for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_analytic_and_sampled_kl_agree() -> None:
    model, x = small_vae(), small_images()
    seen: dict[str, Terms] = {
        name: entry.estimate(model, x, elbo, 200_000, generator=seeded(2)).terms for name, entry in ESTIMATORS.items()
    }
    exact_kl = exact.vae_terms(model, x).kl
    analytic, sampled = seen["pathwise_analytic"].kl, seen["pathwise"].kl
    torch.testing.assert_close(analytic, exact_kl.expand_as(analytic), rtol=1e-10, atol=1e-10)
    assert exact.z_scores(sampled, exact_kl).abs().max() < 4.5
    assert torch.equal(seen["pathwise_analytic"].log_lik, seen["pathwise"].log_lik)


@pytest.mark.parametrize("estimator", ["pathwise", "pathwise_analytic"])
def test_a_layer_without_reparameterisation_is_refused(estimator: str) -> None:
    with pytest.raises(ValueError, match="needs reparameterised layers, but layer 1 is Bernoulli"):
        ESTIMATORS[estimator].estimate(belief_net(), small_images(), elbo, 1, generator=seeded(1))


def test_analytic_kl_of_several_layers_is_refused() -> None:
    x = torch.zeros(2, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match="one stochastic layer; use the estimator 'pathwise'"):
        ESTIMATORS["pathwise_analytic"].estimate(gaussian_machine(), x, elbo, 1, generator=seeded(1))


def test_pathwise_serves_several_layers() -> None:
    """The objective is the Monte Carlo bound of the machine's own terms."""
    model, x = gaussian_machine(), torch.randn(3, 4, generator=seeded(1), dtype=torch.float64)
    estimate = ESTIMATORS["pathwise"].estimate(model, x, elbo, 5, generator=seeded(2))
    terms = model.terms(x, model.infer(x, 5, generator=seeded(2)))
    torch.testing.assert_close(estimate.objective, (terms.log_lik + terms.log_prior - terms.log_q).mean(0))
    assert all(gradient.abs().max() > 0 for gradient in flat_gradients(estimate.objective.mean(), model))
