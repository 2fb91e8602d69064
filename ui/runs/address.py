"""What an address of the Runs page says, as a value: which runs are chosen, what the table shows, and the tool below.

Reading and writing are inverse, but for a choice too large for a link.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import get_args

from ui.links import Reader, one_of, read_parts
from vae_core.datasets import DATASETS
from vae_core.runs import RUN_ID, State

LINK_LIMIT = 60
"""Runs that a link names at most: an address of some thousand characters passes everywhere."""
LONGEST = 100
DAMAGED = "damaged"
STATES = {**{state: state.capitalize() for state in get_args(State)}, DAMAGED: "Damaged"}
ORIGINS = {"own": "Trained here", "imported": "Imported", "shipped": "Shipped", "linked": "By a link"}
TOOLS = {
    "curves": "Curves",
    "decoded": "Same z",
    "rebuilt": "Same x",
    "terms": "Rate–distortion",
    "best": "Best of",
    "differences": "Differences",
    "marks": "Tags and notes",
    "files": "Share and export",
}


@dataclass(frozen=True)
class Library:
    """The state of the Runs page: `runs` are the chosen ones in the order of choosing; `text`, `data`, `state`,
    `origin` and `tag` filter the table, and `tool` is what is asked about the chosen runs."""

    runs: tuple[str, ...] = ()
    text: str = ""
    data: str = ""
    state: str = ""
    origin: str = ""
    tag: str = ""
    tool: str = "curves"

    @property
    def filtered(self) -> bool:
        return any((self.text, self.data, self.state, self.origin, self.tag))

    def params(self) -> dict[str, str]:
        """As query parameters; what is as it always is stays out, and of very many runs only the first are named."""
        plain = Library()
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        named = {"runs": "~".join(self.runs[:LINK_LIMIT])}
        return {name: value for name, value in {**said, **named}.items() if value != (getattr(plain, name) or "")}


def _text(text: str) -> str:
    if len(text) > LONGEST or any(unicodedata.category(sign).startswith("C") for sign in text):
        raise ValueError(f"it must have at most {LONGEST} characters, all of them visible")
    return text


def _runs(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split("~")))
    if len(names) > LINK_LIMIT:
        raise ValueError(f"{len(names)} runs where at most {LINK_LIMIT} are named")
    wrong = next((name for name in names if not RUN_ID.fullmatch(name)), None)
    if wrong is not None:
        raise ValueError(f"“{wrong[:20]}” is no name of a run")
    return names


READERS: dict[str, Reader] = {
    "runs": _runs,
    "text": _text,
    "data": lambda text: one_of(text, DATASETS),
    "state": lambda text: one_of(text, STATES),
    "origin": lambda text: one_of(text, ORIGINS),
    "tag": _text,
    "tool": lambda text: one_of(text, TOOLS),
}


def read(params: Mapping[str, str]) -> tuple[Library, list[str]]:
    """The state that a link asks for, and a sentence on each part that made no sense and was left out."""
    return read_parts(Library(), params, READERS)
