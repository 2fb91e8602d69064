"""Densities over the last axis: normalised, in nats, drawn with a passed generator.

`torch.distributions` takes no generator, and browser sessions are threads of one process, so the
densities are written out here and tested against `torch.distributions`.

A density has `sample(n, *, generator)` -> [n, ..., D], `log_prob(x)` -> [...], `mean` [..., D] and
`detach()`, the same density with no gradient to its parameters. A reparameterised one
(`reparameterised = True`) lets gradients through its draws (Kingma & Welling 2014, section 2.4).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
Same = TypeVar("Same")  # not typing.Self, which run-time checkers refuse outside classes they decorate


@runtime_checkable
class Density(Protocol):
    """What every density of this module offers."""

    reparameterised: ClassVar[bool]

    @property
    def mean(self) -> Tensor: ...
    def sample(self, n: int, *, generator: torch.Generator) -> Tensor: ...
    def log_prob(self, x: Tensor) -> Tensor: ...
    def detach(self: Same) -> Same: ...


class _Detachable:
    def detach(self: Same) -> Same:
        return type(self)(*(getattr(self, field.name).detach() for field in fields(self)))  # type: ignore[arg-type]


def _draws_shape(n: int, parameter: Tensor) -> tuple[int, ...]:
    return (n, *parameter.shape)


def _uniform(n: int, parameter: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(_draws_shape(n, parameter), generator=generator, device=parameter.device, dtype=parameter.dtype)


@dataclass(frozen=True)
class Normal(_Detachable):
    """Gaussian with diagonal covariance: N(loc, diag(scale^2))."""

    loc: Float[Tensor, "*batch D"]
    scale: Float[Tensor, "*#batch #D"]
    reparameterised: ClassVar[bool] = True

    @property
    def mean(self) -> Float[Tensor, "*batch D"]:
        return self.loc

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n *batch D"]:
        noise = torch.randn(
            _draws_shape(n, self.loc), generator=generator, device=self.loc.device, dtype=self.loc.dtype
        )
        return torch.addcmul(self.loc, self.scale, noise)

    def log_prob(self, x: Float[Tensor, "*#batch D"]) -> Float[Tensor, "..."]:
        z = (x - self.loc) / self.scale
        return (-0.5 * z.square() - self.scale.log()).sum(-1) - x.shape[-1] * HALF_LOG_2PI


@dataclass(frozen=True)
class Bernoulli(_Detachable):
    """Independent binary values with success probability sigmoid(logits)."""

    logits: Float[Tensor, "*batch D"]
    reparameterised: ClassVar[bool] = False

    @property
    def mean(self) -> Float[Tensor, "*batch D"]:
        return self.logits.sigmoid()

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n *batch D"]:
        return (_uniform(n, self.logits, generator) < self.mean).to(self.logits.dtype)

    def log_prob(self, x: Float[Tensor, "*#batch D"]) -> Float[Tensor, "..."]:
        # x l - log(1 + e^l), with the first sum as a product of vectors: no [.., D] temporary
        linear = torch.linalg.vecdot(x, self.logits)
        return linear - F.softplus(self.logits).sum(-1)


@dataclass(frozen=True)
class ContinuousBernoulli(_Detachable):
    """Density e^(l x) / Z(l) on [0, 1] with Z(l) = (e^l - 1) / l (Loaiza-Ganem & Cunningham 2019, eq. 4-5)."""

    logits: Float[Tensor, "*batch D"]
    reparameterised: ClassVar[bool] = True

    def _log_normaliser(self) -> Tensor:
        # log Z = l/2 + log(sinh(a)/a), a = |l|/2: even in l, so no cancellation for negative l
        a = 0.5 * self.logits.abs()
        near = a < 0.1
        safe = torch.where(near, torch.ones_like(a), a)
        far_value = safe + torch.log1p(-torch.exp(-2 * safe)) - math.log(2) - safe.log()
        squared = torch.where(near, a, torch.zeros_like(a)).square()
        series = squared * (1 / 6 - squared * (1 / 180 - squared / 2835))
        return 0.5 * self.logits + torch.where(near, series, far_value)

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
        u = _uniform(n, self.logits, generator)
        size = self.logits.abs()
        near = size < 1e-3
        safe = torch.where(near, torch.ones_like(size), size)
        upper = 1 + torch.log(torch.exp(-safe) + u * (1 - torch.exp(-safe))) / safe
        drawn = torch.where(self.logits > 0, upper, 1 - upper)
        return torch.where(near, u + 0.5 * self.logits * u * (1 - u), drawn).clamp(0, 1)

    def log_prob(self, x: Float[Tensor, "*#batch D"]) -> Float[Tensor, "..."]:
        return torch.linalg.vecdot(x, self.logits) - self._log_normaliser().sum(-1)


def normal_kl_by_dimension(q: Normal, p: Normal) -> Float[Tensor, "*batch D"]:
    """KL(q || p) of two diagonal Gaussians, one term for each dimension, nats."""
    ratio = (q.scale / p.scale).square()
    shift = ((q.loc - p.loc) / p.scale).square()
    return 0.5 * (ratio + shift - 1 - ratio.log())


def normal_kl(q: Normal, p: Normal) -> Float[Tensor, "*batch"]:
    """KL(q || p) of two diagonal Gaussians, nats per example (Kingma & Welling 2014, appendix B, for p = N(0, I))."""
    return normal_kl_by_dimension(q, p).sum(-1)


KL_TABLE: dict[tuple[type, type], Callable[..., Tensor]] = {(Normal, Normal): normal_kl}
"""Pairs of densities whose KL is known in closed form."""


def has_closed_form_kl(q: Density, p: Density) -> bool:
    return (type(q), type(p)) in KL_TABLE


def kl(q: Density, p: Density) -> Float[Tensor, "*batch"]:
    """KL(q || p) in closed form, nats per example.

    Raises ValueError where no closed form is known: use the Monte Carlo KL, log q - log p at draws of q.
    """
    if not has_closed_form_kl(q, p):
        raise ValueError(
            f"no closed-form KL from {type(q).__name__} to {type(p).__name__}; "
            "use the estimator 'pathwise' (Monte Carlo KL) instead of 'pathwise_analytic'"
        )
    return KL_TABLE[type(q), type(p)](q, p)
