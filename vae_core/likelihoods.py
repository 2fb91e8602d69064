"""The table of likelihoods p(x|z), read alike by the models, the app's select boxes and the tests.

A new likelihood is one density, one family (if none of these fits) and one entry.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Real
from torch import Tensor, nn

from vae_core.config import ModelConfig
from vae_core.distributions import Bernoulli, ContinuousBernoulli, Normal
from vae_core.families import DiagonalGaussianFamily, Family, FromLogits, bounded_scale
from vae_core.gaussians import LowRankNormal
from vae_core.noise import drawn
from vae_core.pixels import TOP, Categorical, DiscretisedLogistic, Laplace, StudentT

RANK = 4
"""Columns of the low-rank covariance."""


class FixedScaleGaussianFamily(Family):
    """N(mu(z), sigma^2 I) with a given sigma."""

    scale: Tensor

    def __init__(self, size: int, scale: float) -> None:
        super().__init__()
        self.inputs = size
        self.register_buffer("scale", torch.tensor([scale]), persistent=False)

    def forward(self, raw: Float[Tensor, "*batch D"]) -> Normal:
        return Normal(raw, self.scale)


class SharedScaleGaussianFamily(Family):
    """N(mu(z), sigma^2 I) with one learned sigma for all values (sigma-VAE, Rybkin et al. 2021, section 3)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.inputs = size
        self.raw_scale = nn.Parameter(torch.full((1,), math.log(0.3)))

    def forward(self, raw: Float[Tensor, "*batch D"]) -> Normal:
        return Normal(raw, bounded_scale(self.raw_scale))


class LowRankGaussianFamily(Family):
    """N(mu(z), F(z) F(z)^T + diag(sigma(z)^2)): values that vary together."""

    def __init__(self, size: int, rank: int) -> None:
        super().__init__()
        self.size, self.inputs = size, (2 + rank) * size

    def forward(self, raw: Float[Tensor, "*batch P"]) -> LowRankNormal:
        loc, raw_scale, factor = raw.split([self.size, self.size, self.inputs - 2 * self.size], dim=-1)
        columns = factor.unflatten(-1, (-1, self.size)).mT
        return LowRankNormal(loc, columns, bounded_scale(raw_scale))


class CategoricalFamily(Family):
    """256 logits for every value."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.inputs = size, (TOP + 1) * size

    def forward(self, raw: Float[Tensor, "*batch P"]) -> Categorical:
        return Categorical(raw.unflatten(-1, (TOP + 1, self.size)).mT)


class DiscretisedLogisticFamily(Family):
    """Centre and scale of every value from the network; scales start near 15 grey levels."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.inputs = 2 * size

    def forward(self, raw: Float[Tensor, "*batch P"]) -> DiscretisedLogistic:
        loc, raw_scale = raw.chunk(2, dim=-1)
        return DiscretisedLogistic(loc, bounded_scale(raw_scale - 3))


class LaplaceFamily(Family):
    """Double exponential noise with one learned scale for all values."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.inputs = size
        self.raw_scale = nn.Parameter(torch.full((1,), math.log(0.3)))

    def forward(self, raw: Float[Tensor, "*batch D"]) -> Laplace:
        return Laplace(raw, bounded_scale(self.raw_scale))


class StudentTFamily(Family):
    """Student's t noise with one learned scale and one learned number of degrees of freedom, above 1."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.inputs = size
        self.raw_scale = nn.Parameter(torch.full((1,), math.log(0.3)))
        self.raw_freedom = nn.Parameter(torch.full((1,), math.log(4.0)))

    def forward(self, raw: Float[Tensor, "*batch D"]) -> StudentT:
        return StudentT(raw, bounded_scale(self.raw_scale), 1 + bounded_scale(self.raw_freedom))


def binarise(x: Real[Tensor, "*batch D"], *, generator: torch.Generator) -> Float[Tensor, "*batch D"]:
    """A fresh binary image: each pixel 1 with probability x/255 (dynamic binarisation, Burda et al. 2016).

    Raises ValueError for what is no grey level.
    """
    if x.dtype != torch.uint8:
        raise ValueError(f"x must be uint8 grey levels to be binarised; got {x.dtype}: use the likelihood 'gaussian'")
    uniform = drawn(x.shape, generator, partial(torch.rand, generator=generator, device=x.device))
    return torch.lt(uniform.mul_(255), x, out=uniform)


def grey(x: Real[Tensor, "*batch D"], *, generator: torch.Generator) -> Float[Tensor, "*batch D"]:
    """8-bit grey levels as x/255 in [0, 1], real values as they are; nothing is drawn."""
    return x / 255 if x.dtype == torch.uint8 else x


Observe = Callable[..., Tensor]


@dataclass(frozen=True)
class LikelihoodEntry:
    """One p(x|z): how it is built for D values, which values it sees, and what its number may be called."""

    label: str
    help: str
    build: Callable[[int, ModelConfig], Family]
    observe: Observe
    bounds: str

    @property
    def continuous(self) -> bool:
        """Whether it is a density of real values; else a probability of bits or of grey levels."""
        return self.bounds == DENSITY_BOUND


BINARY_BOUND = "lower bound on log p of the binarised image"
DENSITY_BOUND = (
    "lower bound on the log density of the values, scaled to [0, 1] (a density may exceed 1, so it can be positive)"
)
LEVEL_BOUND = "lower bound on log p of the 8-bit image"

LIKELIHOODS = {
    "bernoulli": LikelihoodEntry(
        "Bernoulli, dynamically binarised",
        "Each pixel is drawn black or white anew at every visit, with its grey level as probability.",
        lambda size, config: FromLogits(size, Bernoulli),
        binarise,
        BINARY_BOUND,
    ),
    "continuous_bernoulli": LikelihoodEntry(
        "Continuous Bernoulli",
        "A normalised density for values in [0, 1].",
        lambda size, config: FromLogits(size, ContinuousBernoulli),
        grey,
        DENSITY_BOUND,
    ),
    "gaussian": LikelihoodEntry(
        "Gaussian, learned σ",
        "Values with Gaussian noise; one standard deviation σ is learned for all of them.",
        lambda size, config: SharedScaleGaussianFamily(size),
        grey,
        DENSITY_BOUND,
    ),
    "gaussian_fixed": LikelihoodEntry(
        "Gaussian, fixed σ",
        "Values with Gaussian noise of a size that you set; a smaller σ asks for sharper reconstructions.",
        lambda size, config: FixedScaleGaussianFamily(size, config.sigma),
        grey,
        DENSITY_BOUND,
    ),
    "gaussian_per_pixel": LikelihoodEntry(
        "Gaussian, σ(z) for every value",
        "Mean and standard deviation of every value come from the decoder, as for the Frey faces of AEVB.",
        lambda size, config: DiagonalGaussianFamily(size),
        grey,
        DENSITY_BOUND,
    ),
    "gaussian_low_rank": LikelihoodEntry(
        "Gaussian, low-rank covariance",
        f"Noise that is correlated between values: covariance of rank {RANK} plus a diagonal, both from the decoder.",
        lambda size, config: LowRankGaussianFamily(size, RANK),
        grey,
        DENSITY_BOUND,
    ),
    "discretised_logistic": LikelihoodEntry(
        "Discretised logistic, 8-bit",
        "A probability for each of the 256 grey levels: the mass of a logistic density around it.",
        lambda size, config: DiscretisedLogisticFamily(size),
        grey,
        LEVEL_BOUND,
    ),
    "categorical": LikelihoodEntry(
        "Categorical, 8-bit",
        "A free probability for each of the 256 grey levels of every pixel. Large: 256 outputs a pixel.",
        lambda size, config: CategoricalFamily(size),
        grey,
        LEVEL_BOUND,
    ),
    "laplace": LikelihoodEntry(
        "Laplace, learned scale",
        "Noise with heavier tails than the Gaussian: absolute instead of squared differences.",
        lambda size, config: LaplaceFamily(size),
        grey,
        DENSITY_BOUND,
    ),
    "student_t": LikelihoodEntry(
        "Student-t, learned scale and tails",
        "Noise with tails as heavy as the data ask for: outliers pull little.",
        lambda size, config: StudentTFamily(size),
        grey,
        DENSITY_BOUND,
    ),
}
