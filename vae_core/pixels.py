"""Densities of observed values beside the Gaussian and the Bernoulli ones: 8-bit grey levels, and heavy tails."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vae_core.distributions import LEVELS, REAL, Located, Support, normal_like, uniform_like
from vae_core.noise import drawn

TOP = 255


@dataclass(frozen=True)
class Categorical:
    """One of 256 grey levels for every value, each with a probability of its own; values are level / 255."""

    logits: Float[Tensor, "*batch D 256"]
    reparameterised: ClassVar[bool] = False
    support: ClassVar[Support] = LEVELS

    @property
    def mean(self) -> Float[Tensor, "*batch D"]:
        levels = torch.linspace(0, 1, TOP + 1, dtype=self.logits.dtype, device=self.logits.device)
        return self.logits.softmax(-1) @ levels

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n *batch D"]:
        edges = self.logits.softmax(-1).cumsum(-1).expand(n, *self.logits.shape)
        place = uniform_like(n, self.logits[..., 0], generator).unsqueeze(-1) * edges[..., -1:]
        return (edges <= place).sum(-1).clamp_max(TOP).to(self.logits.dtype) / TOP

    def log_prob(self, x: Float[Tensor, "*#batch D"]) -> Float[Tensor, "..."]:
        log_p = self.logits.log_softmax(-1)
        level = (x * TOP).round().long()
        shape = torch.broadcast_shapes(level.shape, log_p.shape[:-1])
        chosen = log_p.expand(*shape, TOP + 1).gather(-1, level.expand(shape).unsqueeze(-1))
        return chosen.squeeze(-1).sum(-1)


@dataclass(frozen=True)
class DiscretisedLogistic:
    """The mass that a logistic density puts on each of 256 grey levels; the outer levels take the tails
    (Kingma et al. 2016, appendix C; Salimans et al. 2017, eq. 2). Values are level / 255, so are `loc` and `scale`."""

    loc: Float[Tensor, "*batch D"]
    scale: Float[Tensor, "*#batch #D"]
    reparameterised: ClassVar[bool] = False
    support: ClassVar[Support] = LEVELS

    @property
    def mean(self) -> Float[Tensor, "*batch D"]:
        # E level = sum over k of P(level > k); one pass an edge needs no [.., D, 256]
        total = torch.zeros_like(self.loc)
        for k in range(TOP):
            total += torch.sigmoid((self.loc - (k + 0.5) / TOP) / self.scale)
        return total / TOP

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n *batch D"]:
        tiny = torch.finfo(self.loc.dtype).tiny
        u = uniform_like(n, self.loc, generator).clamp_min(tiny)
        value = self.loc + self.scale * (u.log() - torch.log1p(-u))
        return (value.detach() * TOP).round().clamp(0, TOP) / TOP

    def log_prob(self, x: Float[Tensor, "*#batch D"]) -> Float[Tensor, "..."]:
        middle = (x - self.loc) / self.scale
        half = 0.5 / TOP / self.scale
        upper, lower = middle + half, middle - half
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - e^(b - a)): no cancellation in either tail
        inside = F.logsigmoid(upper) + F.logsigmoid(-lower) + torch.log(-torch.expm1(-2 * half))
        level = (x * TOP).round()
        first, last = level <= 0, level >= TOP
        return torch.where(first, F.logsigmoid(upper), torch.where(last, F.logsigmoid(-lower), inside)).sum(-1)


@dataclass(frozen=True)
class Laplace(Located):
    """Independent double exponentials: density exp(-|x - loc| / scale) / (2 scale)."""

    loc: Float[Tensor, "*batch D"]
    scale: Float[Tensor, "*#batch #D"]
    reparameterised: ClassVar[bool] = True
    support: ClassVar[Support] = REAL

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n *batch D"]:
        # a uniform number of 0 would be drawn as minus infinity
        u = uniform_like(n, self.loc, generator).clamp_min(torch.finfo(self.loc.dtype).eps) - 0.5
        return self.loc - self.scale * u.sign() * torch.log1p(-2 * u.abs())

    def log_prob(self, x: Float[Tensor, "*#batch D"]) -> Float[Tensor, "..."]:
        return (-(x - self.loc).abs() / self.scale - (2 * self.scale).log()).sum(-1)


def _gamma(concentration: Tensor, generator: torch.Generator) -> Tensor:
    return torch._standard_gamma(concentration.contiguous(), generator)  # pyright: ignore[reportPrivateImportUsage]


@dataclass(frozen=True)
class StudentT(Located):
    """Independent Student's t of `freedom` degrees: tails of a power law, so that outliers pull little."""

    loc: Float[Tensor, "*batch D"]
    scale: Float[Tensor, "*#batch #D"]
    freedom: Float[Tensor, "*#batch #D"]
    reparameterised: ClassVar[bool] = True
    support: ClassVar[Support] = REAL

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n *batch D"]:
        noise = normal_like(n, self.loc, generator)
        half = 0.5 * self.freedom
        gamma = drawn(noise.shape, generator, lambda shape: _gamma(half.expand(shape), generator))
        return self.loc + self.scale * noise * (half / gamma).sqrt()

    def log_prob(self, x: Float[Tensor, "*#batch D"]) -> Float[Tensor, "..."]:
        z, df = (x - self.loc) / self.scale, self.freedom
        half = 0.5 * df.double()  # single precision would lose 1e-4 nats a value at hundreds of degrees
        constant = torch.lgamma(half + 0.5) - torch.lgamma(half) - 0.5 * (2 * math.pi * half).log()
        return (constant.to(z.dtype) - self.scale.log() - 0.5 * (df + 1) * torch.log1p(z.square() / df)).sum(-1)
