import math

import pytest
import torch
from torch import Tensor
from torch import distributions as td

from tests.exact import z_scores
from tests.small import seeded, small_images, small_machine
from vae_core import aggregate as module
from vae_core.aggregate import (
    Aggregate,
    aggregate,
    as_gaussian,
    contours,
    density_grid,
    mass_levels,
    scott_scale,
)
from vae_core.autoencoder import Nothing, Point
from vae_core.distributions import Bernoulli, Normal
from vae_core.flows import CouplingFlow
from vae_core.gaussians import FullNormal
from vae_core.planes import Plane, axis_plane
from vae_core.posteriors import POSTERIORS

N = 7
BOTH = pytest.mark.parametrize("full", [False, True], ids=["diagonal", "full"])


def mixture(size: int, full: bool) -> Aggregate:
    generator = seeded(size)
    loc = 2 * torch.randn(N, size, generator=generator, dtype=torch.float64)
    scale = torch.rand(N, size, generator=generator, dtype=torch.float64) + 0.2
    below = torch.randn(N, size, size, generator=generator, dtype=torch.float64).tril(-1)
    return Aggregate(FullNormal(loc, below + torch.diag_embed(scale)) if full else Normal(loc, scale))


def reference(q: Aggregate, kept: Tensor | None = None) -> td.MixtureSameFamily:
    """The same mixture, of the kept components only, as torch.distributions has it."""
    kept = torch.arange(N) if kept is None else kept
    each = q.components
    tril = each.scale_tril if isinstance(each, FullNormal) else torch.diag_embed(each.scale)
    parts = td.MultivariateNormal(each.loc[kept], scale_tril=tril[kept])
    return td.MixtureSameFamily(td.Categorical(torch.ones(len(kept), dtype=torch.float64)), parts)


def places(size: int, count: int = 11) -> Tensor:
    return 3 * torch.randn(count, size, generator=seeded(9), dtype=torch.float64)


@BOTH
@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("values", [N, 3 * N, 1_000], ids=["one row", "three rows", "all rows"])
def test_density_and_slope_are_those_of_the_mixture(
    size: int, full: bool, values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "VALUES", values)
    q, z = mixture(size, full), places(size).requires_grad_()
    found, expected = q.log_prob(z), reference(q).log_prob(z)
    torch.testing.assert_close(found, expected)
    slopes = [torch.autograd.grad(value.sum(), z)[0] for value in (found, expected)]
    torch.testing.assert_close(*slopes)


@BOTH
def test_narrow_components_lose_no_precision(full: bool) -> None:
    q = mixture(3, full)
    scale = torch.full((N, 3), 1e-3)
    loc = q.loc.float() + 5
    narrow = Aggregate(FullNormal(loc, torch.diag_embed(scale)) if full else Normal(loc, scale))
    z = loc + 2e-3
    exact = Aggregate(Normal(loc.double(), scale.double()))
    torch.testing.assert_close(narrow.log_prob(z).double(), reference(exact).log_prob(z.double()), rtol=1e-5, atol=1e-4)


@BOTH
def test_left_out_codes_are_judged_by_the_others(full: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VALUES", 3 * N)
    q, z = mixture(2, full), places(2, N)
    others = [torch.arange(N)[torch.arange(N) != n] for n in range(N)]
    expected = torch.stack([reference(q, kept).log_prob(z[n]) for n, kept in enumerate(others)])
    torch.testing.assert_close(q.left_out(z), expected)


@BOTH
def test_moments_are_those_of_the_mixture(full: bool) -> None:
    q = mixture(3, full)
    found, direction = q.moments(), torch.tensor([0.6, -0.7, 0.2], dtype=torch.float64)
    torch.testing.assert_close(found.mean, reference(q).mean)
    parts = reference(q).component_distribution
    along = td.Normal(
        parts.mean @ direction, torch.einsum("i,nij,j->n", direction, parts.covariance_matrix, direction).sqrt()
    )
    expected = td.MixtureSameFamily(td.Categorical(torch.ones(N, dtype=torch.float64)), along).variance
    torch.testing.assert_close((direction @ found.scale_tril).square().sum(), expected)


@BOTH
def test_draws_have_the_moments_of_the_mixture(full: bool) -> None:
    q = mixture(2, full)
    draws, expected = q.sample(20_000, generator=seeded(2)), q.moments()
    assert (z_scores(draws, expected.mean).abs() < 4.5).all()
    centred = draws - expected.mean
    products = torch.stack([centred[:, 0] ** 2, centred[:, 1] ** 2, centred[:, 0] * centred[:, 1]], dim=1)
    spread = expected.scale_tril @ expected.scale_tril.mT
    assert (z_scores(products, spread[[0, 1, 0], [0, 1, 1]]).abs() < 4.5).all()


@BOTH
def test_widened_components_are_convolved(full: bool) -> None:
    q = mixture(3, full)
    parts, deviations = reference(q).component_distribution, reference(q).variance.sqrt()
    spread = parts.covariance_matrix + (0.3 * deviations).square().diag()
    expected = td.MixtureSameFamily(
        td.Categorical(torch.ones(N, dtype=torch.float64)), td.MultivariateNormal(parts.mean, spread)
    )
    torch.testing.assert_close(q.widened(0.3).log_prob(places(3)), expected.log_prob(places(3)))


@BOTH
def test_on_a_plane_it_is_the_marginal_of_the_turned_mixture(full: bool) -> None:
    q = mixture(4, full)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=seeded(3), dtype=torch.float64)).Q
    origin = torch.tensor([0.3, -1.0, 0.5, 2.0], dtype=torch.float64)
    parts = reference(q).component_distribution
    loc, spread = (parts.mean - origin) @ turn.mT, turn @ parts.covariance_matrix @ turn.mT
    expected = td.MixtureSameFamily(
        td.Categorical(torch.ones(N, dtype=torch.float64)), td.MultivariateNormal(loc[:, :2], spread[:, :2, :2])
    )
    found = q.on_plane(Plane(origin, turn[:2])).log_prob(places(2))
    torch.testing.assert_close(found, expected.log_prob(places(2)))


def test_the_grid_has_its_first_row_on_top() -> None:
    q = Aggregate(Normal(torch.tensor([[1.0, 9.0, -2.0]]), torch.full((1, 3), 0.3)))
    grid = density_grid(q, axis_plane((2, 0), torch.zeros(3)), 30, 3.0)
    row, column = divmod(int(grid.argmax()), 30)
    assert (2 * column + 1 - 30, 30 - 2 * row - 1) == pytest.approx((-20, 10), abs=1)
    assert grid.sum().item() * 0.2**2 == pytest.approx(1, abs=1e-3)


def test_of_one_dimension_the_grid_is_made_of_stripes() -> None:
    q = Aggregate(Normal(torch.tensor([[0.5], [-1.0]]), torch.tensor([[0.4], [0.2]])))
    grid = density_grid(q, axis_plane((0, 0), torch.zeros(1)), 60, 3.0)
    assert (grid == grid[0]).all()
    u = torch.linspace(-2.95, 2.95, 60)
    expected = 0.5 * (td.Normal(0.5, 0.4).log_prob(u).exp() + td.Normal(-1.0, 0.2).log_prob(u).exp())
    torch.testing.assert_close(grid[0], expected, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def round_grid() -> Tensor:
    """N(0, I), whose superlevel sets of mass p are discs of squared radius -2 log(1 - p)."""
    q = Aggregate(Normal(torch.zeros(1, 2), torch.ones(1, 2)))
    return density_grid(q, axis_plane((0, 1), torch.zeros(2)), 200, 5.0)


@pytest.mark.parametrize("mass", [0.5, 0.9, 0.99])
def test_levels_and_contours_of_a_gaussian_are_circles(mass: float, round_grid: Tensor) -> None:
    (level,) = mass_levels(round_grid, [mass])
    assert level == pytest.approx((1 - mass) / (2 * math.pi), rel=0.02)
    (line,) = contours(round_grid, 5.0, (1 - mass) / (2 * math.pi))
    radius = math.sqrt(-2 * math.log(1 - mass))
    torch.testing.assert_close(line.norm(dim=1), torch.full((len(line),), radius, dtype=line.dtype), rtol=0, atol=2e-3)
    torch.testing.assert_close(line[0], line[-1])


def test_contours_lie_where_the_density_does() -> None:
    q = Aggregate(Normal(torch.tensor([[1.0, -2.0]]), torch.tensor([[0.3, 0.6]])))
    grid = density_grid(q, axis_plane((0, 1), torch.zeros(2)), 200, 4.0)
    (line,) = contours(grid, 4.0, 0.5 * grid.max().item())
    torch.testing.assert_close((line.amin(0) + line.amax(0)) / 2, torch.tensor([1.0, -2.0]).double(), rtol=0, atol=5e-3)
    half = (line.amax(0) - line.amin(0)) / 2
    expected = math.sqrt(2 * math.log(2)) * torch.tensor([0.3, 0.6]).double()
    torch.testing.assert_close(half, expected, rtol=0, atol=1e-2)


def test_no_level_means_no_lines(round_grid: Tensor) -> None:
    assert contours(round_grid, 5.0, 1.0) == []


@pytest.mark.parametrize("mass", [0.0, 1.0, -0.1])
def test_impossible_masses_are_refused(mass: float, round_grid: Tensor) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        mass_levels(round_grid, [0.5, mass])


def test_an_empty_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="no mass"):
        mass_levels(torch.zeros(4, 4), [0.5])


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_every_posterior_has_an_aggregate(posterior: str) -> None:
    model = small_machine(
        posterior=posterior, prior={"bernoulli": "bernoulli", "deterministic": "none"}.get(posterior, "standard_normal")
    )
    with torch.no_grad():
        q = model.encode(small_images(30))
    found = aggregate(q)
    torch.testing.assert_close(found.loc, q.mean, rtol=5e-3, atol=5e-3)
    assert found.log_prob(q.mean).isfinite().all()


def bent(strength: float) -> CouplingFlow:
    generator = seeded(5)
    sizes = ((4, 2), (4,), (2, 4), (2,))
    layers = tuple(
        tuple(strength * torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes)
        for _ in range(2)
    )
    loc = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    return CouplingFlow(
        loc, torch.tensor([[0.5, 1.5]], dtype=torch.float64).expand(3, 2), torch.ones(3, 1).double(), layers
    )


def test_a_flow_that_does_not_bend_is_matched_exactly() -> None:
    flow = bent(0.0)
    found = as_gaussian(flow)
    torch.testing.assert_close(found.mean, flow.loc)
    expected = torch.diag_embed(flow.scale.square()) + module.LEAST_SCALE**2 * torch.eye(2).double()
    torch.testing.assert_close(found.scale_tril @ found.scale_tril.mT, expected)


def test_a_bent_flow_is_matched_as_its_draws() -> None:
    flow = bent(0.4)
    found, draws = as_gaussian(flow), flow.sample(200_000, generator=seeded(6))
    deviation = draws.std(0)
    assert ((found.mean - draws.mean(0)).abs() < 0.02 * deviation).all()
    expected = torch.stack([torch.cov(draws[:, n].mT) for n in range(3)])
    error = found.scale_tril @ found.scale_tril.mT - expected
    assert (error.abs() < 0.05 * deviation.unsqueeze(-1) * deviation.unsqueeze(-2)).all()


def test_binary_codes_have_their_own_variance() -> None:
    q = Bernoulli(torch.tensor([[0.0, 2.0], [-60.0, 1.0]], dtype=torch.float64))
    found = as_gaussian(q)
    expected = td.Bernoulli(logits=q.logits).variance.clamp_min(module.LEAST_SCALE**2)
    torch.testing.assert_close(found.scale.square(), expected)


def test_codes_with_no_noise_get_the_width_of_scott() -> None:
    codes = places(3, 50)
    deviation = torch.from_numpy(codes.numpy().std(0))
    torch.testing.assert_close(scott_scale(codes), 50 ** (-1 / 7) * deviation)
    expected = Aggregate(Normal(codes, scott_scale(codes).expand(50, 3)))
    torch.testing.assert_close(aggregate(Point(codes)).log_prob(places(3)), expected.log_prob(places(3)))


def test_what_is_no_posterior_is_refused() -> None:
    with pytest.raises(ValueError, match="POSTERIORS; got Nothing"):
        as_gaussian(Nothing(torch.zeros(2)))
