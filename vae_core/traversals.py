"""Latent vectors that show what a dimension, a temperature or an attribute does: pure functions of tensors."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def traversal(values: Float[Tensor, "H S"], centre: Float[Tensor, "H"]) -> Float[Tensor, "H*S H"]:
    """For each dimension in turn, `centre` with that coordinate replaced by each of its S values."""
    size, steps = values.shape
    z = centre.repeat(size, steps, 1)
    z.diagonal(dim1=0, dim2=2).copy_(values.mT)
    return z.flatten(0, 1)


def spans(low: Float[Tensor, "H"], high: Float[Tensor, "H"], steps: int) -> Float[Tensor, "H {steps}"]:
    """Evenly spaced values of each dimension, from `low` to `high`; the middle between them if there is one step."""
    if steps < 1:
        raise ValueError(f"steps of a traversal must be 1 at least; got {steps}")
    shares = torch.linspace(0, 1, steps, dtype=low.dtype, device=low.device) if steps > 1 else low.new_tensor([0.5])
    return torch.lerp(low.unsqueeze(-1), high.unsqueeze(-1), shares)


def _require_reach(reach: float) -> None:
    if not 0 < reach < 0.5:
        raise ValueError(f"reach must be a probability above 0 and below 0.5, such as 0.01; got {reach}")


def quantile_range(samples: Float[Tensor, "N H"], reach: float) -> tuple[Float[Tensor, "H"], Float[Tensor, "H"]]:
    """The quantiles `reach` and 1 - `reach` of each dimension, of draws or of latent means."""
    _require_reach(reach)
    if not len(samples):
        raise ValueError("quantile_range needs one latent vector at least; got none")
    shares = torch.tensor([reach, 1 - reach], dtype=samples.dtype, device=samples.device)
    low, high = samples.quantile(shares, dim=0)
    return low, high


def normal_range(
    loc: Float[Tensor, "H"], scale: Float[Tensor, "H"], reach: float
) -> tuple[Float[Tensor, "H"], Float[Tensor, "H"]]:
    """The exact quantiles `reach` and 1 - `reach` of independent normals."""
    _require_reach(reach)
    half = torch.special.ndtri(torch.tensor(1 - reach, dtype=torch.float64)).item()
    return loc - half * scale, loc + half * scale


def warmer(draws: Float[Tensor, "N H"], mean: Float[Tensor, "H"], temperature: float) -> Float[Tensor, "N H"]:
    """Draws moved away from `mean` by the factor `temperature`: at 0 all are the mean, at 1 they stay."""
    if not (math.isfinite(temperature) and temperature >= 0):
        raise ValueError(f"temperature must be a finite number, 0 or more; got {temperature}")
    return torch.lerp(mean, draws, temperature)


def attribute_vector(
    means: Float[Tensor, "N H"], having: Bool[Tensor, "N"], lacking: Bool[Tensor, "N"]
) -> Float[Tensor, "H"]:
    """From the mean of the latent means of examples `lacking` an attribute to that of examples `having` it
    (Larsen et al. 2016)."""
    for name, chosen in (("having", having), ("lacking", lacking)):
        if not chosen.any():
            raise ValueError(f"the set of examples {name} the attribute is empty; choose one example at least for it")
    return means[having].mean(0) - means[lacking].mean(0)
