"""The table of runs: what a row says, and choosing rows."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pandas as pd
import streamlit as st

from ui.mirror import controlled
from ui.runs.address import ORIGINS, STATES
from ui.runs.catalogue import Entry
from ui.runs.state import library
from ui.theme import TERMS
from ui.words import recipe_line
from vae_core.config import Config
from vae_core.datasets import DATASETS
from vae_core.overview import Numbers

KEY = "runs table"
ROWS = 9
"""Rows in sight; the rest scrolls inside the table."""
ROW_HEIGHT = 35
COLUMN = st.column_config
COLUMNS = {
    "Pin": COLUMN.TextColumn("", help="★: pinned, never thrown away for its age", width=28, pinned=True),
    "Run": COLUMN.TextColumn("Run", width=140, pinned=True),
    "State": COLUMN.TextColumn("State", width=85),
    "Done": COLUMN.ProgressColumn("Done", format="percent", min_value=0, max_value=1, width=90),
    "Data": COLUMN.TextColumn("Data", width=110),
    "Latent": COLUMN.TextColumn("Latent", width=60, help="Sizes of the stochastic layers, from the data inwards."),
    "β": COLUMN.NumberColumn("β", format="%g", width=50),
    "Seed": COLUMN.NumberColumn("Seed", format="%d", width=50),
    "ELBO": COLUMN.NumberColumn("ELBO", format="%.2f", width=80, help=f"Held out. {TERMS['elbo']}"),
    "Rate": COLUMN.NumberColumn("Rate", format="%.2f", width=70, help=f"Held out. {TERMS['kl']}"),
    "Distortion": COLUMN.NumberColumn("Distortion", format="%.2f", width=85, help="Held out. −E log p(x|z), in nats."),
    "Active": COLUMN.NumberColumn("Active", format="%d", width=60, help=TERMS["active"]),
    "Tags": COLUMN.ListColumn("Tags", width=140),
    "Note": COLUMN.TextColumn("Note", width=180),
    "Trained": COLUMN.NumberColumn("Trained", format="duration", width=80),
    "Started": COLUMN.DatetimeColumn("Started", format="YYYY-MM-DD HH:mm", width=130),
    "Size": COLUMN.NumberColumn("Size", format="bytes", width=75),
    "From": COLUMN.TextColumn("From", width=100),
    "Recipe": COLUMN.TextColumn("Recipe", width=420),
    "Damage": COLUMN.TextColumn("Damage", width=420),
}


def row(entry: Entry) -> dict[str, Any]:
    """What the table says of a run; None where it is not known."""
    brief, status = entry.brief, entry.brief.status
    return {
        "Pin": "★" if brief.marks.pinned else "",
        "Run": entry.name,
        "State": STATES[entry.state],
        "Done": status.step / status.total_steps if status and status.total_steps else None,
        **_recipe(brief.config),
        **_numbers(brief.numbers),
        "Tags": list(brief.marks.tags),
        "Note": brief.marks.note,
        "Trained": status.seconds if status else None,
        "Started": datetime.fromtimestamp(brief.created),
        "Size": brief.disk,
        "From": ORIGINS[entry.origin],
        "Damage": brief.damaged,
    }


def _recipe(config: Config | None) -> dict[str, Any]:
    if config is None:
        return dict.fromkeys(("Data", "Latent", "β", "Seed", "Recipe"))
    return {
        "Data": DATASETS[config.dataset].label,
        "Latent": "-".join(map(str, config.model.layers)),
        "β": config.objective.beta,
        "Seed": config.seed,
        "Recipe": recipe_line(config),
    }


def _numbers(numbers: Numbers | None) -> dict[str, Any]:
    if numbers is None:
        return dict.fromkeys(("ELBO", "Rate", "Distortion", "Active"))
    return {
        "ELBO": numbers.elbo,
        "Rate": numbers.rate,
        "Distortion": numbers.distortion,
        "Active": numbers.active_units,
    }


def frame(entries: Sequence[Entry]) -> pd.DataFrame:
    return pd.DataFrame([row(entry) for entry in entries], columns=list(COLUMNS))


def choose_rows(entries: Sequence[Entry]) -> None:
    """The table; the rows that are chosen in it are those of the state, whoever chose them, in whatever order."""
    places = {entry.id: place for place, entry in enumerate(entries)}

    def chosen() -> None:
        picked = [entries[place].id for place in st.session_state[KEY]["selection"]["rows"]]
        before = library.current().runs
        kept = [run for run in before if run in picked or run not in places]
        library.change(runs=(*kept, *(run for run in picked if run not in before)))

    def selection() -> dict[str, Any]:
        rows = [places[run] for run in library.current().runs if run in places]
        shown = st.session_state.get(KEY, {}).get("selection", {}).get("rows", [])
        return {"rows": shown if sorted(shown) == sorted(rows) else rows, "columns": [], "cells": []}

    damaged = any(entry.brief.damaged for entry in entries)
    st.dataframe(
        frame(entries), hide_index=True, column_config=COLUMNS, row_height=ROW_HEIGHT, placeholder="",
        column_order=[name for name in COLUMNS if damaged or name != "Damage"],
        height=ROW_HEIGHT * (min(len(entries), ROWS) + 1) + 3, key=controlled(KEY, {"selection": selection()}),
        on_select=chosen, selection_mode="multi-row", alt=f"{len(entries):,} runs, which can be chosen by name below",
    )  # fmt: skip
