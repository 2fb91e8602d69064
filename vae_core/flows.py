"""A normalising flow: a Gaussian pushed through affine coupling layers (Dinh et al. 2017, eq. 7-8)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.quasirandom import SobolEngine

from vae_core.distributions import Normal, Pushed

STRETCH = 2.0
"""Bound on the log-scale of one layer."""
QUADRATURE_POINTS = 256

Weights = tuple[Tensor, Tensor, Tensor, Tensor]
"""Of one layer's network with one hidden layer: weight and bias twice."""


@dataclass(frozen=True)
class CouplingFlow(Pushed):
    """z = f_L(... f_1(loc + scale * noise)): every layer shifts and scales one part of z by functions of the other
    part and of `context`, and the parts take turns. Both directions cost the same, so any z has its log-density."""

    loc: Float[Tensor, "*batch D"]
    scale: Float[Tensor, "*batch D"]
    context: Float[Tensor, "*batch C"]
    layers: tuple[Weights, ...]

    def _shift_and_log_scale(self, weights: Weights, kept: Tensor) -> tuple[Tensor, Tensor]:
        context = self.context.expand(*kept.shape[:-1], -1)
        hidden = F.linear(torch.cat([kept, context], dim=-1), weights[0], weights[1]).tanh()
        shift, raw = F.linear(hidden, weights[2], weights[3]).chunk(2, dim=-1)
        return shift, STRETCH * (raw / STRETCH).tanh()

    def push(self, noise: Float[Tensor, "n *batch D"]) -> Float[Tensor, "n *batch D"]:
        z = torch.addcmul(self.loc, self.scale, noise)
        for weights in self.layers:
            kept, moved = _parts(z)
            shift, log_scale = self._shift_and_log_scale(weights, kept)
            z = torch.cat([moved * log_scale.exp() + shift, kept], dim=-1)
        return z

    def log_prob(self, x: Float[Tensor, "*#batch D"]) -> Float[Tensor, "..."]:
        z, log_det = x.expand(torch.broadcast_shapes(x.shape, self.loc.shape)), x.new_zeros(())
        for weights in reversed(self.layers):
            moved, kept = z[..., : z.shape[-1] // 2], z[..., z.shape[-1] // 2 :]
            shift, log_scale = self._shift_and_log_scale(weights, kept)
            z = torch.cat([kept, (moved - shift) * (-log_scale).exp()], dim=-1)
            log_det = log_det + log_scale.sum(-1)
        return Normal(self.loc, self.scale).log_prob(z) - log_det

    @property
    def mean(self) -> Float[Tensor, "*batch D"]:
        """By quasi-Monte Carlo with 256 Sobol points (the flow has no closed form)."""
        corners = SobolEngine(self.loc.shape[-1]).draw(QUADRATURE_POINTS, dtype=torch.float64)
        noise = torch.special.ndtri(corners + 0.5 / QUADRATURE_POINTS).to(self.loc)  # midpoints: symmetric about 0
        spread = noise.reshape(len(noise), *[1] * (self.loc.dim() - 1), -1)
        return self.push(spread.expand(len(noise), *self.loc.shape)).mean(0)


def _parts(z: Tensor) -> tuple[Tensor, Tensor]:
    """What a layer keeps and what it moves. A layer puts the moved part first, so the parts take turns."""
    half = (z.shape[-1] + 1) // 2
    return z[..., :half], z[..., half:]
