"""Decoders that are small enough to travel: plain layers that another program, such as a browser, can run exactly."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vae_core.config import ModelConfig
from vae_core.model import HelmholtzMachine

WEIGHT_LIMIT = 2_000_000
LINKS = {
    "bernoulli": "sigmoid",
    "continuous_bernoulli": "continuous_bernoulli",
    "gaussian": "identity",
    "gaussian_fixed": "identity",
    "gaussian_per_pixel": "identity",
    "gaussian_low_rank": "identity",
    "laplace": "identity",
    "student_t": "identity",
}
"""Likelihoods whose mean is a simple function of the first D raw outputs, and that function's name."""


@dataclass(frozen=True)
class PortableDecoder:
    """z -> E[x|z] as affine layers [out, in] + [out] with one activation between them and a link at the end."""

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    activation: str
    link: str

    @property
    def halves(self) -> bool:
        """Whether half precision holds every number exactly, as in weights that were stored so."""
        return all(torch.equal(t.half().to(t.dtype), t) for t in (*self.weights, *self.biases))


@torch.no_grad()
def portable(model: HelmholtzMachine, config: ModelConfig, size: int) -> PortableDecoder | None:
    """The decoder to `size` values, where it is an MLP of at most two million numbers with a simple link; else None."""
    trunk = model.decoder.trunk
    if not isinstance(trunk, nn.Sequential) or config.likelihood not in LINKS or config.network != "mlp":
        return None
    layers = [layer for layer in trunk if isinstance(layer, nn.Linear)]
    weights = [layer.weight.float().cpu() for layer in layers]
    biases = [layer.bias.float().cpu() for layer in layers]
    weights[-1], biases[-1] = weights[-1][:size], biases[-1][:size]
    if sum(t.numel() for t in (*weights, *biases)) > WEIGHT_LIMIT:
        return None
    return PortableDecoder(tuple(weights), tuple(biases), config.activation, LINKS[config.likelihood])
