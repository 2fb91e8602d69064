"""Examples as grey tiles, as `st.image` shows them and `ui.exports` saves them."""

import math

import torch
from jaxtyping import Float, Real, UInt8
from torch import Tensor

from ui.resources import Explored
from vae_core.geometry import pictures, to_bytes
from vae_core.networks import Shape


def tiles(examples: Real[Tensor, "N D"], shape: Shape, least: int = 1) -> UInt8[Tensor, "N H W"]:
    """Grey levels, or values in [0, 1], as pictures; every pixel is repeated until they are `least` pixels wide."""
    shares = examples / 255 if examples.dtype == torch.uint8 else examples
    grey = to_bytes(pictures(shares, shape))[:, 0]
    factor = math.ceil(least / grey.shape[2])
    return grey.repeat_interleave(factor, 1).repeat_interleave(factor, 2)


def decoded_tiles(thing: Explored, z: Float[Tensor, "N H"], least: int = 1) -> UInt8[Tensor, "N H W"]:
    """What latent vectors decode to: the means of p(x|z)."""
    return tiles(thing.decode(z), thing.spec.shape, least)
