"""Heavy data for the latent plane as one binary message: u32 header length, JSON header, then the blobs it lists.

The header's `blobs` gives name and byte length of each; points are int16 pairs in units of `quantum`. Under the points
lie `side` x `side` decoded examples, "tiles" or the "atlas", on [-reach, reach]².
"""

import json
import struct
from dataclasses import dataclass

import torch
from torch import Tensor

from ui.moments import moment
from ui.planes import Drawn
from ui.resources import Explored
from vae_core.config import Config
from vae_core.datasets import DATASETS
from vae_core.examples import Spec
from vae_core.geometry import lattice, nodes, to_bytes
from vae_core.snapshots import Axes

LATTICE_SIDE = 22
ATLAS_BYTES = 1_900_000
ATLAS_NODES = 32
"""Most nodes of an atlas on each axis; of large examples fewer, so that a plane stays under 3 MB."""
INT16 = 32767
EXACT = "Decoded in the browser, exactly: the mean of p(x|z)."
INTERPOLATED = "Between {0}×{0} decoded nodes, interpolated in the browser. A click decodes exactly."
EMBEDDED = "This view cannot be decoded: there is no way back from it. A click goes to the nearest data point."


def pack(header: dict[str, object], blobs: dict[str, bytes]) -> bytes:
    """The message; the header is padded to four bytes so that blobs can be viewed as numbers."""
    listing = [{"name": name, "length": len(blob)} for name, blob in blobs.items()]
    text = json.dumps({**header, "blobs": listing}).encode()
    text += b" " * (-len(text) % 4)
    return struct.pack("<I", len(text)) + text + b"".join(blobs.values())


@dataclass(frozen=True)
class Placed:
    """What every picture of a plane has: points with labels, and the ellipses of the prior, on named axes."""

    spec: Spec
    drawn: Drawn
    labels: Tensor

    def message(self, blobs: dict[str, Tensor], **header: object) -> bytes:
        """The picture as bytes, with further blobs and entries of the header."""
        spec, points = self.spec, self.drawn.points
        quantum = max(points.abs().max().item(), 1e-3) / INT16
        common = {
            "extent": self.drawn.extent,
            "reach": self.drawn.extent,
            "quantum": quantum,
            "axes": self.drawn.names,
            "classes": spec.classes,
            "tile": spec.shape[1:],
            "kind": spec.kind,
            "features": spec.features,
            "low": spec.low,
            "high": spec.high,
            "prior": self.drawn.prior,
        }
        # blobs of 16-bit numbers first: a view of them needs even offsets
        tensors = {"points": (points / quantum).round().to(torch.int16), "labels": self.labels, **blobs}
        return pack(common | header, {name: _raw(tensor) for name, tensor in tensors.items()})


def _raw(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().numpy().tobytes()


def snapshot_message(config: Config, tensors: dict[str, Tensor], axes: Axes | None = None) -> bytes:
    """The plane of a run at one moment, with originals and reconstructions. Raises as `ui.moments.moment`."""
    seen = moment(tensors, axes)
    blobs = {name: shown(tensors[name]) for name in ("originals", "reconstructions")}
    if len(seen.tiles):
        blobs["tiles"] = seen.tiles
    side = round(len(seen.tiles) ** 0.5)
    return Placed(DATASETS[config.dataset], seen.drawn, seen.labels).message(blobs, side=side)


def shown(examples: Tensor) -> Tensor:
    """Examples as bytes: images are so already, profiles lie in [0, 1]."""
    return examples if examples.dtype == torch.uint8 else to_bytes(examples)


def plane_message(thing: Explored, drawn: Drawn) -> bytes:
    """A plane of a trained model: what is decoded on it, and an atlas where the decoder itself cannot travel."""
    placed, plane = Placed(thing.spec, drawn, thing.data.y), drawn.plane
    if plane is None:
        return placed.message({}, note=EMBEDDED)
    header = {"origin": plane.origin.tolist(), "basis": plane.basis.tolist()}
    if thing.portable is not None:
        tiles = to_bytes(thing.decode(plane.latents(lattice(LATTICE_SIDE, drawn.extent))))
        return placed.message({"tiles": tiles}, **header, side=LATTICE_SIDE, note=EXACT)
    count = atlas_nodes(thing.data.x.shape[1])
    atlas = to_bytes(thing.decode(plane.latents(nodes(count, drawn.extent))))
    reach = drawn.extent * count / (count - 1)  # with a tile around each node, the outer ones half outside
    return placed.message({"atlas": atlas}, **header, side=count, reach=reach, note=INTERPOLATED.format(count))


def atlas_nodes(size: int) -> int:
    """How many nodes on each axis an atlas of examples of `size` values has."""
    return min(ATLAS_NODES, int((ATLAS_BYTES / size) ** 0.5))


def decoder_message(thing: Explored) -> bytes | None:
    """The decoder's weights and biases, layer by layer; in half precision where that is exact."""
    decoder = thing.portable
    if decoder is None:
        return None
    kind = torch.float16 if decoder.halves else torch.float32
    flat = [t.flatten() for pair in zip(decoder.weights, decoder.biases, strict=True) for t in pair]
    header = {
        "layers": [list(weight.shape[::-1]) for weight in decoder.weights],
        "activation": decoder.activation,
        "link": decoder.link,
        "half": decoder.halves,
    }
    return pack(header, {"numbers": _raw(torch.cat(flat).to(kind))})
