"""Trunks: plain networks from a flat vector to a flat vector. What the output means is the family's business."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import fold

Shape = tuple[int, int, int]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "silu": nn.SiLU,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
}


def mlp(sizes: Sequence[int], activation: str) -> nn.Sequential:
    """Fully connected layers of the given sizes, input and output included; the last is linear."""
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


class Reshape(nn.Module):
    """Gives the last axes a new shape, whatever stands before them."""

    def __init__(self, before: int, after: Sequence[int]) -> None:
        super().__init__()
        self.before, self.after = before, tuple(after)

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[: x.dim() - self.before], *self.after)


class OnImages(nn.Module):
    """Runs a network that wants one batch axis on [..., D] inputs of any number of leading axes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch P"]:
        return self.network(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], -1)


class Upsampling(nn.ConvTranspose2d):
    """A transposed convolution that makes an image `stride` (1 or 2) times as high and wide. On CPUs a single channel
    is a product and a sum of overlapping patches: oneDNN's own takes two to five times as long, twice with gradients.
    """

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__(before, after, 3 if stride == 1 else 4, stride, padding=1)

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B O H W"]:  # type: ignore[override]
        if self.out_channels > 1 or not x.is_cpu:
            return super().forward(x)
        height, width = x.shape[2] * self.stride[0], x.shape[3] * self.stride[1]
        patches = self.weight.flatten(1).mT @ x.flatten(2)
        assert self.bias is not None
        return fold(patches, (height, width), self.kernel_size, 1, 1, self.stride) + self.bias[:, None, None]


def _strides(shape: Shape, stages: int) -> list[int]:
    """2 while both sides are even, then 1."""
    _, height, width = shape
    strides = []
    for _ in range(stages):
        stride = 2 if height % 2 == 0 and width % 2 == 0 else 1
        height, width = height // stride, width // stride
        strides.append(stride)
    return strides


def conv_encoder(shape: Shape, widths: Sequence[int], outputs: int, activation: str) -> nn.Module:
    """Convolutions of the given channel widths, halving the image while it is even, then one linear layer."""
    channels, height, width = shape
    layers: list[nn.Module] = [Reshape(1, shape)]
    for out, stride in zip(widths, _strides(shape, len(widths)), strict=True):
        layers += [nn.Conv2d(channels, out, 3 if stride == 1 else 4, stride, 1), ACTIVATIONS[activation]()]
        channels, height, width = out, height // stride, width // stride
    layers += [nn.Flatten(), nn.Linear(channels * height * width, outputs)]
    return OnImages(nn.Sequential(*layers))


def conv_decoder(inputs: int, widths: Sequence[int], shape: Shape, outputs: int, activation: str) -> nn.Module:
    """The mirror of `conv_encoder`: a linear layer, then transposed convolutions up to `outputs` = P x C x H x W."""
    strides = _strides(shape, len(widths))
    shrink = 2 ** strides.count(2)
    height, width = shape[1] // shrink, shape[2] // shrink
    channels = [*reversed(widths), outputs // (shape[1] * shape[2])]
    layers: list[nn.Module] = [
        nn.Linear(inputs, channels[0] * height * width),
        ACTIVATIONS[activation](),
        Reshape(1, (channels[0], height, width)),
    ]
    for (before, after), stride in zip(pairwise(channels), reversed(strides), strict=True):
        layers += [Upsampling(before, after, stride), ACTIVATIONS[activation]()]
    return OnImages(nn.Sequential(*layers[:-1], nn.Flatten()))


def initialise(network: nn.Module, *, generator: torch.Generator) -> None:
    """Draws every weight and bias anew from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), PyTorch's own default, with a passed
    generator."""
    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            limit = (module.weight[0].numel()) ** -0.5
            for parameter in module.parameters(recurse=False):
                nn.init.uniform_(parameter, -limit, limit, generator=generator)
