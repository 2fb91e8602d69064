"""How much a decoder stretches a plane through latent space."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import vjp

from vae_core.planes import Plane

CHUNK = 512
"""Points decoded at a time."""


def _columns(
    f: Callable[[Tensor], Tensor], points: Float[Tensor, "N 2"]
) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N D"]]:
    """Both columns of the Jacobian of `f` at each point, by pulling the linear map w ↦ Jᵀw back in turn.

    Forward mode does the same arithmetic, but its first use in a process takes PyTorch more than a second.
    """
    x, pull = vjp(f, points)[:2]
    push = vjp(lambda w: pull(w)[0], torch.zeros_like(x))[1]
    first, second = torch.eye(2).to(points).unsqueeze(1).expand(-1, len(points), -1)
    return push(first)[0], push(second)[0]


def _log_stretch(first: Float[Tensor, "N D"], second: Float[Tensor, "N D"], line: bool) -> Float[Tensor, "N"]:
    """Log of the length of `first`, and on a plane plus that of the part of `second` at right angles to it."""
    length = first.norm(dim=-1)
    if line:
        return length.log()
    direction = torch.nn.functional.normalize(first, dim=-1)
    height = (second - torch.linalg.vecdot(second, direction).unsqueeze(-1) * direction).norm(dim=-1)
    return length.log() + height.log()


def log_magnification(
    decode: Callable[[Tensor], Tensor], plane: Plane, points: Float[Tensor, "N 2"]
) -> Float[Tensor, "N"]:
    """log √det(JᵀJ) with J [D, 2] the Jacobian of (u, v) ↦ decode(plane.latents((u, v))): the log of the area of the
    decoded piece of a unit square (Bishop, Svensén & Williams 1997), on a line the log of its length. -∞ where it is 0.

    `decode` takes latent vectors [N, H], each for itself, to means [N, D].
    """
    line = not plane.basis[1].any().item()
    pieces = [_columns(lambda uv: decode(plane.latents(uv)), piece) for piece in points.split(CHUNK)]
    return torch.cat([_log_stretch(first, second, line) for first, second in pieces])
