"""The table of posteriors q(z|x), or q(h_m | h_m-1) in a machine of several layers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vae_core.autoencoder import Point
from vae_core.distributions import Bernoulli, Normal
from vae_core.families import DiagonalGaussianFamily, Family, FromLogits, bounded_scale
from vae_core.flows import CouplingFlow
from vae_core.gaussians import FullNormal


def tril_from(diagonal: Float[Tensor, "*batch D"], below: Float[Tensor, "*batch T"]) -> Float[Tensor, "*batch D D"]:
    """A Cholesky factor: `diagonal` is raw and bounded as a scale, `below` fills the rows under it."""
    size = diagonal.shape[-1]
    lower = diagonal.new_zeros(*diagonal.shape, size)
    rows, columns = torch.tril_indices(size, size, -1, device=diagonal.device)
    lower[..., rows, columns] = below
    return lower + torch.diag_embed(bounded_scale(diagonal))


class FullGaussianFamily(Family):
    """N(mu, L L^T): the network gives mean, log-diagonal and lower part of the Cholesky factor
    (Kingma & Welling 2019, section 2.5.1)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.inputs = size, 2 * size + size * (size - 1) // 2

    def forward(self, raw: Float[Tensor, "*batch P"]) -> FullNormal:
        loc, diagonal, below = raw.split([self.size, self.size, self.inputs - 2 * self.size], dim=-1)
        return FullNormal(loc, tril_from(diagonal, below))


class FlowFamily(Family):
    """A diagonal Gaussian followed by coupling layers whose networks see a context from the encoder
    (Rezende & Mohamed 2015; Dinh et al. 2017)."""

    LAYERS, HIDDEN, CONTEXT = 4, 32, 8

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.inputs = size, 2 * size + self.CONTEXT
        self.first = nn.ModuleList(nn.Linear((size + 1) // 2 + self.CONTEXT, self.HIDDEN) for _ in range(self.LAYERS))
        self.second = nn.ModuleList(nn.Linear(self.HIDDEN, 2 * (size // 2)) for _ in range(self.LAYERS))

    def forward(self, raw: Float[Tensor, "*batch P"]) -> CouplingFlow:
        loc, raw_scale, context = raw.split([self.size, self.size, self.CONTEXT], dim=-1)
        layers = tuple((a.weight, a.bias, b.weight, b.bias) for a, b in zip(self.first, self.second, strict=True))
        return CouplingFlow(loc, bounded_scale(raw_scale), context, layers)  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class PosteriorEntry:
    """One q(z|x) over D values, and the density that it gives."""

    label: str
    help: str
    build: Callable[[int], Family]
    density: type[Any]


POSTERIORS = {
    "diagonal_gaussian": PosteriorEntry(
        "Gaussian, diagonal covariance",
        "Mean and standard deviation of every latent dimension, given by the encoder.",
        DiagonalGaussianFamily,
        Normal,
    ),
    "full_gaussian": PosteriorEntry(
        "Gaussian, full covariance",
        "Mean and the Cholesky factor of the covariance, given by the encoder: ellipses at any angle.",
        FullGaussianFamily,
        FullNormal,
    ),
    "flow": PosteriorEntry(
        "Normalising flow",
        "A Gaussian bent by four coupling layers: banana shapes and more. At least 2 latent dimensions.",
        FlowFamily,
        CouplingFlow,
    ),
    "bernoulli": PosteriorEntry(
        "Bernoulli (binary code)",
        "Independent binary units, as in the Helmholtz machine. Pathwise gradients cannot pass them.",
        lambda size: FromLogits(size, Bernoulli),
        Bernoulli,
    ),
    "deterministic": PosteriorEntry(
        "None: plain autoencoder",
        "One code for each example, no noise, no KL: a reference, not a variational model.",
        lambda size: FromLogits(size, Point),
        Point,
    ),
}
