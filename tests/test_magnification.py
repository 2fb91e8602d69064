from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.func import jacrev, vmap

from tests.small import seeded
from vae_core.config import ModelConfig
from vae_core.likelihoods import LIKELIHOODS
from vae_core.magnification import CHUNK, log_magnification
from vae_core.model import HelmholtzMachine, machine
from vae_core.planes import Plane, axis_plane, principal_plane

Decode = Callable[[Tensor], Tensor]


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def small(seed: int = 3, **settings: object) -> HelmholtzMachine:
    """Weights twice as large as fresh ones, so that the decoder bends."""
    config = ModelConfig(**({"widths": (4,), "activation": "tanh"} | settings))  # pyright: ignore
    model = machine(config, (1, 4, 2), generator=seeded(seed)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    return model


def by_jacobians(decode: Decode, plane: Plane, points: Tensor) -> Tensor:
    """The definition: half the log-determinant of JᵀJ from whole Jacobians."""
    jacobians = vmap(jacrev(lambda uv: decode(plane.latents(uv.unsqueeze(0))).squeeze(0)))(points)
    return 0.5 * torch.linalg.slogdet(jacobians.mT @ jacobians).logabsdet


def sphere(z: Tensor) -> Tensor:
    polar, azimuth = z.unbind(-1)
    return torch.stack([polar.sin() * azimuth.cos(), polar.sin() * azimuth.sin(), polar.cos()], dim=-1)


def paraboloid(z: Tensor) -> Tensor:
    return torch.cat([z, z.square().sum(-1, keepdim=True)], dim=-1)


@pytest.mark.parametrize(
    ("decode", "expected"),
    [
        (sphere, lambda z: z[:, 0].sin().abs().log()),
        (paraboloid, lambda z: 0.5 * (1 + 4 * z.square().sum(-1)).log()),
        (lambda z: torch.cat([z, -2 * z], dim=-1), lambda z: torch.full((len(z),), 5.0).double().log()),
        (lambda z: z.exp(), lambda z: z.sum(-1)),
    ],
    ids=["sphere", "paraboloid", "linear", "exponential"],
)
def test_surfaces_of_known_area(decode: Decode, expected: Decode) -> None:
    points = normal(40, 2)
    plane = axis_plane((0, 1), torch.zeros(2).double())
    torch.testing.assert_close(log_magnification(decode, plane, points), expected(points))


@pytest.mark.parametrize("size", [2, 3, 8])
def test_a_linear_decoder_stretches_evenly(size: int) -> None:
    """By the product of the singular values of its restriction to the plane."""
    weight, plane = normal(9, size), principal_plane(normal(20, size, seed=2))
    found = log_magnification(lambda z: z @ weight.mT + 3, plane, normal(7, 2, seed=3))
    expected = torch.linalg.svdvals(weight @ plane.basis.mT).log().sum()
    torch.testing.assert_close(found, expected.expand(7))


def test_on_a_line_it_is_the_speed() -> None:
    """Of a helix with growing radius; the second coordinate changes nothing."""
    points = normal(30, 2)
    plane = axis_plane((0, 0), torch.zeros(1).double())
    found = log_magnification(lambda z: torch.cat([z * z.cos(), z * z.sin(), 3 * z], dim=-1), plane, points)
    torch.testing.assert_close(found, 0.5 * (points[:, 0].square() + 10).log())


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_of_every_likelihood_it_is_the_determinant_of_the_jacobian(likelihood: str) -> None:
    model = small(latent=4, likelihood=likelihood)
    decode, plane = lambda z: model.decode(z).mean, principal_plane(normal(20, 4))
    points = normal(5, 2, seed=2)
    expected = by_jacobians(decode, plane, points)
    torch.testing.assert_close(log_magnification(decode, plane, points), expected)
    assert expected.std() > 1e-3


@pytest.mark.parametrize("activation", ["silu", "relu", "gelu", "softplus"])
@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_of_every_network_it_is_the_determinant_of_the_jacobian(network: str, activation: str) -> None:
    model = small(network=network, activation=activation, widths=(16, 12))
    decode, plane = lambda z: model.decode(z).mean, axis_plane((0, 1), torch.zeros(2).double())
    points = normal(5, 2)
    torch.testing.assert_close(log_magnification(decode, plane, points), by_jacobians(decode, plane, points))


def test_chunks_are_put_together_in_order() -> None:
    points, plane = normal(2 * CHUNK + 3, 2), axis_plane((0, 1), torch.zeros(2).double())
    expected = 0.5 * (1 + 4 * points.square().sum(-1)).log()
    torch.testing.assert_close(log_magnification(paraboloid, plane, points), expected)


@pytest.mark.parametrize(
    "decode", [torch.zeros_like, lambda z: z[:, :1].expand(-1, 3), lambda z: z[:, 1:].expand(-1, 3)]
)
def test_where_nothing_changes_it_is_minus_infinity(decode: Decode) -> None:
    found = log_magnification(decode, axis_plane((0, 1), torch.zeros(2).double()), normal(4, 2))
    assert (found == -torch.inf).all()


def test_almost_parallel_directions_keep_their_precision() -> None:
    """det(JᵀJ) of float32 numbers would lose all digits here."""
    weight = torch.tensor([[1.0, 1.0], [0.0, 2.0**-14]])
    found = log_magnification(lambda z: z @ weight.mT, axis_plane((0, 1), torch.zeros(2)), torch.zeros(1, 2))
    torch.testing.assert_close(found, torch.tensor([2.0**-14]).log())


def test_it_leaves_no_gradients_behind() -> None:
    model = small()
    plane = axis_plane((0, 1), torch.zeros(2).double())
    with torch.no_grad():
        found = log_magnification(lambda z: model.decode(z).mean, plane, normal(4, 2))
    assert not found.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
