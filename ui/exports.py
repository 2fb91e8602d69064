"""Pictures, animations and tables to keep: pure functions from arrays to the bytes or text of a file.

Grey levels are kept as they are: light on black, whatever theme the page shows.
"""

import csv
import io
from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor, nn

from vae_core.geometry import mosaic

MAX_PIXELS = 32_000_000
MAX_FRAMES = 600
MAX_CELLS = 2_000_000
SHORTEST, LONGEST = 20, 10_000
"""Milliseconds a frame: browsers take a shorter time for a tenth of a second."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a text begins that a spreadsheet would run."""

Cell = str | int | float


def png(picture: UInt8[Tensor, "H W"] | UInt8[Tensor, "H W 3"]) -> bytes:
    """One picture, in grey levels or in colour."""
    if picture.ndim not in (2, 3) or (picture.ndim == 3 and picture.shape[2] != 3):
        raise ValueError(f"The picture has the shape {tuple(picture.shape)}, but must have [H, W] or [H, W, 3].")
    _require_pixels(picture.shape[0] * picture.shape[1])
    file = io.BytesIO()
    Image.fromarray(picture.numpy()).save(file, "PNG")
    return file.getvalue()


def filmstrip(frames: UInt8[Tensor, "S H W"], gap: int = 2) -> bytes:
    """Frames side by side as a PNG, with `gap` black pixels between them."""
    if gap < 0:
        raise ValueError(f"The gap is {gap} pixels, but must be 0 or more.")
    count, height, width = frames.shape
    _require_pixels(count * height * (width + gap))
    spaced = nn.functional.pad(frames, (0, gap))
    return png(_grid(spaced, count)[:, : count * (width + gap) - gap])


def lattice_png(tiles: UInt8[Tensor, "N H W"], columns: int) -> bytes:
    """Tiles row by row without gaps as a PNG; the last row is filled up with black."""
    if columns < 1:
        raise ValueError(f"Columns is {columns}, but must be 1 or more.")
    _require_pixels((len(tiles) + columns) * tiles[:1].numel())
    return png(_grid(nn.functional.pad(tiles, (0, 0, 0, 0, 0, -len(tiles) % columns)), columns))


def gif(frames: UInt8[Tensor, "S H W"], milliseconds: int, scale: int = 1, back: bool = False) -> bytes:
    """A looping animation; each pixel becomes `scale` × `scale`, and `back` plays it there and back.

    A GIF counts in hundredths of a second. Equal frames that follow each other are stored as one that lasts longer.
    """
    if milliseconds not in range(SHORTEST, LONGEST + 1, 10):
        raise ValueError(f"A frame lasts {milliseconds} ms, but must last {SHORTEST}, 30, … {LONGEST:,} ms.")
    if scale < 1:
        raise ValueError(f"The scale is {scale}, but must be a whole number of 1 or more.")
    shown = torch.cat([frames, frames[1:-1].flip(0)]) if back else frames
    if len(shown) > MAX_FRAMES:
        raise ValueError(f"The animation has {len(shown):,} frames, but at most {MAX_FRAMES} are accepted.")
    _require_pixels(shown.numel() * scale**2)
    large = shown.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)
    return animation([Image.fromarray(frame) for frame in large.numpy()], milliseconds)


def animation(pictures: Sequence[Image.Image], milliseconds: int) -> bytes:
    """A looping GIF of pictures that are ready, of `milliseconds` each."""
    first, *others = pictures
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=others, duration=milliseconds, loop=0)
    return file.getvalue()


def csv_table(names: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table with a head row, lines ended as RFC 4180 has them.

    A text that a spreadsheet would take for a formula gets an apostrophe before it, unless it is a number.
    """
    if (len(rows) + 1) * len(names) > MAX_CELLS:
        raise ValueError(f"The table has {len(rows):,} rows of {len(names)}; at most {MAX_CELLS:,} cells are accepted.")
    uneven = next((number for number, row in enumerate(rows, start=1) if len(row) != len(names)), None)
    if uneven is not None:
        raise ValueError(f"Row {uneven} has {len(rows[uneven - 1])} cells, but there are {len(names)} names.")
    file = io.StringIO()
    csv.writer(file).writerows([_guarded(cell) for cell in row] for row in (names, *rows))
    return file.getvalue()


def _guarded(cell: Cell) -> Cell:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) and not _is_number(cell) else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _grid(tiles: UInt8[Tensor, "N H W"], columns: int) -> UInt8[Tensor, "height width"]:
    return mosaic(tiles[:, None].float(), columns)[..., 0].byte()


def _require_pixels(pixels: int) -> None:
    if not 0 < pixels <= MAX_PIXELS:
        raise ValueError(f"The picture has {pixels:,} pixels in all, but must have 1 to {MAX_PIXELS:,}.")
