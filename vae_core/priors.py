"""The table of priors p(z): modules that take nothing and give a density."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.quasirandom import SobolEngine

from vae_core.autoencoder import Nothing
from vae_core.config import ModelConfig
from vae_core.distributions import Bernoulli, Normal
from vae_core.families import bounded_scale
from vae_core.gaussians import FullNormal, MixtureOfNormals
from vae_core.posteriors import tril_from


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


def cholesky(covariance: Float[Tensor, "D D"]) -> Float[Tensor, "D D"]:
    """The lower Cholesky factor. Raises ValueError for a matrix that is no covariance, saying why."""
    if not torch.allclose(covariance, covariance.mT):
        worst = (covariance - covariance.mT).abs().max().item()
        raise ValueError(
            f"prior covariance must be symmetric; got entries that differ by {worst:.3g} from their mirror"
        )
    smallest, largest = torch.linalg.eigvalsh(covariance)[[0, -1]].tolist()
    if not smallest > len(covariance) * torch.finfo(covariance.dtype).eps * largest:  # as good as 0
        raise ValueError(f"prior covariance must be positive definite; got smallest eigenvalue {smallest:.3g}")
    return torch.linalg.cholesky(covariance)


def given_gaussian(
    size: int, mean: Sequence[float], covariance: Sequence[float]
) -> tuple[Float[Tensor, "D"], Float[Tensor, "D D"]]:
    """Mean and Cholesky factor from flat numbers, rows of the covariance one after the other; none means 0 and I.

    Raises ValueError for wrong counts and for a matrix that is no covariance.
    """
    if len(mean) not in (0, size):
        raise ValueError(f"prior mean must have {size} numbers, one a latent dimension; got {len(mean)}")
    if len(covariance) not in (0, size * size):
        raise ValueError(
            f"prior covariance must have {size * size} numbers, {size} rows of {size}; got {len(covariance)}"
        )
    cpu = torch.device("cpu")  # they are looked at, also where the model is only sketched, on the device "meta"
    loc = torch.tensor(mean or [0.0] * size, dtype=torch.float64, device=cpu)
    given = covariance or torch.eye(size, device=cpu).flatten().tolist()
    matrix = torch.tensor(given, dtype=torch.float64, device=cpu).reshape(size, size)
    if not (loc.isfinite().all() and matrix.isfinite().all()):
        raise ValueError("prior mean and covariance must be finite numbers")
    return loc, cholesky(matrix)


class GivenGaussianPrior(nn.Module):
    """N(mu_p, Sigma_p) as given. Raises ValueError unless the covariance is symmetric and positive definite."""

    loc: Tensor
    scale_tril: Tensor

    def __init__(self, size: int, mean: Sequence[float] = (), covariance: Sequence[float] = ()) -> None:
        super().__init__()
        loc, tril = given_gaussian(size, mean, covariance)
        self.register_buffer("loc", loc.to(torch.get_default_dtype()), persistent=False)
        self.register_buffer("scale_tril", tril.to(torch.get_default_dtype()), persistent=False)

    def forward(self) -> FullNormal:
        return FullNormal(self.loc, self.scale_tril)


class LearnedGaussianPrior(nn.Module):
    """N(mu_p, Sigma_p), learned from N(0, I) on."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(size))
        self.diagonal = nn.Parameter(torch.zeros(size))
        self.below = nn.Parameter(torch.zeros(size * (size - 1) // 2))

    def forward(self) -> FullNormal:
        return FullNormal(self.loc, tril_from(self.diagonal, self.below))


def spread_normals(count: int, size: int) -> Float[Tensor, "count size"]:
    """Evenly spread points of N(0, I): a Sobol sequence through the normal quantile."""
    points = SobolEngine(size).draw(count + 1, dtype=torch.float64)[1:]
    return torch.special.ndtri(points).to(torch.get_default_dtype())


class MixturePrior(nn.Module):
    """A learned mixture of diagonal Gaussians, which starts spread over N(0, I)."""

    def __init__(self, size: int, components: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(spread_normals(components, size))
        self.raw_scale = nn.Parameter(torch.zeros(components, size))

    def forward(self) -> MixtureOfNormals:
        return MixtureOfNormals(self.logits, self.loc, bounded_scale(self.raw_scale))


class VampPrior(nn.Module):
    """The mean of q(z|u) over learned pseudo-inputs u (Tomczak & Welling 2018, eq. 9), with a diagonal Gaussian q."""

    logits: Tensor

    def __init__(self, pixels: int, count: int, encoder: nn.Module) -> None:
        super().__init__()
        self.raw_inputs = nn.Parameter(0.5 * spread_normals(count, pixels) - 1)
        self.register_buffer("logits", torch.zeros(count), persistent=False)
        self._encoder = (encoder,)  # a tuple hides it from the list of modules: its parameters are the machine's

    def forward(self) -> MixtureOfNormals:
        q = self._encoder[0](self.raw_inputs.sigmoid())
        if not isinstance(q, Normal):
            raise ValueError(
                f"the VampPrior is made of diagonal Gaussian posteriors; got {type(q).__name__}: "
                "use the prior 'mixture'"
            )
        return MixtureOfNormals(self.logits, q.loc, q.scale)


class BernoulliPrior(nn.Module):
    """Independent binary units with learned probabilities, which start at one half."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(size))

    def forward(self) -> Bernoulli:
        return Bernoulli(self.logits)


class NoPrior(nn.Module):
    """For a plain autoencoder."""

    origin: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("origin", torch.zeros(size), persistent=False)

    def forward(self) -> Nothing:
        return Nothing(self.origin)


@dataclass(frozen=True)
class PriorEntry:
    """One p(z) for a recipe, given the number of pixels and the encoder, and the density that it gives."""

    label: str
    help: str
    build: Callable[[ModelConfig, int, nn.Module], nn.Module]
    density: type[Any]


PRIORS = {
    "standard_normal": PriorEntry(
        "Standard normal",
        "N(0, I): nothing to learn.",
        lambda config, pixels, encoder: StandardNormalPrior(config.latent),
        Normal,
    ),
    "gaussian": PriorEntry(
        "Gaussian, as given",
        "N(μ, Σ) with the mean and covariance that you give.",
        lambda config, pixels, encoder: GivenGaussianPrior(config.latent, config.prior_mean, config.prior_covariance),
        FullNormal,
    ),
    "learned_gaussian": PriorEntry(
        "Gaussian, learned",
        "N(μ, Σ) with mean and covariance learned along. The bound gains little: the decoder could do the same.",
        lambda config, pixels, encoder: LearnedGaussianPrior(config.latent),
        FullNormal,
    ),
    "mixture": PriorEntry(
        "Mixture of Gaussians",
        "Several learned Gaussians: room for clusters.",
        lambda config, pixels, encoder: MixturePrior(config.latent, config.components),
        MixtureOfNormals,
    ),
    "vamp": PriorEntry(
        "VampPrior",
        "The average posterior of learned pseudo-inputs: a prior that follows where the codes are.",
        lambda config, pixels, encoder: VampPrior(pixels, config.components, encoder),
        MixtureOfNormals,
    ),
    "bernoulli": PriorEntry(
        "Bernoulli (binary code)",
        "Independent binary units with learned probabilities, for Bernoulli posteriors.",
        lambda config, pixels, encoder: BernoulliPrior(config.latent),
        Bernoulli,
    ),
    "none": PriorEntry(
        "None: plain autoencoder",
        "Codes may lie anywhere: no KL term, nothing to draw from.",
        lambda config, pixels, encoder: NoPrior(config.latent),
        Nothing,
    ),
}
