"""From where to where a dimension of the code is worth looking at: quantiles of the model's own prior."""

import torch
from jaxtyping import Float
from torch import Tensor

from vae_core.distributions import Normal
from vae_core.generation import can_draw, prior_codes
from vae_core.model import HelmholtzMachine
from vae_core.traversals import normal_range, quantile_range

DRAWS = 4_096


@torch.no_grad()
def prior_range(
    model: HelmholtzMachine, reach: float, *, generator: torch.Generator
) -> tuple[Float[Tensor, "H"], Float[Tensor, "H"]]:
    """The quantiles `reach` and 1 - `reach` of every dimension of h_1 under the prior: exact for one layer of
    independent normals, of 4,096 draws for all others. Raises ValueError where there is no prior."""
    if not can_draw(model):
        raise ValueError("a plain autoencoder has no prior; take the quantiles of the posterior means")
    prior = model.prior()
    if len(model.generative) == 1 and isinstance(prior, Normal):
        return normal_range(prior.loc, prior.scale.expand_as(prior.loc), reach)
    return quantile_range(prior_codes(model, DRAWS, generator=generator), reach)
