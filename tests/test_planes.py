import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from tests.small import seeded
from vae_core.planes import Plane, axis_plane, plane_through, principal_plane


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def stretched(count: int, size: int) -> Tensor:
    """Points off the origin with a different variance along each of `size` oblique directions."""
    return normal(count, size) * torch.arange(1, size + 1) @ normal(size, size, seed=2) + normal(size, seed=3)


@pytest.mark.parametrize(
    "plane",
    [
        axis_plane((1, 3), normal(5)),
        axis_plane((3, 1), normal(5)),
        axis_plane((0, 1), normal(2)),
        principal_plane(stretched(40, 2)),
        principal_plane(stretched(40, 6)),
        plane_through(*normal(3, 2)),
        plane_through(*normal(3, 7)),
    ],
)
def test_coordinates_are_those_of_the_orthogonal_projection(plane: Plane) -> None:
    """The residual of least squares is orthogonal to the plane."""
    torch.testing.assert_close(plane.basis @ plane.basis.mT, torch.eye(2, dtype=torch.float64))
    points = normal(9, 2, seed=4)
    torch.testing.assert_close(plane.coordinates(plane.latents(points)), points)
    latents = normal(9, len(plane.origin), seed=5)
    nearest = torch.linalg.lstsq(plane.basis.mT, (latents - plane.origin).mT).solution.mT
    torch.testing.assert_close(plane.coordinates(latents), nearest)


@pytest.mark.parametrize("axes", [(0, 1), (1, 3), (4, 2)])
def test_coordinates_of_an_axis_plane_are_latent_coordinates(axes: tuple[int, int]) -> None:
    points, base = normal(6, 2), normal(5, seed=2)
    kept = base.clone()
    z = axis_plane(axes, base).latents(points)
    assert torch.equal(z[:, list(axes)], points)
    others = [dimension for dimension in range(5) if dimension not in axes]
    assert torch.equal(z[:, others], base[others].expand(6, -1))
    assert torch.equal(base, kept)


@pytest.mark.parametrize(
    "plane", [axis_plane((0, 0), torch.tensor([7.0])), principal_plane(torch.tensor([[3.0], [-3.0]]))]
)
def test_of_one_dimension_the_second_coordinate_changes_nothing(plane: Plane) -> None:
    assert plane.basis.tolist() == [[1.0], [0.0]]
    assert plane.latents(torch.tensor([[0.5, 9.0], [-1.0, 8.0]])).tolist() == [[0.5], [-1.0]]
    assert plane.coordinates(torch.tensor([[0.5]])).tolist() == [[0.5, 0.0]]


@pytest.mark.parametrize(
    ("axes", "size", "accepted"),
    [
        ((1, 1), 3, "two different numbers from 0 to 2"),
        ((0, 3), 3, "two different numbers from 0 to 2"),
        ((-1, 0), 3, "two different numbers from 0 to 2"),
        ((0, 1), 1, r"must be \(0, 0\)"),
    ],
)
def test_axes_must_be_there(axes: tuple[int, int], size: int, accepted: str) -> None:
    with pytest.raises(ValueError, match=accepted):
        axis_plane(axes, torch.zeros(size))


@pytest.mark.parametrize("size", [2, 3, 20])
def test_the_principal_plane_keeps_what_pca_keeps(size: int) -> None:
    means, others = stretched(200, size), stretched(20, size) * 1.5 + 1
    plane, pca = principal_plane(means), PCA(n_components=2).fit(means.numpy())
    torch.testing.assert_close(plane.origin, torch.from_numpy(pca.mean_))
    torch.testing.assert_close((plane.basis @ torch.from_numpy(pca.components_).mT).abs(), torch.eye(2).double())
    kept = pca.inverse_transform(pca.transform(others.numpy()))
    torch.testing.assert_close(plane.latents(plane.coordinates(others)), torch.from_numpy(kept))


def test_in_two_dimensions_the_principal_plane_keeps_everything() -> None:
    means = stretched(50, 2).float()
    plane = principal_plane(means)
    torch.testing.assert_close(plane.latents(plane.coordinates(means)), means)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_principal_directions_have_a_sign_of_their_own(size: int) -> None:
    """Mirrored means have the same directions; the largest entry of each is positive."""
    means = stretched(30, size)
    plane = principal_plane(means)
    torch.testing.assert_close(principal_plane(-means).basis, plane.basis)
    largest = plane.basis.gather(1, plane.basis.abs().argmax(1, keepdim=True)).flatten()
    assert (largest[: min(size, 2)] > 0).all()


@pytest.mark.parametrize("size", [1, 2, 4])
def test_means_that_do_not_vary_still_have_a_plane(size: int) -> None:
    plane = principal_plane(torch.ones(1, size).double())
    expected = torch.diag(torch.tensor([1.0, float(size > 1)]).double())
    torch.testing.assert_close(plane.basis @ plane.basis.mT, expected)
    with pytest.raises(ValueError, match="one latent vector at least"):
        principal_plane(torch.ones(0, size))


@pytest.mark.parametrize("size", [2, 3, 20])
def test_a_plane_through_points_holds_them(size: int) -> None:
    corners = normal(3, size)
    plane = plane_through(*corners)
    u_v = plane.coordinates(corners)
    torch.testing.assert_close(plane.latents(u_v), corners)
    torch.testing.assert_close(torch.cdist(u_v, u_v), torch.cdist(corners, corners))
    assert torch.equal(u_v[0], torch.zeros(2).double())
    torch.testing.assert_close(u_v[1, 1], torch.zeros(()).double())
    assert u_v[1, 0] > 0
    assert u_v[2, 1] > 0


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize(
    "shares", [(0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (1.0, -2.0), (1.0, 0.3), (0.0, 0.0)], ids=lambda pair: str(pair)
)
def test_points_on_one_line_span_no_plane(scale: float, shares: tuple[float, float]) -> None:
    a, direction = scale * normal(4).float(), scale * normal(4, seed=2).float()
    with pytest.raises(ValueError, match="lie on one line"):
        plane_through(a, a + shares[0] * direction, a + shares[1] * direction)


def test_a_line_has_no_plane() -> None:
    with pytest.raises(ValueError, match="two dimensions at least"):
        plane_through(*torch.tensor([[0.0], [1.0], [2.0]]))
