import numpy as np
import pytest
import torch
from scipy import stats

from tests.small import seeded
from vae_core.geometry import (
    CHART_HEIGHT,
    MINIMUM_EXTENT,
    extent_of,
    inside,
    lattice,
    leading_axes,
    mosaic,
    nodes,
    on_axes,
    pictures,
    probability_lattice,
    to_bytes,
)
from vae_core.networks import Shape


def test_lattice_runs_row_by_row_from_the_top_left() -> None:
    """z2 points up."""
    points = lattice(3, 3.0)
    expected = [(-2, 2), (0, 2), (2, 2), (-2, 0), (0, 0), (2, 0), (-2, -2), (0, -2), (2, -2)]
    assert points.tolist() == [list(map(float, point)) for point in expected]


@pytest.mark.parametrize(("side", "extent"), [(1, 3.0), (2, 1.0), (16, 3.5), (31, 4.2)])
def test_tiles_of_the_lattice_fill_the_square(side: int, extent: float) -> None:
    columns = lattice(side, extent).reshape(side, side, 2)
    width = 2 * extent / side
    centres = torch.tensor([-extent + (column + 0.5) * width for column in range(side)])
    torch.testing.assert_close(columns[..., 0], centres.expand(side, side))
    torch.testing.assert_close(columns[..., 1], centres.flip(0)[:, None].expand(side, side))


@pytest.mark.parametrize("side", [1, 2, 7, 20])
def test_cells_of_the_probability_lattice_are_equally_probable(side: int) -> None:
    """The normal CDF takes it to the lattice of the unit square, in the same order."""
    probabilities = torch.from_numpy(stats.norm.cdf(probability_lattice(side).double().numpy()))
    torch.testing.assert_close(probabilities, (lattice(side, 0.5) + 0.5).double(), rtol=0, atol=1e-6)


def test_nodes_run_row_by_row_from_the_top_left_and_hold_the_corners() -> None:
    points = nodes(3, 3.0)
    expected = [(-3, 3), (0, 3), (3, 3), (-3, 0), (0, 0), (3, 0), (-3, -3), (0, -3), (3, -3)]
    assert points.tolist() == [list(map(float, point)) for point in expected]


@pytest.mark.parametrize(("count", "extent"), [(2, 1.0), (5, 3.0), (48, 3.57)])
def test_nodes_cross_where_tiles_of_a_lattice_meet(count: int, extent: float) -> None:
    """Halfway between four nodes lies the centre of the tile of the same row and column."""
    grid = nodes(count, extent).reshape(count, count, 2)
    centres = (grid[:-1, :-1] + grid[:-1, 1:] + grid[1:, :-1] + grid[1:, 1:]) / 4
    torch.testing.assert_close(centres, lattice(count - 1, extent).reshape(count - 1, count - 1, 2))
    assert grid.abs().amax() == np.float32(extent)


POLYGONS = {
    "square": [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)],
    "triangle": [(-2.0, -1.0), (2.0, 0.5), (0.0, 2.0)],
    "arrow": [(-2.0, -2.0), (0.0, -0.5), (2.0, -2.0), (0.0, 2.0)],
    "comb": [(-2.0, -2.0), (2.0, -2.0), (2.0, 2.0), (1.0, -1.0), (0.0, 2.0), (-1.0, -1.0), (-2.0, 2.0)],
    "bow tie": [(-2.0, -2.0), (2.0, 2.0), (2.0, -2.0), (-2.0, 2.0)],
    "ring": [(np.cos(a) * r, np.sin(a) * r) for a, r in zip(np.linspace(0, 6, 40), [2.4, 1.1] * 20, strict=True)],
}


def winding(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """How often a closed line goes around each point: the sum of the angles between neighbouring corners, seen from
    there, in whole turns."""
    seen = corners[None, :, 0] - points[:, :1] + 1j * (corners[None, :, 1] - points[:, 1:])
    return np.round(np.angle(np.roll(seen, -1, 1) / seen).sum(1) / (2 * np.pi)).astype(int)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("name", POLYGONS)
def test_inside_is_where_a_line_winds_around(name: str, shift: int, backwards: bool) -> None:
    """Whichever corner is the first, and whichever way it runs."""
    corners = torch.tensor(POLYGONS[name]).roll(shift, 0).float()
    corners = corners.flip(0) if backwards else corners
    points = 6 * torch.rand(2_000, 2, generator=seeded(5)) - 3
    expected = winding(points.double().numpy(), corners.double().numpy()) % 2 == 1
    held = inside(points, corners)
    assert 0 < held.sum() < len(points)
    assert np.array_equal(held.numpy(), expected)


def test_inside_at_the_height_of_a_corner() -> None:
    """A ray through a corner is counted once, not twice or never."""
    corners = torch.tensor([(0.0, 1.0), (1.0, 0.0), (0.0, -1.0), (-1.0, 0.0)])
    points = torch.tensor([(0.0, 0.0), (-2.0, 0.0), (2.0, 0.0), (-2.0, 1.0), (-2.0, -1.0)])
    assert inside(points, corners).tolist() == [True, False, False, False, False]


def test_tiles_share_the_plane_without_overlap() -> None:
    """Every point, also one on an edge, lies in one tile of a tiling at most, and inside the tiling in exactly one."""
    grid = nodes(5, 2.0).reshape(5, 5, 2)
    points = nodes(9, 1.5)
    held = torch.stack([
        inside(points, torch.stack([grid[r, c], grid[r, c + 1], grid[r + 1, c + 1], grid[r + 1, c]]))
        for r in range(4) for c in range(4)
    ])  # fmt: skip
    assert (held.sum(0) == 1).all()


def test_nothing_lies_inside_a_line() -> None:
    line = torch.tensor([(-1.0, 0.0), (1.0, 0.0), (2.0, 0.0)])
    assert not inside(nodes(5, 2.0), line).any()
    assert inside(torch.zeros(0, 2), line).shape == (0,)


@pytest.mark.parametrize("axes", [(0, 1), (1, 3), (4, 2)])
def test_other_coordinates_are_those_of_the_base(axes: tuple[int, int]) -> None:
    points, base = torch.randn(6, 2, generator=seeded(1)), torch.randn(5, generator=seeded(2))
    kept = base.clone()
    z = on_axes(points, axes, base)
    assert torch.equal(z[:, axes[0]], points[:, 0])
    assert torch.equal(z[:, axes[1]], points[:, 1])
    others = [dimension for dimension in range(5) if dimension not in axes]
    assert torch.equal(z[:, others], base[others].expand(6, -1))
    assert torch.equal(base, kept)


def test_one_dimension_takes_the_first_coordinate() -> None:
    points = torch.tensor([[0.5, 9.0], [-1.0, 8.0]])
    assert on_axes(points, (0, 0), torch.zeros(1)).tolist() == [[0.5], [-1.0]]
    assert leading_axes(torch.tensor([0.3])) == (0, 0)


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ([0.1, 3.0, 0.2, 5.0], (1, 3)),
        ([5.0, 3.0], (0, 1)),
        ([3.0, 5.0], (0, 1)),
        ([0.0, 0.0, 0.0], (0, 1)),
        ([0.0, 0.0, 1.0], (0, 2)),
    ],
)
def test_leading_axes_are_the_largest_two_in_their_own_order(rates: list[float], expected: tuple[int, int]) -> None:
    assert leading_axes(torch.tensor(rates)) == expected


def test_extent_holds_995_of_1000_points() -> None:
    points = torch.zeros(1_000, 2)
    points[:, 1] = -torch.arange(1, 1_001) / 100
    assert extent_of(points) == pytest.approx(1.05 * np.quantile(np.arange(1, 1_001) / 100, 0.995), abs=0.005)
    normal = torch.randn(2_000, 2, generator=seeded(1)) * 2
    assert (normal.abs().amax(dim=1) <= extent_of(normal)).float().mean() >= 0.995


def test_extent_is_three_sigmas_of_the_prior_at_least() -> None:
    assert extent_of(torch.zeros(10, 2)) == MINIMUM_EXTENT == 3.0


@pytest.mark.parametrize("channels", [1, 3])
def test_mosaic_places_images_in_rows(channels: int) -> None:
    images = torch.randn(6, channels, 4, 5, generator=seeded(1))
    picture = mosaic(images, 3)
    assert picture.shape == (8, 15, channels)
    for number, image in enumerate(images):
        row, column = divmod(number, 3)
        tile = picture[4 * row : 4 * row + 4, 5 * column : 5 * column + 5]
        assert torch.equal(tile, image.permute(1, 2, 0))


@pytest.mark.parametrize("shape", [(1, 2, 3), (3, 4, 2)])
def test_pictures_of_images_are_the_images(shape: Shape) -> None:
    images = torch.rand(5, *shape, generator=seeded(1))
    assert torch.equal(pictures(images.flatten(1), shape), images)


def test_pictures_of_profiles_are_columns_of_their_height() -> None:
    values = torch.rand(5, 7, generator=seeded(1))
    columns = pictures(values, (1, 1, 7))
    assert columns.shape == (5, 1, CHART_HEIGHT, 7)
    torch.testing.assert_close(columns.sum((1, 2)), CHART_HEIGHT * values)
    assert (columns.diff(dim=2) >= 0).all()  # filled from the ground up
    assert ((columns > 0) & (columns < 1)).sum() <= 5 * 7


def test_bytes_are_rounded_grey_levels() -> None:
    pixels = torch.tensor([-0.5, 0.0, 0.0019, 0.0021, 0.5, 1.0, 1.7])
    assert to_bytes(pixels).tolist() == [0, 0, 0, 1, 128, 255, 255]
    assert to_bytes(pixels).dtype == torch.uint8
    assert torch.equal(to_bytes(torch.arange(256) / 255), torch.arange(256, dtype=torch.uint8))
