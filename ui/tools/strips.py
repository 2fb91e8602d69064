"""Examples side by side as one picture, and profiles as lines: what the tools show of a series of codes."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import torch
from jaxtyping import Float, UInt8
from plotly.colors import sample_colorscale
from torch import Tensor, nn

from ui.theme import SEQUENTIAL
from vae_core.datasets import Spec

SHARP = 56
"""Pixels that a tile is wide at least."""
GAP = 3
CLEAR = "rgba(0,0,0,0)"
STILL = {"displayModeBar": False}
"""Plotly's configuration of a chart that is looked at only."""


def strip(tiles: UInt8[Tensor, "N H W"]) -> UInt8[np.ndarray, "height width"]:
    """Tiles in one row, each in the middle of an equal share of the width."""
    return torch.cat(list(nn.functional.pad(tiles, (GAP,) * 4)), dim=1).numpy()


def dressed(figure: go.Figure, height: int) -> go.Figure:
    """A chart as wide as the pictures above it, on the page's own ground."""
    margin = {"l": 0, "r": 0, "t": 28, "b": 44, "pad": 0, "autoexpand": False}
    return figure.update_layout(
        height=height, margin=margin, paper_bgcolor=CLEAR, plot_bgcolor=CLEAR, showlegend=False, dragmode=False
    )


def places(spec: Spec) -> tuple[list[str] | list[int], str]:
    """What the values of a profile stand at, and the word for it."""
    if spec.features:
        return list(spec.features), "feature"
    return list(range(1, spec.shape[2] + 1)), "time, samples"


def in_view(spec: Spec, values: Float[Tensor, "*batch D"]) -> tuple[Float[Tensor, "*batch D"], str]:
    """Values of a profile as a chart shows them, with their unit: features have units of their own and are shown as
    shares of their ranges."""
    return (values, "share of range") if spec.features else (spec.in_units(values), "value")


def shades(count: int) -> list[str]:
    """Colours from low to high."""
    return [str(colour) for colour in sample_colorscale(list(SEQUENTIAL), torch.linspace(0.1, 0.9, count).tolist())]


def profile_lines(
    spec: Spec, values: Float[Tensor, "S D"], names: Sequence[str], colours: Sequence[str]
) -> list[go.Scatter]:
    """One line a profile."""
    x, _ = places(spec)
    shown, _ = in_view(spec, values)
    return [
        go.Scatter(x=x, y=line.tolist(), name=name, mode="lines", line={"color": colour, "width": 1.6})
        for line, name, colour in zip(shown, names, colours, strict=True)
    ]
