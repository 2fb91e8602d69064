"""The rate–distortion plane as a figure (Alemi et al. 2018, figure 1): one point a model, lines of equal ELBO."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from ui.runs.look import Look
from ui.tools.strips import dressed
from ui.words import signed

LINES = 8
"""About how many lines of equal ELBO cross the plane."""
ROOM = 0.15
HEIGHT = 460


@dataclass(frozen=True)
class Point:
    """A model's held-out rate and distortion, in nats per example; `label` says more than its name."""

    name: str
    label: str
    look: Look
    rate: float
    distortion: float

    @property
    def elbo(self) -> float:
        return -self.rate - self.distortion


def span(values: Sequence[float], least: float = 1.0) -> tuple[float, float]:
    """From low to high with room around; never empty."""
    low, high = min(values), max(values)
    room = ROOM * max(high - low, least)
    return low - room, high + room


def levels(low: float, high: float, most: int = LINES) -> list[float]:
    """Round numbers from low to high, at most that many."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def rate_distortion_figure(points: Sequence[Point], named: bool = True) -> go.Figure:
    """Rate across, distortion up; on each dotted line the ELBO, −(rate + distortion), is the same. Points are `named`
    beside their marks, or on hover only."""
    left, right = span([point.rate for point in points])
    bottom, top = span([point.distortion for point in points])
    figure = go.Figure()
    for elbo in levels(-right - top, -left - bottom):
        figure.add_trace(_iso_line(elbo, (left, right), (bottom, top)))
    for point in points:
        figure.add_trace(_mark(point, named))
    figure.update_xaxes(title="Rate = KL(q(z|x) ‖ p(z)), nats", range=[left, right])
    figure.update_yaxes(title="Distortion = −E log p(x|z), nats", range=[bottom, top], automargin=True)
    return dressed(figure, HEIGHT).update_layout(
        margin={"l": 8, "autoexpand": True}, dragmode="zoom", uirevision=" ".join(point.name for point in points)
    )


def _iso_line(elbo: float, across: tuple[float, float], up: tuple[float, float]) -> go.Scatter:
    """As far as it lies within the plane, named over its upper end unless that is too near to the right border."""
    begin, end = max(across[0], -elbo - up[1]), min(across[1], -elbo - up[0])
    named = begin < across[1] - ROOM * (across[1] - across[0])
    return go.Scatter(
        x=[begin, end], y=[-elbo - begin, -elbo - end], mode="lines+text", hoverinfo="skip", cliponaxis=False,
        text=[f"ELBO {elbo:.6g}".replace("-", "−") if named else "", ""], textposition="top right",
        line={"color": "rgba(128,128,128,.55)", "width": 1, "dash": "dot"}, textfont={"size": 10},
    )  # fmt: skip


def _mark(point: Point, named: bool) -> go.Scatter:
    values = "rate %{x:.2f}, distortion %{y:.2f}"
    return go.Scatter(
        x=[point.rate], y=[point.distortion], mode="markers+text" if named else "markers", text=[point.name],
        textposition="top center", marker={"color": point.look.colour, "symbol": point.look.symbol, "size": 12},
        hovertemplate=f"{point.label}<br>{values}<br>ELBO {signed(point.elbo)} nats<extra></extra>",
    )  # fmt: skip
