import math
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import is_dataclass

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch import distributions as td
from torch.utils._pytree import tree_leaves

from tests import exact
from tests.small import seeded
from vae_core import distributions, flows, gaussians, pixels
from vae_core.distributions import (
    BINARY,
    LEVELS,
    REAL,
    UNIT,
    ContinuousBernoulli,
    Density,
    Normal,
    Support,
    normal_kl,
    normal_kl_by_dimension,
)
from vae_core.flows import CouplingFlow

EVERY = [
    kind
    for module in (distributions, gaussians, flows, pixels)
    for kind in vars(module).values()
    if is_dataclass(kind) and hasattr(kind, "reparameterised") and kind.__module__ == module.__name__
]
DENSITIES = [kind for kind in EVERY if kind is not CouplingFlow]
"""Those that have a reference; the oracle of the flow is its Jacobian, in test_flows."""
REPARAMETERISED = [kind for kind in DENSITIES if kind.reparameterised]
LOGITS = [-30.0, -4.0, -0.21, -0.19, -1e-2, -1e-5, 0.0, 1e-9, 1e-3, 0.05, 0.19, 0.21, 1.0, 7.0, 30.0]


def example(kind: type[Density], shape: tuple[int, ...], seed: int = 1) -> Density:
    parameters = exact.flow_parameters if kind is CouplingFlow else exact.REFERENCES[kind].parameters
    return kind(*parameters(shape, seeded(seed)))


def leaves(density: Density) -> list[Tensor]:
    return [parameter.requires_grad_() for parameter in tree_leaves(list(vars(density).values()))]


def test_every_density_has_an_oracle() -> None:
    assert set(EVERY) == {*exact.REFERENCES, CouplingFlow}
    assert {Normal, gaussians.FullNormal, pixels.StudentT} <= set(EVERY)


@pytest.mark.parametrize("kind", EVERY)
def test_every_density_keeps_the_protocol(kind: type[Density]) -> None:
    assert isinstance(example(kind, (3, 4)), Density)


@pytest.mark.parametrize("kind", DENSITIES)
@pytest.mark.parametrize(
    ("batch", "draws"),
    [((3,), (3,)), ((3,), (5, 3)), ((5, 3), (3,)), ((), (7,))],
    ids=["same", "many x", "many p", "one p"],
)
def test_log_prob_and_its_gradients(kind: type[Density], batch: tuple[int, ...], draws: tuple[int, ...]) -> None:
    ours = example(kind, (*batch, 4))
    parameters = leaves(ours)
    x = exact.REFERENCES[kind].values((*draws, 4), seeded(2)).requires_grad_()
    value = ours.log_prob(x)
    theirs = exact.reference(ours)
    shape = torch.broadcast_shapes(theirs.batch_shape, draws)
    expected = theirs.log_prob(x.expand(*shape, 4))
    assert value.shape == expected.shape == shape
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)
    weights = torch.randn(value.shape, generator=seeded(3), dtype=torch.float64)
    given = [*parameters] if kind.support is LEVELS else [x, *parameters]  # nothing to differentiate between levels
    torch.testing.assert_close(
        torch.autograd.grad(value, given, weights), torch.autograd.grad(expected, given, weights), rtol=1e-8, atol=1e-8
    )


@pytest.mark.parametrize("kind", DENSITIES)
def test_mass_is_one_and_the_mean_is_the_mean(kind: type[Density]) -> None:
    density = example(kind, (20, 1))
    nodes, weights = exact.REFERENCES[kind].support
    mass = weights[:, None] * density.log_prob(nodes[:, None, None].expand(-1, 20, 1)).exp()
    torch.testing.assert_close(mass.sum(0), torch.ones(20, dtype=torch.float64), rtol=0, atol=1e-9)
    mean = density.mean.squeeze(-1).expand(20)
    torch.testing.assert_close((mass * nodes[:, None]).sum(0), mean, rtol=0, atol=1e-8)


@pytest.mark.parametrize("logit", LOGITS)
def test_continuous_bernoulli_at_every_logit(logit: float) -> None:
    logits = torch.tensor([logit], dtype=torch.float64, requires_grad=True)
    density = ContinuousBernoulli(logits)
    log_normaliser, mean = exact.continuous_bernoulli_moments(logit)
    x = torch.tensor([0.3], dtype=torch.float64)
    value = density.log_prob(x)
    assert value.item() == pytest.approx(0.3 * logit - log_normaliser, abs=1e-10)
    assert density.mean.item() == pytest.approx(mean, abs=1e-10)
    assert torch.autograd.grad(value, logits)[0].item() == pytest.approx(0.3 - mean, abs=1e-8)


@pytest.mark.parametrize("logit", LOGITS)
def test_continuous_bernoulli_in_single_precision(logit: float) -> None:
    logits = torch.tensor([logit], requires_grad=True)
    density = ContinuousBernoulli(logits)
    log_normaliser, mean = exact.continuous_bernoulli_moments(logits.item())
    value = density.log_prob(torch.tensor([0.25]))
    assert value.item() == pytest.approx(0.25 * logit - log_normaliser, abs=3e-6)
    assert density.mean.item() == pytest.approx(mean, abs=2e-6)
    assert torch.autograd.grad(value, logits)[0].item() == pytest.approx(0.25 - mean, abs=2e-6)


@pytest.mark.parametrize("kind", DENSITIES)
def test_sample_moments(kind: type[Density]) -> None:
    density = example(kind, (2, 3))
    draws = density.sample(40_000, generator=seeded(11))
    expected = exact.reference(density)
    assert draws.shape == (40_000, *expected.batch_shape, 3)
    density.support.require(draws, kind.__name__)
    assert exact.z_scores(draws, expected.mean).abs().max() < 4.5
    assert exact.z_scores((draws - expected.mean).square(), expected.variance).abs().max() < 4.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("logit", [-60.0, -3.0, -2e-3, -5e-4, 0.0, 1e-6, 5e-4, 2e-3, 0.5, 3.0, 25.0])
def test_continuous_bernoulli_draws_follow_the_density(logit: float, dtype: torch.dtype) -> None:
    density = ContinuousBernoulli(torch.tensor([logit], dtype=dtype))
    draws = density.sample(20_000, generator=seeded(12)).squeeze(-1).double().numpy()

    def cdf(x: np.ndarray) -> np.ndarray:
        return np.expm1(logit * x) / np.expm1(logit) if logit else x

    assert draws.min() >= 0
    assert draws.max() <= 1
    assert stats.kstest(draws, cdf).pvalue > 1e-3


@pytest.mark.parametrize("logit", [-20.0, -2e-3, -9e-4, 0.0, 9e-4, 2e-3, 20.0])
def test_continuous_bernoulli_draws_by_inversion(logit: float) -> None:
    """Too fine near zero for a statistical test: the share below a draw is the uniform number behind it."""
    logits = torch.full((1000,), logit, dtype=torch.float64, requires_grad=True)
    draws = ContinuousBernoulli(logits).sample(1, generator=seeded(13))[0]
    uniform = torch.rand(1000, generator=seeded(13), dtype=torch.float64)
    reached = torch.expm1(logit * draws) / math.expm1(logit) if logit else draws
    if logit < -1e-3:  # drawn by symmetry
        reached = 1 - reached
    torch.testing.assert_close(reached.detach(), uniform, rtol=0, atol=1e-7)
    if abs(logit) < 0.01:
        (slope,) = torch.autograd.grad(draws.sum(), logits)
        torch.testing.assert_close(slope, uniform * (1 - uniform) / 2, rtol=0, atol=1e-3)


@pytest.mark.parametrize("kind", EVERY)
def test_gradients_pass_through_draws_only_where_promised(kind: type[Density]) -> None:
    density = example(kind, (3, 4))
    leaves(density)
    assert density.sample(2, generator=seeded(1)).requires_grad is kind.reparameterised


@pytest.mark.parametrize("kind", REPARAMETERISED)
@pytest.mark.parametrize("power", [1, 2])
def test_pathwise_gradients_of_moments(kind: type[Density], power: int) -> None:
    one, many = example(kind, (4,)), example(kind, (4,))
    many = kind(*(parameter.expand(100_000, *parameter.shape).clone() for parameter in vars(many).values()))
    parameters = leaves(many)
    by_draw = torch.autograd.grad(many.sample(1, generator=seeded(6)).pow(power).sum(), parameters)
    parameters = leaves(one)
    expected = exact.reference(one)
    moment = expected.mean if power == 1 else expected.mean.square() + expected.variance
    for draws, slope in zip(by_draw, torch.autograd.grad(moment.sum(), parameters, allow_unused=True), strict=True):
        slope = torch.zeros(()) if slope is None else slope
        # the mean's slope in loc is 1 at every draw: no deviation, no z-score
        assert ((draws.mean(0) - slope).abs() <= 4.5 * draws.std(0) / len(draws) ** 0.5 + 1e-9).all()


@pytest.mark.parametrize("kind", EVERY)
def test_draws_depend_on_the_generator_only(kind: type[Density]) -> None:
    density = example(kind, (3, 4))
    first = density.sample(5, generator=seeded(1))
    state = torch.manual_seed(99).get_state()
    assert torch.equal(first, density.sample(5, generator=seeded(1)))
    assert not torch.equal(first, density.sample(5, generator=seeded(2)))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", EVERY)
def test_threads_draw_as_if_alone(kind: type[Density]) -> None:
    """Browser sessions are threads of one process."""
    density = example(kind, (3, 4))

    def draw(seed: int) -> Tensor:
        generator = seeded(seed)
        return torch.stack([density.sample(10, generator=generator) for _ in range(20)])

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(draw, range(16)))
    assert all(torch.equal(drawn, draw(seed)) for seed, drawn in enumerate(together))


def test_normal_kl_by_dimension_against_quadrature() -> None:
    q, p = example(Normal, (5, 3), 1), example(Normal, (5, 3), 2)
    nodes, weights = exact.hermite(20, 1)
    z = q.loc + q.scale * nodes[:, :, None]
    log_ratio = td.Normal(q.loc, q.scale).log_prob(z) - td.Normal(p.loc, p.scale).log_prob(z)
    by_dimension = normal_kl_by_dimension(q, p)
    torch.testing.assert_close(by_dimension, (weights[:, None, None] * log_ratio).sum(0), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(by_dimension.sum(-1), normal_kl(q, p))


INSIDE = {"REAL": [-1e30, 0.0, 0.37], "BINARY": [0.0, 1.0], "UNIT": [0.0, 0.37, 1.0], "LEVELS": [0.0, 37 / 255, 1.0]}
OUTSIDE = {
    "REAL": [math.nan, math.inf, -math.inf],
    "BINARY": [math.nan, math.inf, 0.37, -1.0, 1e-7, 255.0],
    "UNIT": [math.nan, math.inf, -1e-7, 1 + 2**-23, 255.0],
    "LEVELS": [math.nan, math.inf, 0.37, 0.5003, -1 / 255, 256 / 255],
}
SUPPORTS = {name: value for name, value in vars(distributions).items() if isinstance(value, Support)}


@pytest.mark.parametrize(("name", "support"), SUPPORTS.items(), ids=SUPPORTS)
def test_support(name: str, support: Support) -> None:
    inside = torch.tensor(INSIDE[name])
    support.require(inside.reshape(-1, 1), "X")
    support.require(inside.double(), "X")
    for value in torch.tensor(OUTSIDE[name]):
        sentence = f"x must be {support.rule} for X; got {value:g}: {support.instead}"
        with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
            support.require(torch.stack([inside[0], value, inside[1]]), "X")


def test_all_levels_are_levels_in_both_precisions() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    for x in (levels / 255, levels.double() / 255, (levels / 255).double()):
        LEVELS.require(x, "X")


def test_what_the_densities_speak_of() -> None:
    supports = {kind.__name__: kind.support for kind in EVERY}
    assert supports.pop("Bernoulli") is BINARY
    assert supports.pop("ContinuousBernoulli") is UNIT
    assert supports.pop("Categorical") is supports.pop("DiscretisedLogistic") is LEVELS
    assert all(support is REAL for support in supports.values())
