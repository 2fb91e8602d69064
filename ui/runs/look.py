"""How the runs that are compared are told apart, the same in every figure: by colour, dash and mark together."""

from dataclasses import dataclass

from ui.theme import PALETTE

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "6px,2px,2px,2px,2px,2px")
SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "triangle-down", "star", "hexagon")


@dataclass(frozen=True)
class Look:
    """In Plotly's words."""

    colour: str
    dash: str
    symbol: str


def look(number: int) -> Look:
    """Of the run with that place in the choice: 630 in a row are all different."""
    return Look(PALETTE[number % 10], DASHES[number % 7], SYMBOLS[number % 9])
