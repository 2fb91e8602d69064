"""Exact inference without a grid: linear Gaussian models in closed form, small binary machines by enumeration."""

from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vae_core.distributions import Bernoulli, Normal
from vae_core.evaluation import require_support
from vae_core.gaussians import FullNormal, as_full
from vae_core.model import HelmholtzMachine
from vae_core.quadrature import cross_log_prob

UNITS = 16
"""Most binary units in all layers that are enumerated: 65,536 codes."""


def is_linear_gaussian(model: HelmholtzMachine) -> bool:
    """One layer, a Gaussian prior, a linear decoder and Gaussian noise that does not depend on the code."""
    if len(model.generative) != 1 or not isinstance(model.prior(), (Normal, FullNormal)):
        return False
    layers = list(model.decoder.trunk.children())
    noise = model.decode(model.prior().mean)
    return (
        len(layers) == 1
        and isinstance(layers[0], nn.Linear)
        and isinstance(noise, Normal)
        and layers[0].out_features == noise.loc.shape[-1]
        and noise.scale.dim() == 1
    )


@torch.no_grad()
def linear_gaussian(model: HelmholtzMachine, x: Float[Tensor, "B D"]) -> tuple[Float[Tensor, "B"], FullNormal]:
    """log p(x), nats per example, and the posterior p(z|x) of x = W z + b + noise, both Gaussian.

    p(x) = N(W mu + b, W S W^T + s^2 I) (Bishop 2006, eq. 2.115-2.117). Raises ValueError for other models.
    """
    if not is_linear_gaussian(model):
        raise ValueError(
            "the closed form needs one layer with a Gaussian prior and a linear decoder with Gaussian noise; "
            "use quadrature for 1 or 2 latent dimensions"
        )
    (linear,) = model.decoder.trunk.children()
    prior, noise = as_full(model.prior()), model.decode(model.prior().mean)
    assert isinstance(linear, nn.Linear)  # is_linear_gaussian has seen to both
    assert isinstance(noise, Normal)
    scale = noise.scale.expand(linear.out_features)
    loading = linear.weight @ prior.scale_tril
    evidence = FullNormal(linear(prior.loc), torch.linalg.cholesky(loading @ loading.mT + torch.diag(scale.square())))
    # in coordinates where the prior is N(0, I)
    precision = torch.eye(len(prior.loc)).to(x) + loading.mT @ (loading / scale.square().unsqueeze(-1))
    whitened = torch.linalg.solve(precision, loading.mT @ ((x - evidence.loc) / scale.square()).mT).mT
    tril = torch.linalg.cholesky(prior.scale_tril @ torch.linalg.inv(precision) @ prior.scale_tril.mT)
    mean = prior.loc + whitened @ prior.scale_tril.mT
    return evidence.log_prob(x), FullNormal(mean, tril.expand(len(x), -1, -1))


def codes(size: int) -> Float[Tensor, "{2**size} size"]:
    """All binary codes of `size` units."""
    return torch.tensor(list(product((0.0, 1.0), repeat=size)))


def is_binary(model: HelmholtzMachine) -> bool:
    """Every stochastic layer is Bernoulli, with few enough units to enumerate."""
    sizes = layer_sizes(model)
    return isinstance(model.prior(), Bernoulli) and sum(sizes) <= UNITS


def layer_sizes(model: HelmholtzMachine) -> list[int]:
    """Units of every stochastic layer, from the data inwards."""
    h, sizes = model.prior().mean, []
    for layer in list(model.generative)[::-1]:
        sizes.insert(0, h.shape[-1])
        h = layer(h).mean
    return sizes


@torch.no_grad()
def enumerated_log_evidence(model: HelmholtzMachine, x: Float[Tensor, "B D"]) -> Float[Tensor, "B"]:
    """Exact log p(x), nats per example, as a sum over all codes of all layers.

    Raises ValueError unless the layers are Bernoulli with at most 16 units in all.
    """
    sizes = layer_sizes(model)
    if not is_binary(model):
        raise ValueError(f"enumeration needs Bernoulli layers with at most {UNITS} units in all; got layers of {sizes}")
    require_support(model, x)
    above = codes(sizes[-1]).to(x)
    log_p = model.prior().log_prob(above)
    for layer, size in zip(list(model.generative)[:0:-1], sizes[-2::-1], strict=True):
        below = codes(size).to(x)
        log_p = torch.logsumexp(cross_log_prob(layer(above), below) + log_p.unsqueeze(-1), dim=0)
        above = below
    return torch.logsumexp(cross_log_prob(model.decode(above), x) + log_p.unsqueeze(-1), dim=0)
