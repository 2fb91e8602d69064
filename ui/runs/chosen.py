"""The runs that the tools under the table are about."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import streamlit as st

from ui.resources import Explored, explored
from ui.runs.catalogue import Entry
from ui.runs.differing import distinguished
from ui.runs.look import Look, look
from ui.tools.picking import kept
from ui.words import bound_note
from vae_core.config import Config
from vae_core.datasets import DATASETS, DataUnavailable
from vae_core.likelihoods import LIKELIHOODS
from vae_core.runs import DamagedRun

MOST = 5
"""Models that are opened side by side: with that of Explore as many as are kept in memory."""
LABELLED, LONGEST = 60, 36
"""Runs that are labelled with what is special about them, and characters for that, at most."""


@dataclass(frozen=True)
class Picked:
    """A whole run among the chosen ones, told apart from the others by its look."""

    entry: Entry
    config: Config
    look: Look
    special: str = ""

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def label(self) -> str:
        """The name, and in what its recipe differs from those of the others where that is short."""
        return f"{self.name} ({self.special})" if self.special else self.name


@dataclass(frozen=True)
class Chosen:
    """`runs` are the chosen ones that are whole, `entries` with the damaged; `shown` all that the table shows."""

    entries: tuple[Entry, ...]
    runs: tuple[Picked, ...]
    shown: tuple[Picked, ...]

    @property
    def mine(self) -> list[Entry]:
        """Those that this browser may change."""
        return [entry for entry in self.entries if entry.mine]

    @property
    def or_shown(self) -> tuple[Picked, ...]:
        """The chosen runs, or all of the table where none is chosen."""
        return self.runs or self.shown


def choice(entries: Sequence[Entry], shown: Sequence[Entry], names: Sequence[str]) -> Chosen:
    """The named runs out of all entries, in that order; `shown` are those in the table."""
    known = {entry.id: entry for entry in entries}
    chosen = [known[name] for name in names if name in known]
    return Chosen(tuple(chosen), _labelled(_picked(chosen)), _picked(shown))


def _picked(entries: Sequence[Entry]) -> tuple[Picked, ...]:
    return tuple(
        Picked(entry, entry.brief.config, look(number))
        for number, entry in enumerate(entries)
        if entry.brief.config is not None and not entry.brief.damaged
    )


def _labelled(runs: tuple[Picked, ...]) -> tuple[Picked, ...]:
    if not 2 <= len(runs) <= LABELLED:
        return runs
    special = distinguished([run.config for run in runs])
    if max(map(len, special)) > LONGEST:
        return runs
    return tuple(replace(run, special=text) for run, text in zip(runs, special, strict=True))


def comparable(runs: Sequence[Picked]) -> dict[str, list[Picked]]:
    """The runs that have an ELBO, by what it bounds and of which data: only within a group can they be compared."""
    groups: dict[str, list[Picked]] = {}
    for run in runs:
        if run.entry.brief.numbers is not None and run.entry.brief.numbers.elbo is not None:
            bounds = LIKELIHOODS[run.config.model.likelihood].bounds
            groups.setdefault(f"{DATASETS[run.config.dataset].label}: {bounds}", []).append(run)
    return groups


def choose_group(groups: dict[str, list[Picked]], key: str) -> list[Picked]:
    """One of the groups, the largest at first; there must be one."""
    names = sorted(groups, key=lambda name: -len(groups[name]))
    if len(names) == 1:
        return groups[names[0]]
    return groups[
        st.selectbox(
            "Which numbers", names, format_func=lambda name: f"{name} ({len(groups[name])})", width=520,
            key=kept(key, names, names[0]), help="ELBOs of different data, or that bound different things, differ.",
        )
    ]  # fmt: skip


def opened(runs: Sequence[Picked]) -> list[tuple[Picked, Explored]]:
    """The models of the runs, five at most; the page says of each other run why it is left out."""
    found = []
    with st.spinner("Loading the models …", show_time=True):
        for run in runs[:MOST]:
            try:
                found.append((run, explored(run.entry.folder)))
            except (DamagedRun, DataUnavailable) as error:
                st.warning(f"{run.name} cannot be opened: {error}")
    if len(runs) > MOST:
        st.caption(f"The first {MOST} of {len(runs)} models are shown.")
    return found


def what_is_bounded(configs: Sequence[Config]) -> str:
    """What kind of number the runs' ELBOs are, or why they cannot be compared."""
    data = {DATASETS[config.dataset].label for config in configs}
    if len(data) > 1:
        return f"These runs are of different data ({', '.join(sorted(data))}): their ELBOs cannot be compared."
    bounded = {LIKELIHOODS[config.model.likelihood].bounds for config in configs}
    if len(bounded) > 1:
        return f"These runs bound different things ({'; '.join(sorted(bounded))}): their ELBOs cannot be compared."
    notes = {bound_note(config) for config in configs}
    return " ".join(sorted(notes))
