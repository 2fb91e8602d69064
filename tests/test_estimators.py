"""Every estimator against exact expectations, twice: at random draws, with standard errors, for each bound it serves;
and at all draws there are, without any error, for each machine that `rules` lets it train."""

from collections.abc import Callable, Sequence
from itertools import product

import pytest
import torch
from torch import Tensor

from tests import exact
from tests.exact import AllDraws
from tests.small import SIZE, belief_net, gaussian_machine, seeded, small_images, small_vae
from tests.test_bounds import OneDimensional
from vae_core import distributions, flows
from vae_core.bounds import BOUNDS, Objective
from vae_core.config import ModelConfig, ObjectiveConfig
from vae_core.estimators import ESTIMATORS, Estimate
from vae_core.model import HelmholtzMachine, machine
from vae_core.posteriors import POSTERIORS
from vae_core.priors import PRIORS
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


ROWS = {"score_function": 12_000, "score_function_loo": 4_000}
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
    values, gradients = replicates(given, model, x, 2, rows=ROWS.get(estimator, 2_000))
    assert_unbiased(values, expected.detach()[None])
    for samples, gradient in zip(gradients, flat_gradients(expected, model), strict=True):
        assert_unbiased(samples, gradient)


@pytest.mark.parametrize(("estimator", "bound"), [pair for pair in SERVED if pair not in UNBIASED])
@pytest.mark.parametrize("draws", [2, 3])
def test_each_group_of_networks_learns_its_own_target(estimator: str, bound: str, draws: int) -> None:
    """Of a machine of two binary layers, against the sum over all its states and, for dreams, over all images."""
    model, x, given = belief_net(), small_images(2), ObjectiveConfig(bound, estimator, draws)
    states = exact.all_draws(model, x, 0)
    values, gradients = replicates(given, model, x, draws, rows=3_500)
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
    generator = seeded(12)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        # milder where importance weights would otherwise be too uneven for eight nodes
        for parameter in model.recognition.parameters():
            parameter *= 0.5 if below else 0.3 if posterior == "flow" else 0.7
        for parameter in model.generative[1:].parameters():
            parameter *= 0.5
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
        # checks of types look at every property of a density, and a flow's mean takes that many draws
        monkeypatch.setattr(flows, "QUADRATURE_POINTS", 1)

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
    """Exact for binary codes and for estimators that differentiate what the oracle does, else as good as 8 nodes."""
    model, x = configured(posterior, prior, LAYERS[layers]), small_images(2)
    # the kink of free bits spoils score functions at nodes; random draws have no such trouble (see above)
    kink = posterior == "bernoulli" or ESTIMATORS[estimator].reparameterised
    given = ObjectiveConfig(bound, estimator, 2, alpha=0.3, free_nats=0.1 if kink else 50.0)
    states = exact.all_draws(model, x, 8)
    expected = TARGETS[estimator](model, states, 2, given)
    value, gradients = over_all_draws(given, model, x, states, 2, script)
    torch.testing.assert_close(value, expected.detach())
    encoder, *others = zip(gradients, flat_gradients(expected, model), strict=True)
    assert encoder[1].norm() > 1e-2
    assert (encoder[0] - encoder[1]).norm() < (1e-9 if posterior == "bernoulli" else 0.01) * encoder[1].norm()
    for gradient, exactly in others:
        torch.testing.assert_close(gradient, exactly, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("estimator", "bound"), UNBIASED)
def test_mean_over_all_states_of_a_belief_net(estimator: str, bound: str, script: Script) -> None:
    """Where no pathwise gradient passes: two layers of three and two binary units, with the fewest draws allowed."""
    if ESTIMATORS[estimator].reparameterised:
        return
    model, x, draws = belief_net(), small_images(2), ESTIMATORS[estimator].draws
    given, states = ObjectiveConfig(bound, estimator, draws, alpha=0.3, free_nats=0.2), exact.all_draws(model, x, 0)
    expected = TARGETS[estimator](model, states, draws, given)
    value, gradients = over_all_draws(given, model, x, states, draws, script)
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(gradients, flat_gradients(expected, model), rtol=1e-9, atol=1e-9)


def test_reweighted_wake_sleep_over_all_pairs_of_states(script: Script) -> None:
    """Its generative gradient is that of IWAE-2, its recognition gradient is not."""
    model, x, given = belief_net(), small_images(2), ObjectiveConfig("iwae", "reweighted_wake_sleep", 2)
    states = exact.all_draws(model, x, 0)
    _, gradients = over_all_draws(given, model, x, states, 2, script)
    expected = flat_gradients(exact.reweighted_wake_sleep(states, 2), model)
    torch.testing.assert_close(gradients, expected, rtol=1e-9, atol=1e-9)
    bound = exact.mean_bound(exact.all_draws(model, x, 0), 2, given)
    encoder, decoder = flat_gradients(bound.mean(), model)
    torch.testing.assert_close(gradients[1], decoder, rtol=1e-9, atol=1e-9)
    assert (gradients[0] - encoder).norm() > 0.3 * encoder.norm()


def test_the_oracles_agree_with_closed_forms() -> None:
    model, x = small_vae(), small_images()
    states, expected = exact.all_draws(model, x, 40), exact.vae_terms(model, x)
    given = ObjectiveConfig("elbo", beta=2.5)
    torch.testing.assert_close(exact.mean_bound(states, 1, given), expected.elbo(2.5), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(exact.mean_bound(states, 1, given, analytic_kl=True), expected.elbo(2.5))


# Facts of single estimates


def fitting(estimator: str) -> tuple[HelmholtzMachine, Tensor]:
    """A machine that the estimator can train."""
    return (small_vae() if ESTIMATORS[estimator].reparameterised else belief_net()), small_images(5)


@pytest.mark.parametrize(("estimator", "bound"), SERVED)
def test_objective_is_the_bound_and_terms_have_one_value_a_draw(estimator: str, bound: str) -> None:
    given = ObjectiveConfig(bound, estimator, alpha=0.3, free_nats=0.5)
    estimate = estimate_of(given, *fitting(estimator), 7, seeded(1))
    assert estimate.objective.shape == (5,)
    assert all(term.shape == (7, 5) for term in vars(estimate.terms).values())
    torch.testing.assert_close(estimate.objective, Objective(given)(estimate.terms), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("estimator", "bound"), SERVED)
def test_estimates_depend_on_the_generator_only(estimator: str, bound: str) -> None:
    given, (model, x) = ObjectiveConfig(bound, estimator), fitting(estimator)

    def drawn(seed: int) -> tuple[Tensor, Tensor]:
        objective = estimate_of(given, model, x, 2, seeded(seed)).objective
        return objective, torch.cat(flat_gradients(objective.sum(), model))

    before = torch.get_rng_state()
    first, again, other = drawn(1), drawn(1), drawn(2)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[1], other[1])


def test_analytic_and_sampled_kl_agree() -> None:
    model, x = small_vae(), small_images()
    analytic, sampled = (
        estimate_of(ObjectiveConfig("elbo", name), model, x, 200_000, seeded(2)).terms
        for name in ("pathwise_analytic", "pathwise")
    )
    exact_kl = exact.vae_terms(model, x).kl
    torch.testing.assert_close(analytic.kl, exact_kl.expand_as(analytic.kl), rtol=1e-10, atol=1e-10)
    assert exact.z_scores(sampled.kl, exact_kl).abs().max() < 4.5
    assert torch.equal(analytic.log_lik, sampled.log_lik)


SERVES_BINARY_UNITS = "'score_function_loo', 'wake_sleep' or 'reweighted_wake_sleep'"
REFUSED = [
    *(
        (
            name,
            "elbo",
            belief_net,
            2,
            f"needs reparameterised layers, but layer 1 is Bernoulli; use {SERVES_BINARY_UNITS}",
        )
        for name, entry in ESTIMATORS.items()
        if entry.reparameterised
    ),
    *(
        (name, entry.bounds[0], belief_net, entry.draws - 1, rf"needs at least 2 draws .*; got {entry.draws - 1}")
        for name, entry in ESTIMATORS.items()
        if entry.draws > 1
    ),
    ("pathwise_analytic", "elbo", lambda: configured("full_gaussian", "mixture", (1,)), 1, "one stochastic layer; use"),
    (
        "pathwise_analytic",
        "elbo",
        lambda: configured("flow", "standard_normal"),
        1,
        "no closed-form KL from CouplingFlow to Normal; use the estimator 'pathwise'",
    ),
    (
        "pathwise_analytic",
        "elbo",
        lambda: configured("full_gaussian", "mixture"),
        1,
        "no closed-form KL from FullNormal to MixtureOfNormals; use the estimator 'pathwise'",
    ),
    (
        "doubly_reparameterised",
        "free_bits",
        small_vae,
        2,
        "not defined for ELBO with free bits; use 'pathwise'",
    ),
]


@pytest.mark.parametrize(("estimator", "bound", "build", "draws", "message"), REFUSED)
def test_what_cannot_work_is_refused_with_what_serves(
    estimator: str, bound: str, build: Callable[[], HelmholtzMachine], draws: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        estimate_of(ObjectiveConfig(bound, estimator), build(), small_images(), draws, seeded(1))


@pytest.mark.parametrize("bound", BOUNDS)
def test_pathwise_is_the_bound_of_the_machine_s_own_terms(bound: str) -> None:
    model, x = gaussian_machine(), torch.randn(3, 4, generator=seeded(1), dtype=torch.float64)
    given = ObjectiveConfig(bound, "pathwise", alpha=0.3, free_nats=0.2)
    estimate = estimate_of(given, model, x, 5, seeded(2))
    value = Objective(given)(model.terms(x, model.infer(x, 5, generator=seeded(2))))
    torch.testing.assert_close(estimate.objective, value)
    for ours, expected in zip(*(flat_gradients(v.mean(), model) for v in (estimate.objective, value)), strict=True):
        torch.testing.assert_close(ours, expected)


# Variances


def encoder_variance(estimator: str, bound: str, model: HelmholtzMachine, x: Tensor, draws: int) -> float:
    """Sum of the variances of the encoder's gradient of single estimates, over 150 of them."""
    given, generator = ObjectiveConfig(bound, estimator, draws), seeded(5)
    samples = [
        flat_gradients(estimate_of(given, model, x, draws, generator).objective.mean(), model)[0] for _ in range(150)
    ]
    return torch.stack(samples).var(0).sum().item()


@pytest.mark.parametrize("bound", ["elbo", "iwae"])
def test_variances_of_the_encoder_s_gradient(bound: str) -> None:
    """Score function > leave-one-out > pathwise."""
    model, x = small_vae(), small_images()
    plain, judged, through = (
        encoder_variance(name, bound, model, x, 5) for name in ("score_function", "score_function_loo", "pathwise")
    )
    assert plain > 3 * judged
    assert judged > 3 * through


def nearly_right(away: float) -> tuple[HelmholtzMachine, Tensor]:
    """A machine whose q is the posterior but for so much in its mean and log-scale, and images."""
    model = OneDimensional.machine()
    with torch.no_grad():
        model.recognition[0].trunk[0].bias += torch.tensor([away, away])
    return model, torch.randn(5, 3, generator=seeded(3), dtype=torch.float64)


def test_doubly_reparameterised_gains_with_more_draws() -> None:
    """The pathwise gradient of IWAE drowns in noise as K grows (Rainforth et al. 2018), the doubly reparameterised one
    does not."""
    names = ("pathwise", "doubly_reparameterised")
    few, many = ([encoder_variance(name, "iwae", *nearly_right(0.3), draws) for name in names] for draws in (2, 50))
    assert many[1] < 0.1 * many[0]
    assert many[1] / many[0] < 0.5 * few[1] / few[0]


@pytest.mark.parametrize("bound", ["elbo", "renyi", "iwae"])
def test_no_noise_is_left_where_q_is_the_posterior(bound: str) -> None:
    """Sticking the landing: every single gradient is 0, while the pathwise one is not."""
    model, x = OneDimensional.machine(), torch.randn(5, 3, generator=seeded(3), dtype=torch.float64)
    landed, noisy = (
        flat_gradients(estimate_of(ObjectiveConfig(bound, name, 4), model, x, 4, seeded(1)).objective.mean(), model)[0]
        for name in ("doubly_reparameterised", "pathwise")
    )
    assert landed.abs().max() < 1e-12
    assert noisy.abs().max() > 1e-2


def test_noise_vanishes_as_q_comes_near_the_posterior() -> None:
    far, near = (encoder_variance("doubly_reparameterised", "elbo", *nearly_right(away), 1) for away in (0.1, 0.01))
    assert near < 0.02 * far
