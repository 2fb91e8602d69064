"""The one model class: a Helmholtz machine of M stochastic layers. A VAE is the case M = 1."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vae_core.bounds import Terms
from vae_core.config import ModelConfig
from vae_core.distributions import Density
from vae_core.families import LIKELIHOODS, POSTERIORS, PRIORS
from vae_core.networks import Shape, conv_decoder, conv_encoder, initialise, mlp


class Conditional(nn.Module):
    """A conditional density p(output | input): a trunk gives raw numbers, a family makes them a density."""

    def __init__(self, trunk: nn.Module, family: nn.Module) -> None:
        super().__init__()
        self.trunk, self.family = trunk, family

    def forward(self, inputs: Float[Tensor, "*batch I"]) -> Density:
        return self.family(self.trunk(inputs))


@dataclass(frozen=True)
class Inference:
    """K draws of every layer, h[m] of shape [K, B, H_m], and the densities they were drawn from."""

    h: tuple[Tensor, ...]
    q: tuple[Density, ...]


class HelmholtzMachine(nn.Module):
    """p(x, h_1 … h_M) = p(x|h_1) p(h_1|h_2) … p(h_M) with recognition q(h_1|x) q(h_2|h_1) … (Dayan et al. 1995).

    `recognition[m]` gives q(h_{m+1} | h_m) with h_0 = x; `generative[m]` gives p(h_m | h_{m+1}); `prior` gives p(h_M).
    """

    def __init__(self, recognition: Sequence[Conditional], generative: Sequence[Conditional], prior: nn.Module) -> None:
        super().__init__()
        if len(recognition) != len(generative):
            raise ValueError(
                "recognition and generative must have one network per layer; "
                f"got {len(recognition)} and {len(generative)}"
            )
        self.recognition = nn.ModuleList(recognition)
        self.generative = nn.ModuleList(generative)
        self.prior = prior

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def encode(self, x: Float[Tensor, "B D"]) -> Density:
        """q(h_1 | x)."""
        return self.recognition[0](x)

    def decode(self, h: Float[Tensor, "*batch H"]) -> Density:
        """p(x | h_1)."""
        return self.generative[0](h)

    def infer(self, x: Float[Tensor, "B D"], draws: int, *, generator: torch.Generator) -> Inference:
        """`draws` ancestral samples from q(h_1 … h_M | x)."""
        q = [self.encode(x)]
        h = [q[0].sample(draws, generator=generator)]
        for layer in list(self.recognition)[1:]:
            q.append(layer(h[-1]))
            h.append(q[-1].sample(1, generator=generator).squeeze(0))
        return Inference(tuple(h), tuple(q))

    def log_lik(self, x: Float[Tensor, "B D"], inference: Inference) -> Float[Tensor, "K B"]:
        """log p(x | h_1) at the draws, nats."""
        return self.decode(inference.h[0]).log_prob(x)

    def terms(self, x: Float[Tensor, "B D"], inference: Inference) -> Terms:
        """The three terms at the draws of `inference`, nats."""
        h, q = inference.h, inference.q
        log_prior = self.prior().log_prob(h[-1])
        for m in range(1, len(h)):
            log_prior = log_prior + self.generative[m](h[m]).log_prob(h[m - 1])
        log_q = sum((density.log_prob(draw) for density, draw in zip(q, h, strict=True)), torch.zeros_like(log_prior))
        return Terms(self.log_lik(x, inference), log_prior, log_q)

    def generate(self, n: int, *, generator: torch.Generator) -> Density:
        """p(x | h_1) at n ancestral draws from the prior, batch shape [n]."""
        h = self.prior().sample(n, generator=generator)
        for layer in list(self.generative)[:0:-1]:
            h = layer(h).sample(1, generator=generator).squeeze(0)
        return self.decode(h)


@torch.random.fork_rng(devices=())  # PyTorch's layers draw from the global stream when built; leave it as it was
def vae(config: ModelConfig, shape: Shape, *, generator: torch.Generator) -> HelmholtzMachine:
    """A VAE for images of the given shape, freshly initialised with `generator` (on the CPU)."""
    size = shape[0] * shape[1] * shape[2]
    likelihood = LIKELIHOODS[config.likelihood].build(size)
    posterior = POSTERIORS[config.posterior].build(config.latent)
    prior = PRIORS[config.prior].build(config.latent)
    widths, activation = config.widths, config.activation
    if config.network == "conv":
        encoder = conv_encoder(shape, widths, posterior.inputs, activation)
        decoder = conv_decoder(config.latent, widths, shape, likelihood.inputs, activation)
    else:
        encoder = mlp([size, *widths, posterior.inputs], activation)
        decoder = mlp([config.latent, *reversed(widths), likelihood.inputs], activation)
    model = HelmholtzMachine([Conditional(encoder, posterior)], [Conditional(decoder, likelihood)], prior)
    initialise(model, generator=generator)
    return model
