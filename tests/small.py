"""Models small enough to be known exactly, in float64."""

import math

import torch
from torch import Tensor, nn

from vae_core.config import ModelConfig
from vae_core.distributions import Bernoulli
from vae_core.families import DiagonalGaussianFamily, FromLogits
from vae_core.likelihoods import SharedScaleGaussianFamily
from vae_core.model import Conditional, HelmholtzMachine, machine
from vae_core.networks import initialise, mlp
from vae_core.priors import StandardNormalPrior

SIZE = 6
"""Pixels of the small models: images of 3 rows and 2 columns."""


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_vae(latent: int = 2) -> HelmholtzMachine:
    """A Bernoulli VAE with weights large enough that its posteriors differ between examples and from the prior."""
    model = machine(ModelConfig(widths=(4,), activation="tanh", latent=latent), (1, 3, 2), generator=seeded(3)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    return model


def small_images(count: int = 3) -> Tensor:
    return (torch.rand(count, SIZE, generator=seeded(4), dtype=torch.float64) < 0.5).double()


class UniformBernoulliPrior(nn.Module):
    """Independent fair coins."""

    logits: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("logits", torch.zeros(size))

    def forward(self) -> Bernoulli:
        return Bernoulli(self.logits)


def layer(inputs: int, family: nn.Module) -> Conditional:
    return Conditional(mlp([inputs, family.inputs], "tanh"), family)


def belief_net() -> HelmholtzMachine:
    """Two layers of binary units, three and two, over the small images: a sigmoid belief net (Dayan et al. 1995)."""
    recognition = [layer(SIZE, FromLogits(3, Bernoulli)), layer(3, FromLogits(2, Bernoulli))]
    generative = [layer(3, FromLogits(SIZE, Bernoulli)), layer(2, FromLogits(3, Bernoulli))]
    model = HelmholtzMachine(recognition, generative, UniformBernoulliPrior(2))
    initialise(model, generator=seeded(5))
    return model.double()


def gaussian_machine() -> HelmholtzMachine:
    """Two linear Gaussian layers, of three and two values, over four pixels."""
    recognition = [layer(4, DiagonalGaussianFamily(3)), layer(3, DiagonalGaussianFamily(2))]
    generative = [layer(3, SharedScaleGaussianFamily(4)), layer(2, SharedScaleGaussianFamily(3))]
    model = HelmholtzMachine(recognition, generative, StandardNormalPrior(2))
    initialise(model, generator=seeded(6))
    return model.double()


def linear_vae(size: int, latent: int) -> HelmholtzMachine:
    """Linear encoder and decoder, Gaussian noise of one learned size: probabilistic PCA."""
    model = HelmholtzMachine(
        [layer(size, DiagonalGaussianFamily(latent))],
        [layer(latent, SharedScaleGaussianFamily(size))],
        StandardNormalPrior(latent),
    )
    initialise(model, generator=seeded(7))
    return model.double()


def raw_scale(scale: float) -> float:
    """The raw number for which the families give that standard deviation."""
    return 7 * math.atanh(math.log(scale) / 7)
