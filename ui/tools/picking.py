"""What the tools that go from pin to pin share: choosing pins, and looking at a place that is no pin yet."""

from collections.abc import Sequence
from string import ascii_uppercase
from typing import TypeVar

import streamlit as st
from jaxtyping import Float
from torch import Tensor

from ui import state
from ui.address import Pin, Vector, rounded
from ui.inspection import at_place, name_of
from ui.latent_plane import Place, Selection
from ui.planes import Opened

T = TypeVar("T")
CENTRE = Pin()
"""In place of a pin: the centre of the prior."""


def said(opened: Opened, pin: Pin) -> str:
    """A pin in a list of pins."""
    if pin == CENTRE:
        return "Centre of the prior"
    return f"{ascii_uppercase[opened.address.pins.index(pin)]}: {name_of(opened.thing, pin)}"


def vector(opened: Opened, pin: Pin) -> Vector:
    """A pin's latent vector as what a cache can be asked for."""
    return tuple((opened.thing.model.centre() if pin == CENTRE else opened.vector(pin)).tolist())


def kept(key: str, options: Sequence[T], default: T) -> str:
    """The key of a widget whose options change: it keeps what it shows as long as that is an option."""
    if key not in st.session_state or st.session_state[key] not in options:
        st.session_state[key] = default
    return key


def look(key: str) -> None:
    """For the callback of a widget: what it shows is looked at until something happens to the pins."""
    address = state.current()
    st.session_state[f"{key} looked at"] = (address.pins, address.chosen)


def looked_at(key: str, opened: Opened, z: Float[Tensor, "H"]) -> Selection | None:
    """That place, closely, while it is looked at."""
    address = opened.address
    if st.session_state.get(f"{key} looked at") != (address.pins, address.chosen):
        return None
    return at_place(opened, Pin(rounded(z.tolist())))


def keep(z: Float[Tensor, "H"]) -> None:
    """For the callback of a button: pins a place."""
    state.put(state.current().with_pin(Pin(rounded(z.tolist()))))


def drawn(opened: Opened, path: Float[Tensor, "S H"]) -> tuple[tuple[Place, ...], ...]:
    """A path as it lies on the plane; on an embedding it has no place."""
    plane = opened.drawn.plane
    if plane is None:
        return ()
    return (tuple((u, v) for u, v in plane.coordinates(path).tolist()),)
