"""The latent plane: a canvas component that draws points over the decoded manifold and reports where one clicks.

`plane.js` fetches the payload of `ui.payload` from a route; `selection` is small and travels with the element.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.components.v2 import component

from ui.theme import PALETTE
from vae_core.moments import Ellipse

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Picture:
    """One image of the side panel: `pixels` are its grey levels in base64, row by row."""

    title: str
    pixels: str


@dataclass(frozen=True)
class Selection:
    """What was clicked: its place on the plane, its coordinates in words, pictures, named numbers, and for a data
    point the posterior q(z|x): an ellipse of one standard deviation, and draws where it is no Gaussian."""

    at: tuple[float, float]
    heading: str
    pictures: tuple[Picture, ...]
    numbers: tuple[tuple[str, str, str], ...] = ()
    ellipse: Ellipse | None = None
    cloud: tuple[tuple[float, float], ...] = ()


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


_component = component("elbo_room.latent_plane", html=_read("plane.html"), css=_read("plane.css"), js=_read("plane.js"))


def latent_plane(
    key: str, url: str, selection: Selection | None = None, on_pick: Callable[[], None] | None = None
) -> None:
    """Draws the plane. `on_pick` is called after a click or Enter, with the place in `picked(key)`."""
    data: dict[str, Any] = {
        "url": url,
        "palette": PALETTE,
        "pickable": on_pick is not None,
        "selection": asdict(selection) if selection else None,
    }
    _component(key=key, data=data, on_pick_change=on_pick or (lambda: None))


def picked(key: str) -> dict[str, Any]:
    """What `on_pick` was called for: {"at": [z_x, z_y], "index": number of the data point or None}."""
    return dict(st.session_state[key]["pick"])
