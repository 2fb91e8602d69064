"""Codes to decode without an example at hand: lattices on a plane of latent space, and draws of the model's prior."""

import torch
from jaxtyping import Float
from torch import Tensor

from vae_core.autoencoder import Nothing
from vae_core.distributions import REAL, Normal
from vae_core.geometry import lattice, probability_lattice
from vae_core.model import HelmholtzMachine
from vae_core.planes import Plane
from vae_core.traversals import warmer


def even_codes(plane: Plane, side: int, centre: tuple[float, float], half: float) -> Float[Tensor, "{side*side} H"]:
    """Latent vectors at even steps over the square of half side `half` around `centre`, in the plane's coordinates."""
    points = half * (2 * _line(side) - 1) if len(plane.origin) == 1 else lattice(side, half)
    return plane.latents(torch.tensor(centre) + points)


def equal_probability_codes(plane: Plane, side: int) -> Float[Tensor, "{side*side} H"]:
    """Latent vectors in the middle of cells that hold equal probability of N(0, I) on the plane, which is a standard
    normal around the plane's point nearest to 0 (Kingma & Welling 2014, figure 4)."""
    nearest = plane.coordinates(torch.zeros_like(plane.origin)[None])
    points = torch.special.ndtri(_line(side)) if len(plane.origin) == 1 else probability_lattice(side)
    return plane.latents(nearest + points)


def _line(side: int) -> Float[Tensor, "{side*side} 2"]:
    """Places between 0 and 1 that go on from row to row as text does: for a latent space of one dimension."""
    along = (torch.arange(side * side) + 0.5) / side**2
    return torch.stack([along, torch.full_like(along, 0.5)], dim=1)


def is_standard_normal(model: HelmholtzMachine) -> bool:
    """Whether p(h_1) is N(0, I)."""
    prior = model.prior()
    if len(model.generative) > 1 or not isinstance(prior, Normal):
        return False
    return bool((prior.loc == 0).all() and (prior.scale == 1).all())


def can_draw(model: HelmholtzMachine) -> bool:
    """Whether there is a prior to draw codes from."""
    return not isinstance(model.prior(), Nothing)


def can_warm(model: HelmholtzMachine) -> bool:
    """Whether draws of h_1 can be moved away from their mean: one layer of real-valued units."""
    return len(model.generative) == 1 and model.prior().support is REAL


@torch.no_grad()
def prior_codes(
    model: HelmholtzMachine, n: int, temperature: float = 1.0, *, generator: torch.Generator
) -> Float[Tensor, "n H"]:
    """Draws of h_1 from the model, ancestral where it has several layers, at `temperature` times their distance from
    the prior's mean. Raises ValueError where there is no prior, or where the temperature must be 1 and is not."""
    if temperature != 1 and not can_warm(model):
        raise ValueError(
            f"temperature must be 1 for binary codes and for machines of several layers; got {temperature:g}"
        )
    if len(model.generative) > 1:
        return model.dream(n, generator=generator)[1][0]
    prior = model.prior()
    return warmer(prior.sample(n, generator=generator), prior.mean, temperature)
