"""Families of densities: how a network's raw outputs, with a few parameters of its own, become a density.

Three tables, read alike by the models, the app's select boxes and the tests: `LIKELIHOODS` for
p(x|z), `POSTERIORS` for q(z|x), `PRIORS` for p(z). A new family is one class and one entry.
A family over D values takes `inputs` raw numbers for each example (a prior takes none).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from vae_core.distributions import Bernoulli, ContinuousBernoulli, Density, Normal

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


class SharedScaleGaussianFamily(Family):
    """N(mu(z), sigma^2 I) with one learned sigma for all values (sigma-VAE, Rybkin et al. 2021, section 3)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.inputs = size
        self.raw_scale = nn.Parameter(torch.full((1,), math.log(0.3)))

    def forward(self, raw: Float[Tensor, "*batch D"]) -> Normal:
        return Normal(raw, bounded_scale(self.raw_scale))


class DiagonalGaussianFamily(Family):
    """N(mu, diag(sigma^2)), mean and scale both from the network (Kingma & Welling 2014, eq. 9)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.inputs = 2 * size

    def forward(self, raw: Float[Tensor, "*batch P"]) -> Normal:
        loc, raw_scale = raw.chunk(2, dim=-1)
        return Normal(loc, bounded_scale(raw_scale))


class StandardNormalPrior(nn.Module):
    """N(0, I): no parameters."""

    loc: Tensor
    scale: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("loc", torch.zeros(size), persistent=False)
        self.register_buffer("scale", torch.ones(size), persistent=False)

    def forward(self) -> Normal:
        return Normal(self.loc, self.scale)


def binarise(x: UInt8[Tensor, "*batch D"], *, generator: torch.Generator) -> Float[Tensor, "*batch D"]:
    """A fresh binary image: each pixel 1 with probability x/255 (dynamic binarisation, Burda et al. 2016)."""
    uniform = torch.rand(x.shape, generator=generator, device=x.device)
    return (uniform * 255 < x).float()


def grey(x: UInt8[Tensor, "*batch D"], *, generator: torch.Generator) -> Float[Tensor, "*batch D"]:
    """8-bit grey levels as x/255 in [0, 1]; nothing is drawn."""
    return x / 255


Observe = Callable[..., Tensor]


@dataclass(frozen=True)
class LikelihoodEntry:
    """One p(x|z): how it is built, which values it sees, and what its number may be called."""

    label: str
    help: str
    build: Callable[[int], Family]
    observe: Observe
    bounds: str


@dataclass(frozen=True)
class PosteriorEntry:
    """One q(z|x)."""

    label: str
    help: str
    build: Callable[[int], Family]


@dataclass(frozen=True)
class PriorEntry:
    """One p(z): a module that takes nothing and gives a density."""

    label: str
    help: str
    build: Callable[[int], nn.Module]


GREY_BOUND = "lower bound on the log density of the grey levels (a density may exceed 1, so it can be positive)"

LIKELIHOODS = {
    "bernoulli": LikelihoodEntry(
        "Bernoulli, dynamically binarised",
        "Each pixel is drawn black or white anew at every visit, with its grey level as probability.",
        partial(FromLogits, density=Bernoulli),
        binarise,
        "lower bound on log p of the binarised image",
    ),
    "continuous_bernoulli": LikelihoodEntry(
        "Continuous Bernoulli",
        "A normalised density for grey levels in [0, 1].",
        partial(FromLogits, density=ContinuousBernoulli),
        grey,
        GREY_BOUND,
    ),
    "gaussian": LikelihoodEntry(
        "Gaussian, learned σ",
        "Grey levels with Gaussian noise; one standard deviation σ is learned for all pixels.",
        SharedScaleGaussianFamily,
        grey,
        GREY_BOUND,
    ),
}

POSTERIORS = {
    "diagonal_gaussian": PosteriorEntry(
        "Gaussian, diagonal covariance",
        "Mean and standard deviation of every latent dimension, given by the encoder.",
        DiagonalGaussianFamily,
    ),
}

PRIORS = {
    "standard_normal": PriorEntry("Standard normal", "N(0, I): nothing to learn.", StandardNormalPrior),
}
