"""Models small enough to be known exactly, in float64."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributions as td

from vae_core.config import ModelConfig
from vae_core.distributions import Bernoulli
from vae_core.families import DiagonalGaussianFamily, FromLogits
from vae_core.likelihoods import SharedScaleGaussianFamily
from vae_core.model import Conditional, HelmholtzMachine, machine
from vae_core.networks import Shape, initialise, mlp
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


def small_machine(*, gain: float = 2.0, shape: Shape = (1, 3, 2), **settings: Any) -> HelmholtzMachine:
    """The machine of a recipe with these settings, with weights large enough that examples differ."""
    config = ModelConfig(**{"widths": (4,), "activation": "tanh", "components": 3, **settings})
    model = machine(config, shape, generator=seeded(3)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(gain)
    return model


class Square(nn.Module):
    """z and -z give the same image: posteriors with a mode for every choice of signs."""

    def forward(self, z: Tensor) -> Tensor:
        return z.square()


GIVEN = {"prior_mean": (0.7, -0.4), "prior_covariance": (1.5, 0.6, 0.6, 0.8)}


def linear_machine(
    latent: int, *, prior: str = "standard_normal", posterior: str = "full_gaussian", noise: float = 0.5
) -> HelmholtzMachine:
    """x = W z + b + noise in four dimensions with a Gaussian prior, and an encoder that knows the posterior."""
    given = {"prior_mean": GIVEN["prior_mean"][:latent], "prior_covariance": (1.5,)} if latent == 1 else GIVEN
    model = small_machine(
        shape=(1, 2, 2), gain=1.0, widths=(), latent=latent, likelihood="gaussian", prior=prior, posterior=posterior,
        **(given if prior == "gaussian" else {}),
    )  # fmt: skip
    generator = seeded(11)
    with torch.no_grad():
        for parameter in [*model.generative.parameters(), *model.prior.parameters()]:
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        model.generative[0].family.raw_scale.fill_(raw_scale(noise))
        know_the_posterior(model)
    return model


def conditioned(model: HelmholtzMachine, x: Tensor) -> tuple[td.MultivariateNormal, td.MultivariateNormal]:
    """p(x) and p(z|x) of a linear Gaussian machine, by conditioning the joint Gaussian density of z and x."""
    prior, linear, noise = model.prior(), model.generative[0].trunk[0], model.generative[0].family.raw_scale
    tril = prior.scale_tril if hasattr(prior, "scale_tril") else torch.diag_embed(prior.scale)
    own = tril @ tril.mT
    both = own @ linear.weight.mT
    scale = (7 * (noise / 7).tanh()).exp()
    covariance = linear.weight @ both + scale.square() * torch.eye(len(linear.weight), dtype=x.dtype)
    towards = torch.linalg.solve(covariance, both.mT).mT
    mean = linear(prior.mean)
    return (
        td.MultivariateNormal(mean, covariance),
        td.MultivariateNormal(prior.mean + (x - mean) @ towards.mT, own - towards @ both.mT),
    )


def know_the_posterior(model: HelmholtzMachine) -> None:
    """Writes a linear machine's posterior into its encoder: the exact one, or the diagonal one of smallest KL(q || p),
    with variances of one over the diagonal of the precision (Bishop 2006, section 10.1.2)."""
    encoder, pixels = model.recognition[0].trunk[0], model.generative[0].trunk[0].out_features
    latent = model.prior().mean.shape[-1]
    probe = torch.cat([torch.zeros(1, pixels), torch.eye(pixels)]).double()
    with torch.no_grad():
        posterior = conditioned(model, probe)[1]
        bias = posterior.mean[0]
        full = model.recognition[0].family.inputs > 2 * latent or latent == 1
        tril = posterior.scale_tril[0]
        scales = tril.diagonal() if full else posterior.precision_matrix[0].diagonal().rsqrt()
        below = tril[tuple(torch.tril_indices(latent, latent, -1))] if full else torch.zeros(0).double()
        encoder.weight.zero_()
        encoder.weight[:latent] = (posterior.mean[1:] - bias).mT
        encoder.bias.copy_(torch.cat([bias, 7 * torch.atanh(scales.log() / 7), below]))


def mislead(model: HelmholtzMachine, mean: float, scale: float) -> None:
    """Makes the encoder give the same Gaussian for every example."""
    encoder, latent = model.recognition[0].trunk[-1], model.prior().mean.shape[-1]
    with torch.no_grad():
        encoder.weight.zero_()
        encoder.bias.zero_()
        encoder.bias[:latent] = mean
        encoder.bias[latent : 2 * latent] = raw_scale(scale)
