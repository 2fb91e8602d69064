import pytest
import torch
from torch import Tensor
from torch import distributions as td
from torch.utils._pytree import tree_map

from tests import exact
from tests.small import seeded
from tests.test_distributions import example, leaves
from vae_core.flows import QUADRATURE_POINTS, STRETCH, CouplingFlow

SIZES = [2, 3, 5]


def jacobian_log_prob(flow: CouplingFlow, noise: Tensor) -> Tensor:
    """log N(noise; 0, I) - log |det of the Jacobian of push| at one noise [D], for a flow without batch axes."""
    jacobian = torch.func.jacrev(lambda e: flow.push(e.unsqueeze(0)).squeeze(0))(noise)
    return td.Normal(0.0, 1.0).log_prob(noise).sum() - torch.linalg.slogdet(jacobian).logabsdet


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_log_prob_is_that_of_the_jacobian(size: int, seed: int) -> None:
    flow = example(CouplingFlow, (size,), seed)
    parameters = leaves(flow)
    noise = torch.randn(10, size, generator=seeded(seed), dtype=torch.float64)
    expected = torch.stack([jacobian_log_prob(flow, e) for e in noise])
    value = flow.log_prob(flow.push(noise))
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-10)
    weights = torch.randn(10, generator=seeded(4), dtype=torch.float64)
    torch.testing.assert_close(
        torch.autograd.grad(value, parameters, weights, allow_unused=True, materialize_grads=True),
        torch.autograd.grad(expected, parameters, weights, allow_unused=True, materialize_grads=True),
        rtol=1e-8,
        atol=1e-8,
    )


@pytest.mark.parametrize("size", SIZES)
def test_the_slope_in_x_by_differences(size: int) -> None:
    flow = example(CouplingFlow, (3, size))
    x = flow.sample(2, generator=seeded(1)).requires_grad_()
    assert torch.autograd.gradcheck(flow.log_prob, [x])


@pytest.mark.parametrize("size", SIZES)
def test_a_batch_is_its_examples_one_by_one(size: int) -> None:
    flow = example(CouplingFlow, (4, 3, size))
    x = 2 * torch.randn(6, 4, 3, size, generator=seeded(1), dtype=torch.float64)
    value, mean = flow.log_prob(x), flow.mean
    assert value.shape == (6, 4, 3)
    for i in range(4):
        for j in range(3):
            one = CouplingFlow(flow.loc[i, j], flow.scale[i, j], flow.context[i, j], flow.layers)
            torch.testing.assert_close(value[:, i, j], one.log_prob(x[:, i, j]))
            torch.testing.assert_close(mean[i, j], one.mean)


def test_one_x_for_many_examples() -> None:
    flow = example(CouplingFlow, (5, 3))
    x = torch.randn(3, generator=seeded(1), dtype=torch.float64)
    torch.testing.assert_close(flow.log_prob(x), flow.log_prob(x.expand(5, 3)))


def test_every_value_is_moved_by_the_others_and_by_the_context() -> None:
    flow = example(CouplingFlow, (4,))
    noise = torch.randn(4, generator=seeded(1), dtype=torch.float64)
    assert (torch.func.jacrev(lambda e: flow.push(e[None])[0])(noise) != 0).all()
    by_context = torch.func.jacrev(
        lambda context: CouplingFlow(flow.loc, flow.scale, context, flow.layers).push(noise[None])[0]
    )(flow.context)
    assert (by_context != 0).all()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_mass_is_one(seed: int) -> None:
    flow = example(CouplingFlow, (2,), seed)
    reach = flow.sample(100_000, generator=seeded(seed))
    low, high = reach.amin(0) - 2, reach.amax(0) + 2
    (x, dx), (y, dy) = (exact.legendre(240, a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))
    density = flow.log_prob(torch.cartesian_prod(x, y)).exp().reshape(240, 240)
    assert (dx @ density @ dy).item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_draws_are_pushed_noise(size: int) -> None:
    flow = example(CouplingFlow, (3, size))
    noise = torch.randn(7, 3, size, generator=seeded(1), dtype=torch.float64)
    assert torch.equal(flow.sample(7, generator=seeded(1)), flow.push(noise))


@pytest.mark.parametrize("size", SIZES)
def test_mean_against_draws(size: int) -> None:
    """The quadrature behind the mean is good to a twentieth of a standard deviation."""
    flow = example(CouplingFlow, (3, size))
    draws = flow.sample(100_000, generator=seeded(1))
    assert ((flow.mean - draws.mean(0)) / draws.std(0)).abs().max() < 0.05


@pytest.mark.parametrize("size", SIZES)
def test_mean_of_an_affine_flow_is_exact(size: int) -> None:
    flow = example(CouplingFlow, (3, size))
    still = CouplingFlow(flow.loc, flow.scale, flow.context, tree_map(torch.zeros_like, flow.layers))
    # each layer hands the moved part to the front: three of them permute the values
    expected = still.push(torch.zeros(1, 3, size, dtype=torch.float64)).squeeze(0)
    torch.testing.assert_close(still.mean, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(expected.sort().values, flow.loc.sort().values)
    assert QUADRATURE_POINTS == 256


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("steepness", [1.0, 1e6])
def test_single_precision_round_trip(size: int, steepness: float) -> None:
    """However large the raw log-scales, a layer stretches by e^2 at most, so that it can be undone."""
    flow = example(CouplingFlow, (20, size))
    factor = torch.ones(2 * (size // 2), dtype=torch.float64)
    factor[size // 2 :] = steepness  # shifts first, then log-scales
    layers = tuple((w1, b1, w2 * factor[:, None], b2 * factor) for w1, b1, w2, b2 in flow.layers)
    single = CouplingFlow(*tree_map(Tensor.float, (flow.loc, flow.scale, flow.context, layers)))
    double = CouplingFlow(*tree_map(Tensor.double, tuple(vars(single).values())))
    noise = torch.randn(10, 20, size, generator=seeded(1))
    value = single.log_prob(single.push(noise))
    torch.testing.assert_close(value.double(), double.log_prob(double.push(noise.double())), rtol=1e-4, atol=1e-3)
    base = td.Independent(td.Normal(double.loc, double.scale), 1)
    unbent = base.log_prob(double.loc + double.scale * noise)
    assert (value - unbent).abs().max() <= STRETCH * len(layers) * (size // 2) + 1e-3
