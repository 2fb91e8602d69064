"""The one model class: a Helmholtz machine of M stochastic layers. A VAE is the case M = 1."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from vae_core.bounds import Terms
from vae_core.config import ModelConfig
from vae_core.distributions import Bernoulli, Density
from vae_core.families import DiagonalGaussianFamily, Family, FromLogits
from vae_core.likelihoods import LIKELIHOODS
from vae_core.networks import Shape, conv_decoder, conv_encoder, initialise, mlp
from vae_core.posteriors import POSTERIORS
from vae_core.priors import PRIORS

Layers = tuple[Tensor, ...]
"""One tensor [K, B, H_m] a stochastic layer, from the data inwards."""


class Conditional(nn.Module):
    """A conditional density p(output | input): a trunk gives raw numbers, a family makes them a density."""

    trunk: nn.Module
    family: Family

    def __init__(self, trunk: nn.Module, family: Family) -> None:
        super().__init__()
        self.trunk, self.family = trunk, family

    def forward(self, inputs: Float[Tensor, "*batch I"]) -> Density:
        return self.family(self.trunk(inputs))


def freeze(module: nn.Module) -> Callable[[Tensor], Density]:
    """The module as a function whose parameters get no gradient, while its input does."""
    parameters = {name: parameter.detach() for name, parameter in module.named_parameters()}
    return lambda inputs: functional_call(module, parameters, (inputs,))


@dataclass(frozen=True)
class Inference:
    """K draws of every layer, h[m] of shape [K, B, H_m], and the densities they were drawn from."""

    h: Layers
    q: tuple[Density, ...]


def total_log_prob(densities: Sequence[Density], h: Layers) -> Float[Tensor, "K B"]:
    """Sum over the layers of the log-density of each layer's draw, nats."""
    return torch.stack([density.log_prob(draw) for density, draw in zip(densities, h, strict=True)]).sum(0)


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
    def encoder(self) -> Conditional:
        """The network of q(h_1 | x)."""
        return cast(Conditional, self.recognition[0])

    @property
    def decoder(self) -> Conditional:
        """The network of p(x | h_1)."""
        return cast(Conditional, self.generative[0])

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def encode(self, x: Float[Tensor, "B D"]) -> Density:
        """q(h_1 | x)."""
        return self.encoder(x)

    def decode(self, h: Float[Tensor, "*batch H"]) -> Density:
        """p(x | h_1)."""
        return self.decoder(h)

    def infer(
        self, x: Float[Tensor, "B D"], draws: int, *, generator: torch.Generator, through: bool = True
    ) -> Inference:
        """`draws` ancestral samples from q(h_1 … h_M | x); gradients pass `through` them where they can, or not."""
        q: list[Density] = []
        h: list[Tensor] = []
        for layer in self.recognition:
            q.append(layer(h[-1] if h else x))
            draw = q[-1].sample(1, generator=generator).squeeze(0) if h else q[-1].sample(draws, generator=generator)
            h.append(draw if through else draw.detach())
        return Inference(tuple(h), tuple(q))

    def recognise(self, x: Float[Tensor, "B D"], h: Layers, *, frozen: bool = False) -> tuple[Density, ...]:
        """q(h_1|x), q(h_2|h_1) … at given values of the layers; `frozen` networks get no gradient."""
        see = freeze if frozen else _as_is
        return tuple(see(layer)(below) for layer, below in zip(self.recognition, (x, *h), strict=False))

    def log_lik(self, x: Float[Tensor, "B D"], h: Layers) -> Float[Tensor, "K B"]:
        """log p(x | h_1), nats."""
        return self.decode(h[0]).log_prob(x)

    def log_prior(self, h: Layers) -> Float[Tensor, "K B"]:
        """log p(h_1 … h_M), nats."""
        inner = [layer(above) for layer, above in zip(list(self.generative)[1:], h[1:], strict=True)]
        return total_log_prob([*inner, self.prior()], h)

    def terms(self, x: Float[Tensor, "B D"], inference: Inference) -> Terms:
        """The three terms at the draws of `inference`, nats."""
        h = inference.h
        return Terms(self.log_lik(x, h), self.log_prior(h), total_log_prob(inference.q, h))

    @torch.no_grad()
    def dream(self, n: int, *, generator: torch.Generator) -> tuple[Float[Tensor, "n D"], Layers]:
        """Ancestral draws of x and of every layer [n, H_m] from the model itself."""
        h = [self.prior().sample(n, generator=generator)]
        for layer in list(self.generative)[:0:-1]:
            h.insert(0, layer(h[0]).sample(1, generator=generator).squeeze(0))
        return self.decode(h[0]).sample(1, generator=generator).squeeze(0), tuple(h)

    @torch.no_grad()
    def centre(self) -> Float[Tensor, "H"]:
        """The h_1 that the mean of the prior leads to, layer by layer: where planes through latent space cross. It is
        the caller's own."""
        h = self.prior().mean.clone()
        for layer in list(self.generative)[:0:-1]:
            h = layer(h).mean
        return h


def _as_is(module: nn.Module) -> Callable[[Tensor], Density]:
    return module


def _between(config: ModelConfig, sizes: Sequence[int]) -> tuple[list[Conditional], list[Conditional]]:
    """Recognition q(h_{m+1}|h_m) and generative p(h_m|h_{m+1}) of the inner layers."""
    up, down = [], []
    for lower, upper in pairwise(sizes):
        posterior = POSTERIORS[config.posterior].build(upper)
        binary = config.posterior == "bernoulli"
        family: Family = FromLogits(lower, Bernoulli) if binary else DiagonalGaussianFamily(lower)
        widths = config.inner_widths
        up.append(Conditional(mlp([lower, *widths, posterior.inputs], config.activation), posterior))
        down.append(Conditional(mlp([upper, *reversed(widths), family.inputs], config.activation), family))
    return up, down


@torch.random.fork_rng(devices=())  # PyTorch's layers draw from the global stream when built; leave it as it was
def machine(config: ModelConfig, shape: Shape, *, generator: torch.Generator) -> HelmholtzMachine:
    """The machine of a recipe for images of the given shape, freshly initialised with `generator` (on the CPU)."""
    pixels = shape[0] * shape[1] * shape[2]
    sizes = config.layers
    likelihood = LIKELIHOODS[config.likelihood].build(pixels, config)
    posterior = POSTERIORS[config.posterior].build(sizes[0])
    widths, activation = config.widths, config.activation
    if config.network == "conv":
        encoder = conv_encoder(shape, widths, posterior.inputs, activation)
        decoder = conv_decoder(sizes[0], widths, shape, likelihood.inputs, activation)
    else:
        encoder = mlp([pixels, *widths, posterior.inputs], activation)
        decoder = mlp([sizes[0], *reversed(widths), likelihood.inputs], activation)
    up, down = _between(config, sizes)
    recognition = [Conditional(encoder, posterior), *up]
    prior = PRIORS[config.prior].build(config, pixels, recognition[0])
    model = HelmholtzMachine(recognition, [Conditional(decoder, likelihood), *down], prior)
    initialise(model, generator=generator)
    return model
