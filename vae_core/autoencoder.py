"""What stands for densities in a plain autoencoder: no noise, no KL. Its "ELBO" is the reconstruction, no bound."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vae_core.distributions import REAL, Located, Support


@dataclass(frozen=True)
class Point(Located):
    """A code with no noise. Its `log_prob` is 0 by convention, so that no KL term is left."""

    loc: Float[Tensor, "*batch D"]
    reparameterised: ClassVar[bool] = True
    support: ClassVar[Support] = REAL

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n *batch D"]:
        return self.loc.expand(n, *self.loc.shape)

    def log_prob(self, x: Float[Tensor, "*#batch D"]) -> Float[Tensor, "..."]:
        return torch.zeros(torch.broadcast_shapes(x.shape, self.loc.shape)[:-1], dtype=x.dtype, device=x.device)


@dataclass(frozen=True)
class Nothing:
    """No prior at all; `origin` is where the axes cross."""

    origin: Float[Tensor, "D"]
    reparameterised: ClassVar[bool] = False
    support: ClassVar[Support] = REAL

    @property
    def mean(self) -> Float[Tensor, "D"]:
        return self.origin

    def sample(self, n: int, *, generator: torch.Generator) -> Tensor:
        raise ValueError("a plain autoencoder has no prior to draw codes from; train with the prior 'standard_normal'")

    def log_prob(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        return torch.zeros(x.shape[:-1], dtype=x.dtype, device=x.device)
