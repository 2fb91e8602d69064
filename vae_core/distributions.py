"""Densities over the last axis: normalised, in nats, drawn with a passed generator.

`torch.distributions` takes no generator, and browser sessions are threads of one process, so the
densities are written out here and tested against `torch.distributions`.

A density has `sample(n, *, generator)` -> [n, ..., D], `log_prob(x)` -> [...], `mean` [..., D] and `support`, the
values it speaks of. A reparameterised one (`reparameterised = True`) lets gradients through its draws (Kingma &
Welling 2014, section 2.4); one that pushes standard normal noise [n, ..., D] through a map offers that as `push`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vae_core.noise import drawn

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True)
class Support:
    """The values a density speaks of, and what to do with others."""

    rule: str
    instead: str
    holds: Callable[[Tensor], Tensor]

    def require(self, x: Tensor, density: str) -> None:
        """Raises ValueError naming the rule and the first value outside it."""
        outside = ~self.holds(x)
        if outside.any():
            value = x[outside][0].item()
            raise ValueError(f"x must be {self.rule} for {density}; got {value:g}: {self.instead}")


REAL = Support("finite numbers", "clean the data first", torch.isfinite)
BINARY = Support(
    "0 or 1",
    "binarise grey values first, or use the likelihood 'continuous_bernoulli'",
    lambda x: (x == 0) | (x == 1),
)
UNIT = Support("in [0, 1]", "divide grey levels by 255, or use a Gaussian likelihood", lambda x: (x >= 0) & (x <= 1))
LEVELS = Support(
    "whole multiples of 1/255 in [0, 1]",
    "give 8-bit grey levels divided by 255, or use the likelihood 'continuous_bernoulli'",
    lambda x: (x >= 0) & (x <= 1) & ((x * 255 - (x * 255).round()).abs() < 1e-3),
)


@runtime_checkable
class Density(Protocol):
    """What every density of this module offers."""

    reparameterised: ClassVar[bool]
    support: ClassVar[Support]

    @property
    def mean(self) -> Tensor: ...
    def sample(self, n: int, *, generator: torch.Generator) -> Tensor: ...
    def log_prob(self, x: Tensor) -> Tensor: ...


def uniform_like(n: int, parameter: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform numbers [n, *shape of parameter] in [0, 1)."""
    make = partial(torch.rand, generator=generator, device=parameter.device, dtype=parameter.dtype)
    return drawn((n, *parameter.shape), generator, make)


def normal_like(n: int, parameter: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers [n, *shape of parameter]."""
    make = partial(torch.randn, generator=generator, device=parameter.device, dtype=parameter.dtype)
    return drawn((n, *parameter.shape), generator, make)


class Located:
    """A density with its mean, or its centre where there is no mean, at `loc`."""

    loc: Tensor

    @property
    def mean(self) -> Float[Tensor, "*batch D"]:
        return self.loc


class Pushed(Located):
    """A density whose draws are standard normal noise pushed through `push`, a differentiable map."""

    reparameterised: ClassVar[bool] = True
    support: ClassVar[Support] = REAL

    def push(self, noise: Float[Tensor, "n *batch D"]) -> Float[Tensor, "n *batch D"]:
        raise NotImplementedError

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n *batch D"]:
        return self.push(normal_like(n, self.loc, generator))


@dataclass(frozen=True)
class Normal(Pushed):
    """Gaussian with diagonal covariance: N(loc, diag(scale^2))."""

    loc: Float[Tensor, "*batch D"]
    scale: Float[Tensor, "*#batch #D"]

    def push(self, noise: Float[Tensor, "n *batch D"]) -> Float[Tensor, "n *batch D"]:
        return torch.addcmul(self.loc, self.scale, noise)

    def log_prob(self, x: Float[Tensor, "*#batch D"]) -> Float[Tensor, "..."]:
        z = (x - self.loc) / self.scale
        return (-0.5 * z.square() - self.scale.log()).sum(-1) - x.shape[-1] * HALF_LOG_2PI


@dataclass(frozen=True)
class Bernoulli:
    """Independent binary values with success probability sigmoid(logits)."""

    logits: Float[Tensor, "*batch D"]
    reparameterised: ClassVar[bool] = False
    support: ClassVar[Support] = BINARY

    @property
    def mean(self) -> Float[Tensor, "*batch D"]:
        return self.logits.sigmoid()

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n *batch D"]:
        return (uniform_like(n, self.logits, generator) < self.mean).to(self.logits.dtype)

    def log_normaliser(self) -> Float[Tensor, "*batch"]:
        """A of the exponential family log p(x) = x . logits - A."""
        return F.softplus(self.logits).sum(-1)

    def log_prob(self, x: Float[Tensor, "*#batch D"]) -> Float[Tensor, "..."]:
        # a product of vectors: no [.., D] temporary
        return torch.linalg.vecdot(x, self.logits) - self.log_normaliser()


@dataclass(frozen=True)
class ContinuousBernoulli:
    """Density e^(l x) / Z(l) on [0, 1] with Z(l) = (e^l - 1) / l (Loaiza-Ganem & Cunningham 2019, eq. 4-5)."""

    logits: Float[Tensor, "*batch D"]
    reparameterised: ClassVar[bool] = True
    support: ClassVar[Support] = UNIT

    def log_normaliser(self) -> Float[Tensor, "*batch"]:
        """A of the exponential family log p(x) = x . logits - A."""
        # log Z = l/2 + log(sinh(a)/a), a = |l|/2: even in l, so no cancellation for negative l
        a = 0.5 * self.logits.abs()
        near = a < 0.1
        safe = torch.where(near, torch.ones_like(a), a)
        far_value = safe + torch.log1p(-torch.exp(-2 * safe)) - math.log(2) - safe.log()
        squared = torch.where(near, a, torch.zeros_like(a)).square()
        series = squared * (1 / 6 - squared * (1 / 180 - squared / 2835))
        return (0.5 * self.logits + torch.where(near, series, far_value)).sum(-1)

    @property
    def mean(self) -> Float[Tensor, "*batch D"]:
        logits = self.logits
        near = logits.abs() < 0.2
        safe = torch.where(near, torch.ones_like(logits), logits)
        squared = logits.square()
        series = 0.5 + logits * (1 / 12 - squared * (1 / 720 - squared / 30240))
        return torch.where(near, series, 0.5 + 0.5 / torch.tanh(0.5 * safe) - 1 / safe)

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n *batch D"]:
        # inverse CDF log(1 + u (e^l - 1)) / l, written for |l| so that nothing overflows
        u = uniform_like(n, self.logits, generator)
        size = self.logits.abs()
        near = size < 1e-3
        safe = torch.where(near, torch.ones_like(size), size)
        upper = 1 + torch.log(torch.exp(-safe) + u * (1 - torch.exp(-safe))) / safe
        drawn = torch.where(self.logits > 0, upper, 1 - upper)
        return torch.where(near, u + 0.5 * self.logits * u * (1 - u), drawn).clamp(0, 1)

    def log_prob(self, x: Float[Tensor, "*#batch D"]) -> Float[Tensor, "..."]:
        return torch.linalg.vecdot(x, self.logits) - self.log_normaliser()


def normal_kl_by_dimension(q: Normal, p: Normal) -> Float[Tensor, "*batch D"]:
    """KL(q || p) of two diagonal Gaussians, one term for each dimension, nats."""
    ratio = (q.scale / p.scale).square()
    shift = ((q.loc - p.loc) / p.scale).square()
    return 0.5 * (ratio + shift - 1 - ratio.log())


def normal_kl(q: Normal, p: Normal) -> Float[Tensor, "*batch"]:
    """KL(q || p) of two diagonal Gaussians, nats per example (Kingma & Welling 2014, appendix B, for p = N(0, I))."""
    return normal_kl_by_dimension(q, p).sum(-1)
