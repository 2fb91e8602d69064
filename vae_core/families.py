"""How a network's raw outputs, with a few parameters of the family's own, become a density.

A family over D values takes `inputs` raw numbers for each example. Where a density has several parameters, all D
numbers of the first come first, then those of the second: that is how convolutional decoders lay out their channels.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vae_core.distributions import Density, Normal

LOG_SCALE_LIMIT = 7.0


def bounded_scale(raw: Tensor) -> Tensor:
    """A standard deviation in (e^-7, e^7), about e^raw near 1: an unbounded log-variance ends in NaN."""
    return (LOG_SCALE_LIMIT * torch.tanh(raw / LOG_SCALE_LIMIT)).exp()


class Family(nn.Module):
    """A conditional family: `inputs` raw numbers for each example become a density."""

    inputs: int


class FromLogits(Family):
    """Densities whose one parameter is the raw output itself."""

    def __init__(self, size: int, density: Callable[[Tensor], Density]) -> None:
        super().__init__()
        self.inputs, self.density = size, density

    def forward(self, raw: Float[Tensor, "*batch D"]) -> Density:
        return self.density(raw)


class DiagonalGaussianFamily(Family):
    """N(mu, diag(sigma^2)), mean and scale both from the network (Kingma & Welling 2014, eq. 9)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.inputs = 2 * size

    def forward(self, raw: Float[Tensor, "*batch P"]) -> Normal:
        loc, raw_scale = raw.chunk(2, dim=-1)
        return Normal(loc, bounded_scale(raw_scale))
