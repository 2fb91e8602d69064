"""Heavy data for the latent plane as one binary message: u32 header length, JSON header, then the blobs it lists.

The header's `blobs` gives name and byte length of each; points are int16 pairs in units of `quantum`.
"""

import json
import struct
from dataclasses import dataclass

import torch
from torch import Tensor

from ui.resources import Explored
from vae_core.config import Config
from vae_core.datasets import DATASETS
from vae_core.geometry import lattice, on_axes, to_bytes
from vae_core.moments import plane_extent, prior_ellipses

SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
LATTICE_SIDE = 22
INT16 = 32767


def pack(header: dict[str, object], blobs: dict[str, bytes]) -> bytes:
    """The message; the header is padded to four bytes so that blobs can be viewed as numbers."""
    listing = [{"name": name, "length": len(blob)} for name, blob in blobs.items()]
    text = json.dumps({**header, "blobs": listing}).encode()
    text += b" " * (-len(text) % 4)
    return struct.pack("<I", len(text)) + text + b"".join(blobs.values())


@dataclass(frozen=True)
class PlaneView:
    """What one drawing of a plane shows: points [N, 2] with labels, and square lattice tiles decoded on its axes."""

    config: Config
    axes: tuple[int, int]
    extent: float
    points: Tensor
    labels: Tensor
    tiles: Tensor
    prior: list[list[float]]

    def message(self, **more: Tensor) -> bytes:
        """The view as bytes, with further uint8 images as blobs of their own."""
        spec = DATASETS[self.config.dataset]
        quantum = max(self.points.abs().max().item(), 1e-3) / INT16
        header = {
            "extent": self.extent,
            "quantum": quantum,
            "axes": axis_names(self.axes),
            "classes": spec.classes,
            "tile": spec.shape[1:],
            "side": round(len(self.tiles) ** 0.5),
            "prior": self.prior,
        }
        points = (self.points / quantum).round().to(torch.int16)
        blobs = {"points": points, "labels": self.labels, "tiles": self.tiles, **more}
        return pack(header, {name: tensor.contiguous().numpy().tobytes() for name, tensor in blobs.items()})


def axis_names(axes: tuple[int, int]) -> list[str]:
    """z₁, z₂ … as on screen, counted from one; a one-dimensional space has no second axis."""
    first, second = (f"z{index + 1}".translate(SUBSCRIPTS) for index in axes)
    return [first, "" if axes[0] == axes[1] else second]


def on_plane(latents: Tensor, axes: tuple[int, int]) -> Tensor:
    """Coordinates [N, 2] on two axes; points of a one-dimensional space are spread upwards so that each can be seen."""
    points = latents[:, list(axes)].float()
    if axes[0] == axes[1]:
        points[:, 1] = torch.linspace(-1, 1, len(points)).roll(len(points) // 3)
    return points


def snapshot_message(config: Config, tensors: dict[str, Tensor]) -> bytes:
    """The plane of a run at one moment, with originals and reconstructions."""
    first, second = tensors["axes"].tolist()
    view = PlaneView(
        config,
        (first, second),
        tensors["extent"].item(),
        on_plane(tensors["means"], (first, second)),
        tensors["labels"],
        tensors["lattice"],
        tensors["prior"].tolist(),
    )
    return view.message(originals=tensors["originals"], reconstructions=tensors["reconstructions"])


def model_message(explored: Explored, axes: tuple[int, int]) -> bytes:
    """The plane of a trained model on two axes, all other coordinates at the centre."""
    points = on_plane(explored.means, axes)
    extent, base = plane_extent(explored.model, points), explored.model.centre()
    with torch.no_grad():
        tiles = explored.model.decode(on_axes(lattice(LATTICE_SIDE, extent), axes, base)).mean
    prior = [list(ellipse) for ellipse in prior_ellipses(explored.model, axes)]
    return PlaneView(explored.config, axes, extent, points, explored.sample.y, to_bytes(tiles), prior).message()
