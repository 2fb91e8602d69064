"""A user's own picture, drawing or row of numbers as an example of a data set, with a note on each conversion."""

import io
import math
import re
import struct
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import ExifTags, Image, ImageOps, ImageStat
from torch import Tensor

from vae_core.framing import Note, framing_for, light_on_dark, require_contrast, resized
from vae_core.networks import Shape

KINDS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
ACCEPTED = "Accepted are PNG, JPEG, WebP, BMP and GIF pictures."
MAX_BYTES = 5_000_000
MAX_SIDE = 4_000
MAX_PIXELS = 16_000_000
ENOUGH = 512
"""Pixels a side that are enough to judge paper and ink."""
SEPARATORS = re.compile(r"\s*[,;]\s*|\s+")
UNREADABLE = (OSError, SyntaxError, ValueError, IndexError, EOFError, struct.error)
"""What Pillow's readers raise on damaged files."""
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)


@dataclass(frozen=True)
class Intake:
    """An example, row by row from the top left, and what was done to the user's picture to make it one."""

    pixels: UInt8[Tensor, "D"]
    notes: tuple[str, ...]


def read_picture(data: bytes, shape: Shape, dataset: str | None = None) -> Intake:
    """The bytes of a picture file as an example of shape [1, H, W], light ink on dark where the data set is so.

    `dataset` names the framing; without it, 28×28 is framed as MNIST is and 8×8 as the digits are. A picture in grey
    levels that has the right size already is left as it is. Raises ValueError with what was wrong and is accepted.
    """
    _require_one_channel(shape)
    notes: list[str] = []
    image = _decoded(data, notes.append)
    grey = _grey(image, notes.append)
    fits, framing = grey.size == (shape[2], shape[1]), framing_for(shape, dataset)
    grey = _manageable(grey, max(ENOUGH, *shape), notes.append)
    require_contrast(grey)
    if fits and image.mode == "L":
        return Intake(_pixels(grey), tuple(notes))
    if framing is not None:
        grey = light_on_dark(grey, notes.append)
    return Intake(_pixels(grey if fits else resized(grey, shape, framing, notes.append)), tuple(notes))


def from_sketch(grey: UInt8[Tensor, "P"], shape: Shape, dataset: str | None = None) -> Intake:
    """A square drawing, light ink on dark, row by row, as an example of shape [1, H, W]; framed as `read_picture`."""
    _require_one_channel(shape)
    side = math.isqrt(len(grey))
    if side * side != len(grey) or not side:
        raise ValueError(f"The drawing has {len(grey)} pixels, but must be a square of them.")
    if not grey.any():
        raise ValueError("The drawing is empty. Draw something first.")
    if (side, side) == shape[1:]:
        return Intake(grey, ())
    notes: list[str] = []
    image = Image.fromarray(grey.reshape(side, side).numpy())
    return Intake(_pixels(resized(image, shape, framing_for(shape, dataset), notes.append)), tuple(notes))


def read_row(text: str, features: int) -> Float[Tensor, "{features}"]:
    """One row of numbers, separated by comma, semicolon, tab or space, with a point before decimals."""
    if len(text) > MAX_BYTES:
        raise ValueError(f"The row has {len(text):,} characters, but at most {MAX_BYTES:,} are accepted.")
    cells = SEPARATORS.split(text.strip("\ufeff \t\r\n"))
    if len(cells) != features:
        raise ValueError(
            f"The row has {len(cells) if cells != [''] else 'no'} numbers, but an example has {features:,}. "
            f"Give {features:,} numbers, separated by comma, semicolon, tab or space."
        )
    row = torch.tensor([_number(cell, place) for place, cell in enumerate(cells, start=1)])
    infinite = (~row.isfinite()).nonzero().flatten().tolist()
    if infinite:
        raise ValueError(f"Number {infinite[0] + 1} is “{cells[infinite[0]][:20]}”, but must be finite.")
    return row


def _number(cell: str, place: int) -> float:
    try:
        return float(cell)
    except ValueError:
        told = f"“{cell[:20]}”, which is no number" if cell else "missing"
        raise ValueError(f"Number {place} is {told}. Write numbers as 1, -0.5 or 2.5e-3.") from None


def _require_one_channel(shape: Shape) -> None:
    if shape[0] != 1 or min(shape[1:]) < 2:
        raise ValueError(
            f"A picture cannot become an example of shape {shape}: that takes one channel and at least 2×2 pixels. "
            f"Give a row of numbers instead."
        )


def _decoded(data: bytes, note: Note) -> Image.Image:
    """The first picture of a file, upright, its size checked before it is decoded."""
    if len(data) > MAX_BYTES:
        raise ValueError(f"The file has {len(data) / 1e6:.1f} MB, but at most {MAX_BYTES // 10**6} MB are accepted.")
    try:
        image = Image.open(io.BytesIO(data), formats=KINDS)
    except BOMBS as error:
        raise ValueError(f"The picture is too large ({error}). {_largest()}") from error
    except UNREADABLE as error:
        raise ValueError(f"This file is not a picture, or a damaged one. {ACCEPTED}") from error
    width, height = image.size
    if not 0 < width <= MAX_SIDE or not 0 < height <= MAX_SIDE or width * height > MAX_PIXELS:
        raise ValueError(f"The picture has {width:,}×{height:,} pixels. {_largest()}")
    try:
        image.load()
        return _upright(image, note)
    except UNREADABLE as error:
        raise ValueError(f"The picture is damaged or incomplete. Save it again and retry. {ACCEPTED}") from error


def _largest() -> str:
    return f"Accepted are 1 to {MAX_SIDE:,} pixels a side, at most {MAX_PIXELS // 10**6} million in all."


def _upright(image: Image.Image, note: Note) -> Image.Image:
    if getattr(image, "is_animated", False):
        note("only the first picture of the animation taken")
    if image.getexif().get(ExifTags.Base.Orientation, 1) not in range(2, 9):
        return image
    note("turned upright, as the camera noted")
    return ImageOps.exif_transpose(image)


def _grey(image: Image.Image, note: Note) -> Image.Image:
    """Mode L: grey levels by the luma of ITU-R BT.601, which Pillow takes."""
    if image.mode.startswith("I"):
        note("16-bit grey levels reduced to 8 bits")
        return Image.fromarray((np.asarray(image).astype(np.float32) / 257).round().astype(np.uint8))
    if image.has_transparency_data:
        image = _opaque(image.convert("RGBA"), note)
    colour = image.convert("RGB")
    grey = colour.convert("L")
    if any(band.tobytes() != grey.tobytes() for band in colour.split()):
        note("colour turned into grey")
    return grey


def _opaque(image: Image.Image, note: Note) -> Image.Image:
    """On white paper if what is opaque is dark, else on black."""
    alpha = image.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return image
    note("transparent parts taken as background")
    seen = ImageStat.Stat(image.convert("L"), mask=alpha).mean[0] if alpha.getbbox() else 0
    paper = Image.new("RGBA", image.size, "white" if seen < 128 else "black")
    return Image.alpha_composite(paper, image)


def _manageable(grey: Image.Image, enough: int, note: Note) -> Image.Image:
    """Of large pictures a smaller one, still far larger than any example, in a fraction of the memory and noise."""
    factor = min(grey.size) // enough
    if factor < 2:
        return grey
    note(f"of {grey.width}×{grey.height} pixels every {factor}×{factor} averaged into one")
    return grey.reduce(factor)


def _pixels(grey: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(grey, dtype=np.uint8).flatten())
