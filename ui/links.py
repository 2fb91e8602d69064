"""What the addresses of all pages have in common: a frozen value, written as query parameters and read back part by
part, each of which may make no sense. And a link to be copied."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Protocol, TypeVar
from urllib.parse import urljoin

import streamlit as st


class Addressed(Protocol):
    """A frozen dataclass that can be written as query parameters."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def params(self) -> dict[str, str]: ...


A = TypeVar("A", bound=Addressed)
Reader = Callable[[str], object]
"""Reads one part; raises ValueError saying why it makes no sense."""


def read_parts(start: A, params: Mapping[str, str], readers: Mapping[str, Reader]) -> tuple[A, list[str]]:
    """`start` with every part that `params` names, and a sentence on each that made no sense and was left out."""
    state, notices = start, []
    for name, read_part in readers.items():
        if name not in params:
            continue
        try:
            state = replace(state, **{name: read_part(params[name])})
        except ValueError as error:
            notices.append(f"The link's “{name}” was left out: {error}.")
    return state, notices


def one_of(text: str, table: Mapping[str, object]) -> str:
    """Raises ValueError unless it is a name of the table."""
    if text not in table:
        raise ValueError(f"“{text[:20]}” is none of {', '.join(table)}")
    return text


def show_link(path: str) -> None:
    """A path of this app with the address of its server, to be copied."""
    st.code(urljoin(st.context.url or "", path), language=None, wrap_lines=True)
