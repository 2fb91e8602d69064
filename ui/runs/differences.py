"""The tool that says in what the recipes of runs differ, and how they came out."""

from typing import Any

import streamlit as st

from ui.runs.chosen import Chosen, Picked
from ui.runs.differing import differing, setting, value_text
from ui.words import clock, signed

MOST = 12


def rows(runs: list[Picked]) -> list[dict[str, Any]]:
    """One row a setting that differs."""
    found = differing([run.config for run in runs])
    names = [run.name for run in runs]
    return [
        {"Setting": setting(key), **dict(zip(names, map(value_text, values), strict=True))}
        for key, values in found.items()
    ]


def outcomes(runs: list[Picked]) -> list[dict[str, Any]]:
    """What became of each run, one row a number."""

    def line(name: str, values: list[str]) -> dict[str, Any]:
        return {"Outcome": name, **dict(zip([run.name for run in runs], values, strict=True))}

    def measured(name: str) -> list[str]:
        found = [getattr(run.entry.brief.numbers, name, None) for run in runs]
        return ["" if value is None else signed(value) for value in found]

    numbers = [run.entry.brief.numbers for run in runs]
    statuses = [run.entry.brief.status for run in runs]
    return [
        line("ELBO, nats", measured("elbo")),
        line("Rate, nats", measured("rate")),
        line("Distortion, nats", measured("distortion")),
        line("Active units", [str(n.active_units) if n else "" for n in numbers]),
        line("Trained for", [clock(s.seconds) if s else "" for s in statuses]),
    ]


def show(chosen: Chosen) -> None:
    runs = list(chosen.runs[:MOST])
    if len(runs) < 2:
        st.info("Choose two runs or more in the table: the settings in which they differ are shown here.")
        return
    found = rows(runs)
    if found:
        st.dataframe(found, hide_index=True, key="differing settings")
    else:
        st.info("These runs have the same recipe, seed included.")
    st.dataframe(outcomes(runs), hide_index=True, key="outcomes")
    more = f" The first {MOST} of {len(chosen.runs)} chosen runs." if len(chosen.runs) > MOST else ""
    st.caption(f"Recipes with every change that was made while training. Numbers are held out, per example.{more}")
