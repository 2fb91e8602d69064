"""The tool that groups runs by recipe, whatever the seed, and says which recipe is best and how sure that is."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import streamlit as st

from ui.resources import CPU
from ui.runs.chosen import Chosen, Picked, choose_group, comparable
from ui.runs.differing import distinguished
from ui.theme import hundredths
from ui.words import signed
from vae_core.comparing import BestOf, Interval, best_of
from vae_core.config import Config
from vae_core.training import generator_for

SEED = 14


def by_recipe(runs: Sequence[Picked]) -> dict[str, list[float]]:
    """Last held-out ELBOs of finished runs, by what tells their recipes apart: the seed does not."""
    groups: dict[Config, list[float]] = {}
    for run in runs:
        numbers = run.entry.brief.numbers
        if run.entry.state == "finished" and numbers is not None and numbers.elbo is not None:
            groups.setdefault(replace(run.config, seed=0, device="auto"), []).append(numbers.elbo)
    names = distinguished(list(groups)) if groups else []
    return dict(zip(names, groups.values(), strict=True))


@lru_cache(maxsize=16)
def ranked(groups: tuple[tuple[str, tuple[float, ...]], ...]) -> list[BestOf]:
    return best_of(dict(groups), generator=generator_for(CPU, SEED))


def row(found: BestOf) -> dict[str, Any]:
    return {
        "Recipe": found.name or "the only one",
        "Runs": found.runs,
        "Best": round(found.best, 2),
        "Best, 95 %": said(found.best_interval),
        "Mean": round(found.mean, 2),
        "Mean, 95 %": said(found.mean_interval),
    }


def said(interval: Interval | None) -> str:
    return "one run" if interval is None else f"{signed(interval[0])} … {signed(interval[1])}"


def tested(run: Picked) -> bool:
    """Whether its numbers are of the test part, as those of shipped models are."""
    return run.entry.brief.numbers is not None and run.entry.brief.numbers.part == "test"


def show(chosen: Chosen) -> None:
    held_out = [run for run in chosen.or_shown if not tested(run)]
    shipped = len(held_out) < len(chosen.or_shown)
    left = " Shipped models are left out: their numbers are of the test part." if shipped else ""
    groups = comparable(held_out)
    runs = choose_group(groups, "best group") if groups else []
    found = by_recipe(runs)
    if not found:
        st.info(f"None of these runs is finished: the best recipe is looked for among finished runs.{left}")
        return
    with st.spinner("Drawing bootstrap samples …", show_time=True):
        rows = ranked(tuple((name, tuple(values)) for name, values in found.items()))
    numbers = hundredths("Best", "Mean")
    st.dataframe([row(each) for each in rows], hide_index=True, column_config=numbers, key="best recipes")
    unfinished = sum(run.entry.state != "finished" for run in runs)
    st.caption(
        "Last held-out ELBO in nats per example, grouped by recipe whatever the seed; named by what differs. "
        "Intervals: smoothed bootstrap over the runs of a group, of what the best and the mean of so many runs come "
        "to. The best of more runs is better by luck alone: compare groups of equal size."
        + ("" if chosen.runs else " All runs of the table, as none is chosen.")
        + (f" {unfinished} unfinished runs are left out." if unfinished else "")
        + left
    )
