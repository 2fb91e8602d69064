"""Every run that the page lists: one's own and imported ones, those that a link names, and the shipped models."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ui.resources import locate, pretrained_names
from ui.runs.address import DAMAGED, Library
from ui.words import recipe_line, short
from vae_core.datasets import DATASETS
from vae_core.importing import IMPORTED
from vae_core.overview import Overview, overview, overviews
from vae_core.runs import Run, runs_root

OWN, LINKED, SHIPPED = "own", "linked", "shipped"


@dataclass(frozen=True)
class Entry:
    """A run as the table lists it. `origin` is a key of ORIGINS."""

    brief: Overview
    folder: Path
    origin: str

    @property
    def id(self) -> str:
        return self.brief.id

    @property
    def name(self) -> str:
        """Short enough for a legend, long enough to be told apart."""
        return short(self.id)

    @property
    def mine(self) -> bool:
        return self.origin in (OWN, IMPORTED)

    @property
    def active(self) -> bool:
        return self.brief.status is not None and self.brief.status.active

    @property
    def state(self) -> str:
        """A key of STATES."""
        return DAMAGED if self.brief.damaged or self.brief.status is None else self.brief.status.state


def catalogue(owner: str, linked: Sequence[str]) -> list[Entry]:
    """The owner's runs, the newest first, then those that a link names, then the shipped models."""
    root = runs_root()
    own = [_own(brief, root / brief.id) for brief in overviews(owner)] if owner else []
    known = {entry.id for entry in own}
    shipped = pretrained_names()
    others = [name for name in linked if name not in known and name not in shipped]
    return own + [_entry(name, LINKED) for name in others if locate(name)] + [_entry(n, SHIPPED) for n in shipped]


def _own(brief: Overview, folder: Path) -> Entry:
    return Entry(brief, folder, IMPORTED if IMPORTED in brief.marks.tags else OWN)


def _entry(name: str, origin: str) -> Entry:
    folder = locate(name)
    assert folder is not None
    return Entry(overview(Run(folder)), folder, origin)


def renewed(entry: Entry) -> Entry:
    """As it is now, if it was still going on."""
    return replace(entry, brief=overview(Run(entry.folder))) if entry.active else entry


def missing(entries: Iterable[Entry], chosen: Sequence[str]) -> list[str]:
    """A sentence on each chosen run that is not there."""
    known = {entry.id for entry in entries}
    return [f"There is no run “{name[:60]}” here." for name in chosen if name not in known]


def matching(entries: Iterable[Entry], wanted: Library) -> list[Entry]:
    """Those that pass the filter of the table: every word of the text must occur somewhere in a run."""
    words = wanted.text.casefold().split()
    return [entry for entry in entries if _passes(entry, wanted) and all(word in searched(entry) for word in words)]


def _passes(entry: Entry, wanted: Library) -> bool:
    return (
        (not wanted.data or (entry.brief.config is not None and entry.brief.config.dataset == wanted.data))
        and (not wanted.state or entry.state == wanted.state)
        and (not wanted.origin or entry.origin == wanted.origin)
        and (not wanted.tag or wanted.tag in entry.brief.marks.tags)
    )


def searched(entry: Entry) -> str:
    """All that is said of a run in words, for the search."""
    brief, config = entry.brief, entry.brief.config
    recipe = "" if config is None else f"{DATASETS[config.dataset].label} {recipe_line(config)}"
    return " ".join((entry.id, recipe, entry.state, brief.damaged, *brief.marks.tags, brief.marks.note)).casefold()
