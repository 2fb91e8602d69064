"""The tool that lays the curves of the chosen runs over each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from jaxtyping import Float
from plotly.subplots import make_subplots

from ui.live_figure import live_figure
from ui.runs.chosen import Chosen, what_is_bounded
from ui.runs.look import Look
from ui.runs.reports import AXES, MEASURES, PARTS, Reports, reports
from ui.runs.thinning import thinned
from ui.tools.strips import dressed
from ui.words import signed
from vae_core.runs import DamagedRun

PANEL = 270
SETTLED = 0.06
"""The share of lowest values that may lie below a chart: the start of a run would flatten all the rest."""
FEW = 12
"""Values from which there is a steep start to leave out."""
MARKS = 9
Curve = Float[np.ndarray, "N"]


@dataclass(frozen=True)
class Drawn:
    """One run that is drawn, with its name and its look."""

    name: str
    look: Look
    reports: Reports


def overlay(runs: Sequence[Drawn], measures: Sequence[str], parts: Sequence[str], axis: str) -> go.Figure:
    """One chart under the other for the measures; held-out curves are bold and marked, those of training thin."""
    figure = make_subplots(
        len(measures), 1, shared_xaxes=True, subplot_titles=[MEASURES[measure] for measure in measures],
        vertical_spacing=0.09 / len(measures),
    )  # fmt: skip
    for row, measure in enumerate(measures, start=1):
        curves = [(run, part, *run.reports.curve(axis, part, measure)) for run in runs for part in parts]
        for run, part, x, y in curves:
            figure.add_trace(_line(run, part, x, y, named=row == 1 and part == parts[0]), row=row, col=1)
        figure.update_yaxes(range=settled_range([y for *_, y in curves]), row=row)
    figure.update_xaxes(title=AXES[axis], row=len(measures))
    figure.update_yaxes(hoverformat=".2f", automargin=True).update_xaxes(hoverformat=".4~g")
    height = 110 + PANEL * len(measures)
    key = {"orientation": "h", "yanchor": "top", "y": -70 / (height - 110), "x": 0, "xanchor": "left"}
    return dressed(figure, height).update_layout(
        showlegend=True, legend=key, dragmode="zoom", hovermode="x", uirevision=f"{axis} {' '.join(measures)}",
        margin={"l": 8, "b": 70, "autoexpand": True},
    )  # fmt: skip


def _line(run: Drawn, part: str, x: Curve, y: Curve, named: bool) -> go.Scatter:
    kept, bold = thinned(x, y), part == "held_out"
    return go.Scatter(
        x=x[kept], y=y[kept], name=run.name, legendgroup=run.name, showlegend=named,
        mode="lines+markers" if bold else "lines", opacity=1 if bold else 0.6,
        line={"color": run.look.colour, "dash": run.look.dash, "width": 2 if bold else 1},
        marker={"symbol": run.look.symbol, "size": 8, "maxdisplayed": MARKS},
        hovertemplate=f"{PARTS[part].lower()} %{{y}} nats",
    )  # fmt: skip


def settled_range(curves: Sequence[Curve]) -> list[float] | None:
    """What an axis shows: everything but the first steep part of the curves."""
    values = np.concatenate([np.empty(0), *curves])
    if len(values) < FEW:
        return None
    low, high = np.quantile(values, [SETTLED, 1]).tolist()
    room = max(0.08 * (high - low), 1e-3)
    return [low - room, high + room]


def described(runs: Sequence[Drawn], measure: str, part: str) -> str:
    """The figure in words: where each curve ends."""
    ends = []
    for run in runs:
        _, y = run.reports.curve("epoch", part, measure)
        ends.append(f"{run.name} ends at {signed(y[-1])}" if len(y) else f"{run.name} has none yet")
    return f"{PARTS[part]} {MEASURES[measure]} in nats per example: {'; '.join(ends)}."


def choose() -> tuple[list[str], list[str], str]:
    """What is drawn: measures, parts of the data, and the axis."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        measures = st.pills("Curves", list(MEASURES), selection_mode="multi", default=["elbo"],
            format_func=MEASURES.__getitem__, key="curve measures", width="content")  # fmt: skip
        parts = st.pills("of", list(PARTS), selection_mode="multi", default=["held_out"],
            format_func=PARTS.__getitem__, key="curve parts", width="content")  # fmt: skip
        axis = st.segmented_control("over", list(AXES), default="epoch", required=True,
            format_func=AXES.__getitem__, key="curve axis", width="content")  # fmt: skip
    return [m for m in MEASURES if m in measures], [part for part in PARTS if part in parts], axis or "epoch"


def drawn(chosen: Chosen) -> list[Drawn]:
    """The chosen runs that have curves; the page says which have none."""
    found, without = [], []
    for run in chosen.runs:
        try:
            read = reports(run.entry.folder)
        except DamagedRun as damage:
            st.warning(f"{run.name} is left out: {damage}")
            continue
        if len(read.columns["epoch"]):
            found.append(Drawn(run.label, run.look, read))
        else:
            without.append(run.name)
    if without:
        st.caption(f"Without curves: {', '.join(without)}. Shipped models come without, and a run begins without.")
    return found


def show(chosen: Chosen) -> None:
    if not chosen.runs:
        st.info("Choose runs in the table, or by name above: their curves are laid over each other here.")
        return
    measures, parts, axis = choose()
    with st.spinner("Reading the curves …", show_time=True):
        runs = drawn(chosen)
    if runs and measures and parts:
        live_figure("overlaid curves", overlay(runs, measures, parts, axis), described(runs, measures[0], parts[0]))
    st.caption(f"Nats per example. {what_is_bounded([run.config for run in chosen.runs])}")
