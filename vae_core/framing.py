"""Grey pictures as a data set has them: light ink on black, reduced to its size, placed as its subjects are.

MNIST's framing is the one its authors describe (size-normalised into 20×20, centred by mass); where exactly the
centre lies, and the framing of the other sets, are as measured over their training images.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageOps

from vae_core.networks import Shape

LEAST_CONTRAST = 16
FAINT = 8
"""Grey levels up to which ink does not count where a picture is cut: what a JPEG of high quality
leaves around a stroke is fainter."""
CORNER = 16
"""The corners that are taken for paper measure a sixteenth of the picture's sides."""
NOISE = 8
"""Median deviations (5.4 standard deviations, if normal) from the paper's grey within which all is paper."""

Note = Callable[[str], None]


@dataclass(frozen=True)
class Framing:
    """How a data set places its subjects: the longer side of the ink takes the share `fill` of the picture's side."""

    label: str
    fill: float
    by_mass: bool


FRAMINGS = {
    "digits": Framing("8×8 digits", 1.0, by_mass=False),
    "mnist": Framing("MNIST images", 20 / 28, by_mass=True),
    "fashion": Framing("Fashion-MNIST images", 1.0, by_mass=False),
}
"""By the names of `vae_core.datasets`; a data set that is not here takes pictures whole."""

USUAL = {(1, 28, 28): "mnist", (1, 8, 8): "digits"}


def framing_for(shape: Shape, dataset: str | None) -> Framing | None:
    """The framing of a data set; without its name, 28×28 is framed as MNIST is and 8×8 as the digits are."""
    return FRAMINGS.get(USUAL.get(shape, "") if dataset is None else dataset)


def require_contrast(grey: Image.Image) -> None:
    levels = np.asarray(grey)
    low, high = int(levels.min()), int(levels.max())
    if high - low < LEAST_CONTRAST:
        raise ValueError(
            f"The picture is blank: its grey levels lie within {low}…{high} of 0…255. Give one that shows something."
        )


def light_on_dark(grey: Image.Image, note: Note) -> Image.Image:
    """Paper black and the strongest ink white; ink is what differs from the paper by more than the paper's noise."""
    levels = np.asarray(grey, dtype=np.float32)
    paper = _paper(levels)
    above = levels - paper
    sign = -1 if -above.min() > above.max() else 1
    strength = sign * above
    strength[strength <= _noise(above)] = 0
    made = (255 * strength / strength.max()).round().astype(np.uint8)
    if sign < 0:
        note("inverted: dark ink on light paper became light on dark")
    if np.abs(made - (levels if sign > 0 else 255 - levels)).max() > LEAST_CONTRAST:
        note("contrast stretched: the paper became black, the strongest ink white")
    return Image.fromarray(made)


def _corners(levels: Float[np.ndarray, "H W"]) -> list[Float[np.ndarray, "h w"]]:
    h, w = (max(1, side // CORNER) for side in levels.shape)
    return [levels[:h, :w], levels[:h, -w:], levels[-h:, :w], levels[-h:, -w:]]


def _paper(levels: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    """The grey of the paper, bilinear between the corners; a corner with ink on it counts as the others do."""
    corners = np.array([np.median(patch) for patch in _corners(levels)], dtype=np.float32)
    middle = np.median(corners)
    inked = np.abs(corners - middle) > np.abs(levels - middle).max() / 3
    top_left, top_right, bottom_left, bottom_right = np.where(inked, middle, corners)
    down, across = (np.linspace(0, 1, side, dtype=np.float32) for side in levels.shape)
    left, right = top_left + down * (bottom_left - top_left), top_right + down * (bottom_right - top_right)
    return left[:, None] + across * (right - left)[:, None]


def _noise(above: Float[np.ndarray, "H W"]) -> float:
    """How far paper differs from its own grey, at most half as far as the ink does."""
    deviation = float(np.median([np.median(np.abs(patch)) for patch in _corners(above)]))
    return min(NOISE * deviation, float(np.abs(above).max()) / 2)


def resized(image: Image.Image, shape: Shape, framing: Framing | None, note: Note) -> Image.Image:
    """A grey picture as one of shape [1, H, W]: its ink as `framing` places it, or without one its middle."""
    size = (shape[2], shape[1])
    made, scale = _whole(image, size, note) if framing is None else _framed(image, size, framing, note)
    sizes = f"from {image.width}×{image.height} to {size[0]}×{size[1]}"
    note(f"reduced {sizes} by area averaging" if scale <= 1 else f"enlarged {sizes} by linear interpolation")
    return made


def _method(scale: float) -> Image.Resampling:
    return Image.Resampling.BOX if scale <= 1 else Image.Resampling.BILINEAR


def _whole(image: Image.Image, size: tuple[int, int], note: Note) -> tuple[Image.Image, float]:
    """The middle of the picture, in the proportions wanted, and the scale."""
    scale = max(size[0] / image.width, size[1] / image.height)
    if max(abs(image.width - size[0] / scale), abs(image.height - size[1] / scale)) >= 1:
        note("cut to its middle, to have the right proportions")
    return ImageOps.fit(image, size, _method(scale)), scale


def _framed(image: Image.Image, size: tuple[int, int], framing: Framing, note: Note) -> tuple[Image.Image, float]:
    """The ink alone, placed as the data set places it, and the scale."""
    seen = Image.fromarray(np.asarray(image) > FAINT)
    left, top, right, bottom = seen.getbbox() or (0, 0, *image.size)
    width, height = right - left, bottom - top
    scale = framing.fill * min(size[0] / width, size[1] / height)
    wanted = (max(1, round(width * scale)), max(1, round(height * scale)))
    ink = image.resize(wanted, _method(scale), (left, top, right, bottom))
    note(f"cut to the ink and centred{' by its mass' if framing.by_mass else ''}, as the {framing.label} are")
    made = Image.new("L", size)
    made.paste(ink, _corner_of(np.asarray(ink, dtype=np.float64), size, framing.by_mass))
    return made, scale


def _corner_of(ink: Float[np.ndarray, "h w"], size: tuple[int, int], by_mass: bool) -> tuple[int, int]:
    """Where the ink's left and top edges go."""
    place = _centred_by_mass if by_mass else _centred
    return place(ink.sum(0), size[0]), place(ink.sum(1), size[1])


def _centred(profile: Float[np.ndarray, "n"], side: int) -> int:
    """The margin before the ink; the longer one if they cannot be equal."""
    return (side - len(profile) + 1) // 2


def _centred_by_mass(profile: Float[np.ndarray, "n"], side: int) -> int:
    """The margin that brings the centre of mass into the pixel after the middle, or as near as the ink fits."""
    if not profile.any():
        return _centred(profile, side)
    mass = float(np.average(np.arange(len(profile)) + 0.5, weights=profile))
    return min(max(round((side + 1) / 2 - mass), 0), side - len(profile))
