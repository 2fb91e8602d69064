"""Moments of a run as the pictures of a film: its points over its lattice, with a caption underneath."""

import math
from functools import lru_cache

from PIL import Image, ImageColor, ImageDraw, ImageFont

from ui.moments import Moment
from ui.theme import PALETTE
from ui.tiles import tiles
from vae_core.datasets import Spec
from vae_core.geometry import mosaic
from vae_core.moments import Ellipse

SIDE, FOOT = 480, 34
"""Pixels of a film: its plane is a square, its caption stands below."""
SHARP = 2
"""Points are drawn so many times larger, so that their rims are smooth."""
FAINT = 0.42
"""How dark the lattice is, as on the page."""
PAPER, INK, ACCENT = "#fbfaf6", "#1d1f21", "#0b6e69"
GREYS, SHADES = 40, 4
DASHES = 60
PLAIN = str.maketrans("₀₁₂₃₄₅₆₇₈₉−", "0123456789-")
"""The font that comes with Pillow has neither subscripts nor a minus sign."""


def frame(seen: Moment, spec: Spec, half: float, caption: str) -> Image.Image:
    """One moment in the square from -half to half, in the colours of the light theme."""
    large = SIDE * SHARP
    picture = Image.new("RGB", (large, large), PAPER)
    if len(seen.tiles):
        _lay_lattice(picture, seen, spec, half)
    draw, scale = ImageDraw.Draw(picture), large / (2 * half)
    for one in seen.drawn.prior:
        for sigma in (1, 2) if len(seen.drawn.prior) == 1 else (1,):
            _dash(draw, one, sigma, scale)
    for (u, v), label in zip(seen.drawn.points.tolist(), seen.labels.tolist(), strict=True):
        draw.circle((large / 2 + u * scale, large / 2 - v * scale), large / 240, PALETTE[label % len(PALETTE)])
    whole = Image.new("RGB", (SIDE, SIDE + FOOT), PAPER)
    whole.paste(picture.reduce(SHARP))
    _write(ImageDraw.Draw(whole), caption, seen.drawn.names)
    return whole.quantize(palette=_few_colours(), dither=Image.Dither.NONE)


@lru_cache(maxsize=1)
def _few_colours() -> Image.Image:
    """The palette of every frame: shades from paper to ink and to each label's colour. Where neighbouring frames have
    the same colours, a GIF stores what differs only."""
    paper = ImageColor.getrgb(PAPER)

    def shades(colour: str, count: int) -> list[int]:
        full = ImageColor.getrgb(colour)
        shares = [(step + 1) / count for step in range(count)]
        return [round(p + share * (c - p)) for share in shares for p, c in zip(paper, full, strict=True)]

    palette = Image.new("P", (1, 1))
    palette.putpalette([*paper, *shades(INK, GREYS), *(v for c in (ACCENT, *PALETTE) for v in shades(c, SHADES))])
    return palette


def _lay_lattice(picture: Image.Image, seen: Moment, spec: Spec, half: float) -> None:
    """The decoded tiles, as ink whose opacity is the grey level."""
    side = round(len(seen.tiles) ** 0.5)
    sheet = mosaic(tiles(seen.tiles, spec.shape)[:, None].float(), side)[..., 0]
    reach = round(picture.width * seen.drawn.extent / half)
    mask = Image.fromarray((FAINT * sheet).byte().numpy()).resize((reach, reach), Image.Resampling.BILINEAR)
    corner = (picture.width - reach) // 2
    picture.paste(INK, (corner, corner), mask)


def _dash(draw: ImageDraw.ImageDraw, one: Ellipse, sigma: float, scale: float) -> None:
    cx, cy, a, b, angle = one
    middle = SIDE * SHARP / 2

    def place(turn: float) -> tuple[float, float]:
        along, across = sigma * a * math.cos(turn), sigma * b * math.sin(turn)
        u = cx + along * math.cos(angle) - across * math.sin(angle)
        v = cy + along * math.sin(angle) + across * math.cos(angle)
        return middle + u * scale, middle - v * scale

    for dash in range(DASHES):
        begin, end = (2 * math.pi * (dash + part) / DASHES for part in (0, 0.5))
        draw.line((place(begin), place(end)), ACCENT, SHARP)


def _write(draw: ImageDraw.ImageDraw, caption: str, names: tuple[str, str]) -> None:
    across, up = (name.translate(PLAIN) for name in names)
    draw.text((8, SIDE + FOOT // 2), caption.translate(PLAIN), INK, ImageFont.load_default(16), "lm")
    draw.text((SIDE - 8, SIDE - 8), across, INK, ImageFont.load_default(13), "rs")
    draw.text((8, 8), up, INK, ImageFont.load_default(13), "lt")
