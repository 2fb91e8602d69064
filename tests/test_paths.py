import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import solve_bvp
from scipy.spatial import geometric_slerp
from torch import Tensor

from tests.small import seeded, small_vae
from vae_core import runs
from vae_core.paths import energy, geodesic, linear, spherical, step_lengths

PRETRAINED = Path(__file__).parents[1] / "pretrained" / "mnist-2d"
Decode = Callable[[Tensor], Tensor]


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("steps", [2, 3, 16])
@pytest.mark.parametrize("size", [1, 2, 20])
def test_the_linear_path_is_even(steps: int, size: int) -> None:
    a, b = normal(size), normal(size, seed=2)
    path = linear(a, b, steps)
    torch.testing.assert_close(path, torch.from_numpy(np.linspace(a.numpy(), b.numpy(), steps)))
    assert torch.equal(path[0], a)
    assert torch.equal(path[-1], b)


@pytest.mark.parametrize("size", [2, 3, 20])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_spherical_path_is_that_of_scipy(size: int, scale: float) -> None:
    a, b, centre = scale * normal(size), scale * normal(size, seed=2), scale * normal(size, seed=3)
    lengths = torch.stack([a - centre, b - centre]).norm(dim=1)
    shares = np.linspace(0, 1, 9)
    turned = geometric_slerp(((a - centre) / lengths[0]).numpy(), ((b - centre) / lengths[1]).numpy(), shares)
    expected = centre + torch.from_numpy(np.interp(shares, [0, 1], lengths.numpy())[:, None] * turned)
    path = spherical(a, b, 9, centre)
    torch.testing.assert_close(path, expected, rtol=1e-9, atol=1e-9 * scale)
    assert torch.equal(path[0], a)
    assert torch.equal(path[-1], b)


def test_a_quarter_turn_keeps_the_distance_from_the_centre() -> None:
    path = spherical(torch.tensor([3.0, 1.0]), torch.tensor([1.0, 3.0]), 3, torch.tensor([1.0, 1.0]))
    torch.testing.assert_close(path[1], 1 + torch.tensor([math.sqrt(2), math.sqrt(2)]))


@pytest.mark.parametrize("angle", [0.0, 1e-7, 1e-5, 1e-3])
def test_the_closer_two_directions_the_straighter_the_spherical_path(angle: float) -> None:
    a, b = torch.tensor([1.0, 0.0]), 3 * torch.tensor([math.cos(angle), math.sin(angle)])
    torch.testing.assert_close(spherical(a, b, 7, torch.zeros(2)), linear(a, b, 7), rtol=0, atol=angle + 1e-6)


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("share", [1.0, 0.01, 40.0])
def test_ends_on_opposite_sides_have_no_shortest_turn(size: int, share: float) -> None:
    centre, way = normal(size).float(), normal(size, seed=2).float()
    with pytest.raises(ValueError, match="opposite sides of its centre"):
        spherical(centre + way, centre - share * way, 5, centre)


@pytest.mark.parametrize("ends", [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
def test_an_end_at_the_centre_has_no_direction(ends: tuple[float, float]) -> None:
    a, b = (share * torch.ones(3) for share in ends)
    with pytest.raises(ValueError, match="lies at its centre"):
        spherical(a, b, 5, torch.zeros(3))


@pytest.mark.parametrize("path", [linear, lambda a, b, steps: spherical(a, b, steps, torch.zeros(2))])
def test_a_path_has_two_ends(path: Callable[[Tensor, Tensor, int], Tensor]) -> None:
    with pytest.raises(ValueError, match="steps of a path must be 2 at least, for its two ends; got 1"):
        path(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), 1)


def test_step_lengths_are_root_mean_squares() -> None:
    decoded = normal(6, 50)
    expected = np.sqrt(np.mean(np.diff(decoded.numpy(), axis=0) ** 2, axis=1))
    torch.testing.assert_close(step_lengths(decoded), torch.from_numpy(expected))
    torch.testing.assert_close(energy(decoded), 50 * step_lengths(decoded).square().sum())


def cylinder(z: Tensor) -> Tensor:
    return torch.stack([z[:, 0].cos(), z[:, 0].sin(), z[:, 1]], dim=-1)


def sphere(z: Tensor) -> Tensor:
    """Latitude and longitude."""
    return torch.stack([z[:, 0].cos() * z[:, 1].cos(), z[:, 0].cos() * z[:, 1].sin(), z[:, 0].sin()], dim=-1)


def polar(z: Tensor) -> Tensor:
    """Radius and angle of points of the flat plane."""
    return torch.stack([z[:, 0] * z[:, 1].cos(), z[:, 0] * z[:, 1].sin()], dim=-1)


def paraboloid(z: Tensor) -> Tensor:
    return torch.cat([z, z.square().sum(-1, keepdim=True)], dim=-1)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_of_a_linear_decoder_the_geodesic_is_straight(size: int) -> None:
    a, b, weight = normal(size), normal(size, seed=2), normal(7, size, seed=3)
    torch.testing.assert_close(geodesic(lambda z: z @ weight.mT, a, b, 9), linear(a, b, 9))


def test_on_a_cylinder_the_geodesic_is_a_helix() -> None:
    a, b = double(-1, 0), double(1, 2)
    torch.testing.assert_close(geodesic(cylinder, a, b, 12), linear(a, b, 12))


@pytest.mark.parametrize(("a", "b"), [((0.6, 0.0), (0.6, 2.0)), ((-0.3, 0.1), (1.0, 1.5)), ((0.0, -1.0), (0.0, 1.0))])
def test_on_a_sphere_the_geodesic_is_a_great_circle(a: tuple[float, float], b: tuple[float, float]) -> None:
    steps = 16
    decoded = sphere(geodesic(sphere, double(*a), double(*b), steps))
    ends = sphere(torch.stack([double(*a), double(*b)])).numpy()
    expected = torch.from_numpy(geometric_slerp(ends[0], ends[1], np.linspace(0, 1, steps)))
    torch.testing.assert_close(decoded, expected, rtol=0, atol=0.01)
    angle = math.acos(ends[0] @ ends[1])
    least = (steps - 1) * (2 * math.sin(angle / (steps - 1) / 2)) ** 2
    assert least - 1e-9 <= energy(decoded).item() <= least * 1.001


def test_in_polar_coordinates_the_geodesic_of_the_plane_is_straight() -> None:
    a, b = double(1, 0), double(2, 2)
    ends = polar(torch.stack([a, b]))
    expected = linear(ends[0], ends[1], 16)
    torch.testing.assert_close(polar(geodesic(polar, a, b, 16)), expected, rtol=0, atol=0.02)


def test_on_a_paraboloid_the_geodesic_solves_its_equation() -> None:
    """u'' = -4 u (u'² + v'²) / (1 + 4 u² + 4 v²), and so v (Christoffel symbols of (u, v, u² + v²))."""
    a, b, steps = double(-1.0, 0.2), double(0.8, 0.9), 33

    def equation(_: object, y: np.ndarray) -> np.ndarray:
        pull = -4 * (y[2] ** 2 + y[3] ** 2) / (1 + 4 * y[0] ** 2 + 4 * y[1] ** 2)
        return np.vstack([y[2], y[3], pull * y[0], pull * y[1]])

    t = np.linspace(0, 1, steps)
    straight = linear(a, b, steps).numpy().T
    guess = np.vstack([straight, np.gradient(straight, t, axis=1)])
    solution = solve_bvp(equation, lambda ya, yb: np.r_[ya[:2] - a.numpy(), yb[:2] - b.numpy()], t, guess, tol=1e-8)
    assert solution.success
    expected = torch.from_numpy(solution.sol(t)[:2].T)
    assert (expected - linear(a, b, steps)).abs().max() > 0.05
    path = geodesic(paraboloid, a, b, steps)
    torch.testing.assert_close(path, expected, rtol=0, atol=0.02)
    torch.testing.assert_close(energy(paraboloid(path)), energy(paraboloid(expected)), rtol=1e-3, atol=0)


@pytest.mark.parametrize("iterations", [0, 1, 75])
@pytest.mark.parametrize("steps", [2, 3, 16])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_geodesic_keeps_its_ends_and_is_never_worse_than_straight(iterations: int, steps: int, seed: int) -> None:
    model = small_vae()
    decode = lambda z: model.decode(z).mean  # noqa: E731
    a, b, means = normal(2, seed=seed), normal(2, seed=seed + 9), normal(30, 2)
    for path in (geodesic(decode, a, b, steps, iterations=iterations, means=given) for given in (None, means)):
        assert torch.equal(path[0], a)
        assert torch.equal(path[-1], b)
        assert energy(decode(path)) <= energy(decode(linear(a, b, steps)))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_rough_decoder_leaves_the_straight_path() -> None:
    """Its gradients lead nowhere: infinite at every step off the line."""
    path = geodesic(lambda z: torch.where(z[:, 1:] == 0, z, z / 0), double(0, 0), double(1, 0), 5)
    assert torch.equal(path, linear(double(0, 0), double(1, 0), 5))


def hill(z: Tensor) -> Tensor:
    """A steep hill in the middle of the plane. The way over its top is stationary, by symmetry."""
    return torch.cat([z, 5 * torch.exp(-4 * z.square().sum(-1, keepdim=True))], dim=-1)


def test_means_lead_around_what_a_straight_start_cannot_avoid() -> None:
    angles = torch.linspace(0, math.pi, 40, dtype=torch.float64)
    means = 1.5 * torch.stack([angles.cos(), angles.sin()], dim=-1)
    a, b = double(1.5, 0), double(-1.5, 0)
    stuck, around = geodesic(hill, a, b, 15), geodesic(hill, a, b, 15, means=means)
    assert stuck[:, 1].abs().max() == 0
    assert around[:, 1].max() > 0.5
    assert energy(hill(around)) < 0.5 * energy(hill(stuck))


def test_means_that_do_not_reach_from_end_to_end_change_nothing() -> None:
    islands = torch.cat([normal(20, 2) * 0.1 + 5, normal(20, 2) * 0.1 - 5])
    a, b = double(5, 5), double(-5, -5)
    assert torch.equal(geodesic(paraboloid, a, b, 8, means=islands), geodesic(paraboloid, a, b, 8))


def test_progress_rises_to_one() -> None:
    heard: list[float] = []
    geodesic(sphere, double(0.6, 0), double(0.6, 2), 8, means=normal(30, 2), on_progress=heard.append)
    assert heard[0] == 0
    assert heard[-1] == 1
    assert heard == sorted(heard)
    assert len(set(heard)) > 4


def test_whoever_hears_of_progress_may_interrupt() -> None:
    calls: list[float] = []

    def interrupt(share: float) -> None:
        calls.append(share)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        geodesic(sphere, double(0.6, 0), double(0.6, 2), 8, on_progress=interrupt)
    assert len(calls) == 2


def test_the_shipped_decoder_needs_few_evaluations() -> None:
    """At 3 ms each, well below a second. The path is far shorter, the same every time, and needs no gradient mode."""
    model, calls = runs.load_model(PRETRAINED)[1], []

    def decode(z: Tensor) -> Tensor:
        calls.append(len(z))
        return model.decode(z).mean

    a, b = torch.tensor([-1.5, 0.5]), torch.tensor([1.0, -1.5])
    with torch.no_grad():
        path = geodesic(decode, a, b, 16)
    assert len(calls) < 150
    assert energy(decode(path)) < 0.8 * energy(decode(linear(a, b, 16)))
    assert torch.equal(path, geodesic(decode, a, b, 16))
