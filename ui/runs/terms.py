"""The tool that puts runs on the rate–distortion plane."""

import streamlit as st

from ui.live_figure import live_figure
from ui.runs.chosen import Chosen, Picked, choose_group, comparable
from ui.runs.plane import Point, rate_distortion_figure
from ui.words import signed

LABELLED = 25
"""Points from which names would cover each other; they are said on hover."""


def point(run: Picked) -> Point:
    numbers = run.entry.brief.numbers
    assert numbers is not None
    assert numbers.rate is not None
    return Point(run.name, run.label, run.look, numbers.rate, numbers.distortion)


def described(points: list[Point]) -> str:
    said = [f"{p.name} at rate {signed(p.rate)}, distortion {signed(p.distortion)}" for p in points]
    return f"Rate–distortion plane in nats per example: {'; '.join(said)}."


def show(chosen: Chosen) -> None:
    groups = comparable(chosen.or_shown)
    if not groups:
        st.info("None of these runs has a held-out rate and distortion yet.")
        return
    runs = choose_group(groups, "terms group")
    points = [point(run) for run in runs]
    figure = rate_distortion_figure(points, named=len(points) <= LABELLED)
    live_figure("rate distortion", figure, described(points[:LABELLED]))
    shipped = any(run.entry.brief.numbers and run.entry.brief.numbers.part == "test" for run in runs)
    st.caption(
        "Last held-out values, in nats per example. Along a dotted line the ELBO is the same: the rate buys distortion "
        "one for one. Down and left is better."
        + ("" if chosen.runs else f" All {len(points)} comparable runs of the table, as none is chosen.")
        + (" Shipped models: the test part." if shipped else "")
    )
