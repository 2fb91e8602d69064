"""Flat planes through latent space: along two axes, along the principal directions, or through three points."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

FLATNESS = 1e-4
"""Three points whose triangle is lower than this share of its longest side count as lying on one line."""


@dataclass(frozen=True)
class Plane:
    """The points z = origin + u basis[0] + v basis[1]. The rows of `basis` are orthonormal; where latent space has one
    dimension the second is zero, so that v changes nothing."""

    origin: Float[Tensor, "H"]
    basis: Float[Tensor, "2 H"]

    def latents(self, points: Float[Tensor, "N 2"]) -> Float[Tensor, "N H"]:
        """Latent vectors of points (u, v)."""
        return self.origin + points @ self.basis

    def coordinates(self, latents: Float[Tensor, "N H"]) -> Float[Tensor, "N 2"]:
        """(u, v) of the orthogonal projections of latent vectors onto the plane."""
        return (latents - self.origin) @ self.basis.mT


def axis_plane(axes: tuple[int, int], base: Float[Tensor, "H"]) -> Plane:
    """The plane whose (u, v) are the two named coordinates; all others are those of `base`.

    For a latent space of one dimension both axes are 0. Raises ValueError for other axes that are equal or missing.
    """
    size = len(base)
    within = all(0 <= axis < size for axis in axes)
    if not within or (axes[0] == axes[1] and size > 1):
        accepted = "(0, 0)" if size == 1 else f"two different numbers from 0 to {size - 1}"
        raise ValueError(f"axes of a latent space of {size} dimensions must be {accepted}; got {axes}")
    origin, basis = base.clone(), torch.zeros_like(base).repeat(2, 1)
    origin[list(axes)] = 0
    basis[1, axes[1]] = float(size > 1)
    basis[0, axes[0]] = 1
    return Plane(origin, basis)


def principal_plane(means: Float[Tensor, "N H"]) -> Plane:
    """The plane through the mean of `means` along their two directions of largest variance, the largest first.

    `latents(coordinates(z))` is what principal component analysis keeps of z. The entry of largest magnitude of each
    direction is positive. Raises ValueError if there are no means.
    """
    if not len(means):
        raise ValueError("principal_plane needs one latent vector at least; got none")
    double = means.double()
    origin = double.mean(0)
    spread = (double - origin).mT @ (double - origin)
    leading = torch.linalg.eigh(spread).eigenvectors.mT.flip(0)[:2]
    leading = leading * leading.gather(1, leading.abs().argmax(1, keepdim=True)).sign()
    basis = torch.cat([leading, torch.zeros_like(leading)])[:2]
    return Plane(origin.to(means), basis.to(means))


def plane_through(a: Float[Tensor, "H"], b: Float[Tensor, "H"], c: Float[Tensor, "H"]) -> Plane:
    """The plane through three points: `a` is its origin, u points towards `b`, v to the side where `c` lies.

    Raises ValueError if the points lie on one line, as they always do in a latent space of one dimension.
    """
    if len(a) < 2:
        raise ValueError("a plane through three points needs a latent space of two dimensions at least; got one")
    towards_b, towards_c = (b - a).double(), (c - a).double()
    first = torch.nn.functional.normalize(towards_b, dim=0)
    aside = towards_c - (towards_c @ first) * first
    longest = torch.stack([towards_b, towards_c]).norm(dim=1).max()
    if min(towards_b.norm(), aside.norm()) <= FLATNESS * longest:
        raise ValueError("the three points lie on one line and span no plane; choose a third point off that line")
    return Plane(a, torch.stack([first, torch.nn.functional.normalize(aside, dim=0)]).to(a))
