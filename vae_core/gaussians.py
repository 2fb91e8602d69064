"""Gaussians with correlations, mixtures of Gaussians, and every KL that is known in closed form."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vae_core.distributions import (
    HALF_LOG_2PI,
    REAL,
    Bernoulli,
    Density,
    Located,
    Normal,
    Pushed,
    Support,
    normal_kl,
    normal_like,
    uniform_like,
)


@dataclass(frozen=True)
class FullNormal(Pushed):
    """N(loc, L L^T) with L = `scale_tril`, lower triangular with a positive diagonal."""

    loc: Float[Tensor, "*batch D"]
    scale_tril: Float[Tensor, "*batch D D"]

    def push(self, noise: Float[Tensor, "n *batch D"]) -> Float[Tensor, "n *batch D"]:
        return self.loc + (self.scale_tril @ noise.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, x: Float[Tensor, "*#batch D"]) -> Float[Tensor, "..."]:
        shift = (x - self.loc).unsqueeze(-1)
        z = torch.linalg.solve_triangular(self.scale_tril, shift, upper=False).squeeze(-1)
        return -0.5 * z.square().sum(-1) - _half_log_det(self.scale_tril) - x.shape[-1] * HALF_LOG_2PI


@dataclass(frozen=True)
class LowRankNormal(Located):
    """N(loc, F F^T + diag(scale^2)) with F = `factor` of R columns; log-determinant by the matrix determinant lemma,
    distance by ridge regression on F (Woodbury's identity without its difference of large numbers)."""

    loc: Float[Tensor, "*batch D"]
    factor: Float[Tensor, "*batch D R"]
    scale: Float[Tensor, "*batch D"]
    reparameterised: ClassVar[bool] = True
    support: ClassVar[Support] = REAL

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n *batch D"]:
        common = normal_like(n, self.factor[..., 0, :], generator)
        own = normal_like(n, self.loc, generator)
        return self.loc + self.scale * own + (self.factor @ common.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, x: Float[Tensor, "*#batch D"]) -> Float[Tensor, "..."]:
        whitened = self.factor / self.scale.unsqueeze(-1)
        z = ((x - self.loc) / self.scale).unsqueeze(-1)
        precise = whitened.double()  # squares of factor / scale swamp the 1 in single precision
        capacitance = precise.mT @ precise + torch.eye(precise.shape[-1], dtype=precise.dtype, device=x.device)
        root, _ = torch.linalg.cholesky_ex(capacitance)  # diverged parameters give NaN, which the trainer reports
        common = torch.cholesky_solve(precise.mT @ z.double(), root).to(z.dtype)
        distance = (z - whitened @ common).square().sum((-2, -1)) + common.square().sum((-2, -1))
        half_log_det = self.scale.log().sum(-1) + _half_log_det(root).to(z.dtype)
        return -0.5 * distance - half_log_det - x.shape[-1] * HALF_LOG_2PI


@dataclass(frozen=True)
class MixtureOfNormals:
    """Sum over C components of softmax(logits)_c N(loc_c, diag(scale_c^2)): no batch axes."""

    logits: Float[Tensor, "C"]
    loc: Float[Tensor, "C D"]
    scale: Float[Tensor, "C D"]
    reparameterised: ClassVar[bool] = False
    support: ClassVar[Support] = REAL

    @property
    def mean(self) -> Float[Tensor, "D"]:
        return self.logits.softmax(-1) @ self.loc

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n D"]:
        edges = self.logits.softmax(-1).cumsum(-1)
        place = uniform_like(n, self.logits[0], generator) * edges[-1]
        chosen = torch.searchsorted(edges, place, right=True).clamp_max(len(edges) - 1)
        # no gradient: that of the chosen component alone would be a wrong one
        return Normal(self.loc[chosen], self.scale[chosen]).sample(1, generator=generator).squeeze(0).detach()

    def log_prob(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        each = Normal(self.loc, self.scale).log_prob(x.unsqueeze(-2))
        return torch.logsumexp(each + self.logits.log_softmax(-1), dim=-1)


def _half_log_det(tril: Float[Tensor, "*batch D D"]) -> Float[Tensor, "*batch"]:
    return tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def as_full(density: Normal | FullNormal) -> FullNormal:
    """The same Gaussian with its covariance written out."""
    if isinstance(density, FullNormal):
        return density
    return FullNormal(density.loc, torch.diag_embed(density.scale.expand_as(density.loc)))


def gaussian_kl(q: Normal | FullNormal, p: Normal | FullNormal) -> Float[Tensor, "*batch"]:
    """1/2 [tr(Sp^-1 Sq) + (mp - mq)^T Sp^-1 (mp - mq) - l + ln det Sp / det Sq], nats per example."""
    q, p = as_full(q), as_full(p)
    ratio = torch.linalg.solve_triangular(p.scale_tril, q.scale_tril, upper=False)
    shift = torch.linalg.solve_triangular(p.scale_tril, (p.loc - q.loc).unsqueeze(-1), upper=False)
    quadratic = ratio.square().sum((-2, -1)) + shift.square().sum((-2, -1)) - q.loc.shape[-1]
    return 0.5 * quadratic + _half_log_det(p.scale_tril) - _half_log_det(q.scale_tril)


def bernoulli_kl(q: Bernoulli, p: Bernoulli) -> Float[Tensor, "*batch"]:
    """KL(q || p) of factorised Bernoulli densities, nats per example."""
    expected = q.mean * (q.logits - p.logits) - F.softplus(q.logits) + F.softplus(p.logits)
    return expected.sum(-1)


KL_TABLE: dict[tuple[type, type], Callable[..., Tensor]] = {
    (Normal, Normal): normal_kl,
    (Normal, FullNormal): gaussian_kl,
    (FullNormal, Normal): gaussian_kl,
    (FullNormal, FullNormal): gaussian_kl,
    (Bernoulli, Bernoulli): bernoulli_kl,
}
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
