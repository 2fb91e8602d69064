"""The tool that gives one held-out example to all chosen models of its data set: how each rebuilds it, and its ELBO."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import streamlit as st
import torch

from ui.inspection import label_of, terms_of
from ui.resources import CPU, Explored
from ui.runs.chosen import Chosen, Picked, opened, what_is_bounded
from ui.runs.pictures import Shown, side_by_side
from ui.theme import hundredths
from ui.tools.picking import kept
from vae_core.datasets import DATASETS
from vae_core.training import generator_for

NUMBER, DRAWN = "same x", "same x draws"


def show(chosen: Chosen) -> None:
    offered = [name for name, _ in Counter(run.config.dataset for run in chosen.runs).most_common()]
    if not offered:
        st.info("Choose runs in the table: how each rebuilds one and the same held-out example is shown here.")
        return
    name = offered[0]
    if len(offered) > 1:
        name = st.segmented_control(
            "Data set", offered, required=True, format_func=lambda name: DATASETS[name].label,
            key=kept("same x data", offered, name), width="content",
        ) or name  # fmt: skip
    models = opened([run for run in chosen.runs if run.config.dataset == name])
    if models:
        _compare(name, models, choose(min(len(thing.data) for _, thing in models)))


def choose(count: int) -> int:
    """The number of a held-out example."""
    st.session_state[NUMBER] = min(st.session_state.get(NUMBER, 0), count - 1)

    def draw() -> None:
        st.session_state[DRAWN] = st.session_state.get(DRAWN, 0) + 1
        generator = generator_for(CPU, st.session_state[DRAWN])
        st.session_state[NUMBER] = int(torch.randint(count, (), generator=generator))

    with st.container(horizontal=True, vertical_alignment="bottom"):
        number = st.number_input(f"Held-out example, 0 to {count - 1:,}", 0, count - 1, key=NUMBER, width=240)
        st.button("Another", icon=":material/casino:", on_click=draw)
    return int(number)


def _compare(name: str, models: Sequence[tuple[Picked, Explored]], number: int) -> None:
    first = models[0][1]
    original = Shown(f"Example {number}, “{label_of(first, number)}”", first.data.x[number])
    rebuilt = [Shown(run.label, thing.decode(thing.means[number][None])[0], run.look.colour) for run, thing in models]
    side_by_side(DATASETS[name], [original, *rebuilt], "same x pictures")
    numbers = hundredths("ELBO", "Reconstruction", "KL")
    rows = [row(run, thing, number) for run, thing in models]
    st.dataframe(rows, hide_index=True, column_config=numbers, key="same x terms")
    st.caption(
        "Rebuilt from the mean of q(z|x); the ELBO's terms of this one example in nats. "
        + what_is_bounded([run.config for run, _ in models])
    )


def row(run: Picked, thing: Explored, number: int) -> dict[str, Any]:
    """The ELBO's terms of one example; a plain autoencoder has a reconstruction only."""
    terms = terms_of(thing, thing.seen(number), number)
    found: dict[str, Any] = {"Run": run.label}
    if not run.config.model.plain:
        found |= {"ELBO": round(terms.elbo.item(), 2)}
    found |= {"Reconstruction": round(terms.reconstruction.item(), 2)}
    if not run.config.model.plain:
        found |= {"KL": round(terms.rate.item(), 2)}
    return found
