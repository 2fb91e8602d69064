"""Means and covariances of densities over the code, and the ellipses that a plane shows of them."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vae_core.distributions import BINARY, Normal
from vae_core.gaussians import FullNormal, MixtureOfNormals, as_full
from vae_core.geometry import extent_of
from vae_core.model import HelmholtzMachine
from vae_core.planes import Plane

DRAWS = 4_096
BINARY_EXTENT = 1.2
Ellipse = tuple[float, float, float, float, float]
"""Centre, half axes of one standard deviation, and the angle of the first, in radians counterclockwise."""


def gaussian_covariance(density: Normal | FullNormal) -> Float[Tensor, "*batch D D"]:
    tril = as_full(density).scale_tril
    return tril @ tril.mT


def covariance(density: Any, *, generator: torch.Generator) -> Float[Tensor, "*batch D D"]:
    """Exact for Gaussians; of 4,096 draws for all others."""
    if isinstance(density, (Normal, FullNormal)):
        return gaussian_covariance(density)
    draws = density.sample(DRAWS, generator=generator)
    centred = draws - draws.mean(0)
    return torch.einsum("n...i,n...j->...ij", centred, centred) / (DRAWS - 1)


def ellipse(mean: Float[Tensor, "D"], spread: Float[Tensor, "D D"], plane: Plane) -> Ellipse:
    """One standard deviation of the marginal along a plane's two directions; of one dimension, its circle."""
    x, y = plane.coordinates(mean[None])[0].tolist()
    if len(mean) == 1:
        deviation = spread[0, 0].sqrt().item()
        return (x, 0.0, deviation, deviation, 0.0)
    basis = plane.basis.to(spread)
    values, vectors = torch.linalg.eigh((basis @ spread @ basis.mT).double())
    short, long = values.clamp_min(0).sqrt().tolist()
    return (x, y, long, short, math.atan2(vectors[1, 1].item(), vectors[0, 1].item()))


def plane_extent(model: HelmholtzMachine, points: Float[Tensor, "N 2"]) -> float:
    """Half the side of the plane that shows these codes; binary codes and their means lie in [0, 1]."""
    return extent_of(points, BINARY_EXTENT) if model.prior().support is BINARY else extent_of(points)


@torch.no_grad()
def prior_ellipses(model: HelmholtzMachine, plane: Plane) -> list[Ellipse]:
    """One for a Gaussian prior, one a component for a mixture, none for other priors and machines of several layers."""
    prior = model.prior()
    if len(model.generative) > 1:
        return []
    if isinstance(prior, MixtureOfNormals):
        spreads = gaussian_covariance(Normal(prior.loc, prior.scale))
        return [ellipse(loc, spread, plane) for loc, spread in zip(prior.loc, spreads, strict=True)]
    if isinstance(prior, (Normal, FullNormal)):
        return [ellipse(prior.loc, gaussian_covariance(prior), plane)]
    return []
