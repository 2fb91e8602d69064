"""Every estimator against exact expectations, twice: at random draws, with standard errors, for each bound it serves;
and at all draws there are, without any error, for each machine that `rules` lets it train."""

from collections.abc import Callable, Sequence
from itertools import product

import pytest
import torch
from torch import Tensor

from tests import exact
from tests.exact import AllDraws
from tests.small import SIZE, belief_net, gaussian_machine, layer, seeded, small_images, small_vae
from tests.test_bounds import OneDimensional
from vae_core import distributions
from vae_core.bounds import BOUNDS, Objective, Terms
from vae_core.config import ModelConfig, ObjectiveConfig
from vae_core.estimators import ESTIMATORS, Estimate
from vae_core.families import DiagonalGaussianFamily, FromLogits
from vae_core.distributions import Bernoulli
from vae_core.likelihoods import SharedScaleGaussianFamily
from vae_core.model import HelmholtzMachine, machine
from vae_core.posteriors import POSTERIORS
from vae_core.priors import PRIORS, StandardNormalPrior
from vae_core.rules import misfits

CHUNKS = 100
SMALLEST_ERROR = 0.02
"""A gradient that is wrong by this factor must be found."""
SERVED = [(estimator, bound) for estimator, entry in ESTIMATORS.items() for bound in entry.bounds]
UNBIASED = [(estimator, bound) for estimator, bound in SERVED if ESTIMATORS[estimator].unbiased]

Target = Callable[[HelmholtzMachine, AllDraws, int, ObjectiveConfig], Tensor]


def bound_target(model: HelmholtzMachine, draws: AllDraws, count: int, given: ObjectiveConfig) -> Tensor:
    analytic = ESTIMATORS[given.estimator].analytic_kl
    return exact.mean_bound(draws, count, given, analytic_kl=analytic).mean()


TARGETS: dict[str, Target] = {
    "pathwise_analytic": bound_target,
    "pathwise": bound_target,
    "doubly_reparameterised": bound_target,
    "score_function": bound_target,
    "score_function_loo": bound_target,
    "wake_sleep": lambda model, draws, count, given: exact.wake_sleep(model, draws, SIZE),
    "reweighted_wake_sleep": lambda model, draws, count, given: exact.reweighted_wake_sleep(draws, count),
}
"""What the estimators' gradients must be the gradient of."""


def estimate_of(
    given: ObjectiveConfig, model: HelmholtzMachine, x: Tensor, draws: int, generator: torch.Generator
) -> Estimate:
    return ESTIMATORS[given.estimator].estimate(model, x, Objective(given), draws, generator=generator)


def groups(model: HelmholtzMachine) -> list[list[Tensor]]:
    """The parameters of the encoder, of the decoder, and of the prior if it has some."""
    parts = (model.recognition, model.generative, model.prior)
    return [group for part in parts if (group := list(part.parameters()))]


def flat_gradients(objective: Tensor, model: HelmholtzMachine) -> list[Tensor]:
    """One vector a group."""
    gradients = iter(torch.autograd.grad(objective, [p for group in groups(model) for p in group]))
    return [torch.cat([next(gradients).flatten() for _ in group]) for group in groups(model)]


# At random draws


def tiny_vae() -> HelmholtzMachine:
    """Two pixels and one latent dimension: so small that score functions reach their mean."""
    config = ModelConfig(widths=(3,), activation="tanh", latent=1)
    model = machine(config, (1, 2, 1), generator=seeded(3)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    return model


TINY_IMAGES = torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)


def replicates(
    given: ObjectiveConfig, model: HelmholtzMachine, x: Tensor, draws: int, rows: int
) -> tuple[Tensor, list[Tensor]]:
    """Independent values [CHUNKS, 1] and gradients [CHUNKS, P] of the mean objective, each over so many visits to x."""
    generator, values, gradients = seeded(8), [], []
    for _ in range(CHUNKS):
        estimate = estimate_of(given, model, x.repeat(rows, 1), draws, generator)
        values.append(Objective(given)(estimate.terms).detach().mean(0, keepdim=True))
        gradients.append(flat_gradients(estimate.objective.mean(), model))
    return torch.stack(values), [torch.stack(group) for group in zip(*gradients, strict=True)]


def assert_unbiased(samples: Tensor, expected: Tensor) -> None:
    """Within three standard errors as a vector, and so precisely that a factor of 1.02 would not be."""
    error = samples.std(0) / len(samples) ** 0.5
    assert 3 * error.norm() < SMALLEST_ERROR * expected.norm()
    assert (samples.mean(0) - expected).norm() < 3 * error.norm()
    assert exact.z_scores(samples, expected).abs().max() < 4.5


@pytest.mark.parametrize(("estimator", "bound"), UNBIASED)
@pytest.mark.parametrize("beta", [1.0, 2.5])
def test_value_and_gradients_against_quadrature(estimator: str, bound: str, beta: float) -> None:
    if beta != 1 and not BOUNDS[bound].weighted:
        return
    model, x, given = tiny_vae(), TINY_IMAGES, ObjectiveConfig(bound, estimator, 2, beta, alpha=0.3, free_nats=0.5)
    draws = exact.all_draws(model, x, exact.evenly(400))
    expected = TARGETS[estimator](model, draws, 2, given)
    values, gradients = replicates(given, model, x, 2, rows=8_000 if estimator == "score_function" else 2_000)
    assert_unbiased(values, expected.detach()[None])
    for samples, gradient in zip(gradients, flat_gradients(expected, model), strict=True):
        assert_unbiased(samples, gradient)


@pytest.mark.parametrize(("estimator", "bound"), [pair for pair in SERVED if pair not in UNBIASED])
@pytest.mark.parametrize("draws", [2, 3])
def test_each_group_of_networks_learns_its_own_target(estimator: str, bound: str, draws: int) -> None:
    """Of a machine of two binary layers, against the sum over all its states and, for dreams, over all images."""
    model, x, given = belief_net(), small_images(2), ObjectiveConfig(bound, estimator, draws)
    states = exact.all_draws(model, x, 0)
    values, gradients = replicates(given, model, x, draws, rows=1_500)
    assert_unbiased(values, exact.mean_bound(states, draws, given).mean().detach()[None])
    expected = flat_gradients(TARGETS[estimator](model, states, draws, given), model)
    for samples, gradient in zip(gradients, expected, strict=True):
        assert_unbiased(samples, gradient)


# At all draws


def configured(posterior: str, prior: str, below: tuple[int, ...] = ()) -> HelmholtzMachine:
    """A small machine of the tables' parts, with learned numbers that are not those of the start."""
    config = ModelConfig(
        widths=(3,),
        activation="tanh",
        latent=1 if below else 2,
        posterior=posterior,
        prior=prior,
        below=below,
        components=3,
        prior_mean=() if below else (0.3, -0.2),
        prior_covariance=() if below else (1.5, 0.4, 0.4, 0.8),
    )
    model = machine(config, (1, 3, 2), generator=seeded(3)).double()
    generator = seeded(9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model


Script = Callable[[Sequence[Tensor]], None]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """Gives the densities, layer after layer, numbers that are known instead of random ones."""

    def begin(noise: Sequence[Tensor]) -> None:
        coming = iter(noise)

        def known(n: int, parameter: Tensor, generator: torch.Generator) -> Tensor:
            return next(coming).reshape(n, *parameter.shape)

        for name in ("normal_like", "uniform_like"):
            monkeypatch.setattr(distributions, name, known)

    return begin


def over_all_draws(
    given: ObjectiveConfig, model: HelmholtzMachine, x: Tensor, states: AllDraws, draws: int, script: Script
) -> tuple[Tensor, list[Tensor]]:
    """The exact mean of the estimator's value and gradients: each image is shown once for every tuple of draws."""
    index, weights, _ = states.tuples(draws)
    script([own[index].unsqueeze(2).expand(-1, -1, len(x), -1) for own in states.noise])
    estimate = estimate_of(given, model, x.repeat(index.shape[1], 1), draws, seeded(1))
    share = weights.detach().flatten() / len(x)
    value = (share * Objective(given)(estimate.terms).detach()).sum()
    return value, flat_gradients((share * estimate.objective).sum(), model)


LAYERS = {"one layer": (), "two layers": (1,)}


def served_by(posterior: str, prior: str, below: tuple[int, ...], given: ObjectiveConfig) -> bool:
    latent = 1 if below else 2
    return not misfits(ModelConfig(latent=latent, posterior=posterior, prior=prior, below=below), given)


WALK = [
    (posterior, prior, layers, estimator, bound)
    for posterior, prior, layers in product(POSTERIORS, PRIORS, LAYERS)
    for estimator, bound in UNBIASED
    if served_by(posterior, prior, LAYERS[layers], ObjectiveConfig(bound, estimator, 2))
]


@pytest.mark.parametrize(("posterior", "prior", "layers", "estimator", "bound"), WALK)
def test_mean_over_all_draws(
    posterior: str, prior: str, layers: str, estimator: str, bound: str, script: Script
) -> None:
    model, x = configured(posterior, prior, LAYERS[layers]), small_images(2)
    given = ObjectiveConfig(bound, estimator, 2, alpha=0.3, free_nats=1.0)
    states = exact.all_draws(model, x, 8)
    expected = TARGETS[estimator](model, states, 2, given)
    value, gradients = over_all_draws(given, model, x, states, 2, script)
    print("REL", (value-expected).abs().item(), *[((a-b).norm()/b.norm()).item() for a,b in zip(gradients, flat_gradients(expected, model))])
