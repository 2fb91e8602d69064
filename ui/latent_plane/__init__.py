"""The latent plane: a canvas component that draws points over the decoded manifold, decodes under the pointer, and
reports what one does: pins, selections, and how the view moves.

The heavy parts (`ui.payload`) it fetches from routes; what lies over them is small and travels with the element.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.components.v2 import component

from ui.theme import PALETTE
from vae_core.moments import Ellipse

HERE = Path(__file__).parent
SCRIPTS = ("bytes", "kernel", "decoder", "view", "scene", "saving", "panel", "gestures", "plane")

Place = tuple[float, float]
"""Coordinates on the plane."""


@dataclass(frozen=True)
class Picture:
    """One example of the side panel: `pixels` are its bytes in base64, row by row."""

    title: str
    pixels: str
    small: bool = False


@dataclass(frozen=True)
class Selection:
    """What is looked at: its place on the plane, its coordinates in words, pictures, named numbers, and for a data
    point the posterior q(z|x): an ellipse of one standard deviation, and draws where it is no Gaussian."""

    at: Place
    heading: str
    pictures: tuple[Picture, ...]
    numbers: tuple[tuple[str, str, str], ...] = ()
    ellipse: Ellipse | None = None
    cloud: tuple[Place, ...] = ()


@dataclass(frozen=True)
class PinMark:
    """A kept place: on the plane as a letter, in the tray as a small picture."""

    letter: str
    title: str
    at: Place
    pixels: str
    chosen: bool


@dataclass(frozen=True)
class Sources:
    """Where the browser fetches from: the plane, the decoder's weights if they travel, the layers (with the word LAYER
    in place of the name), single examples (`&i=` and a number is added), and what a place decodes to (`&at=u_v`).

    A run that trains has no plane before its first snapshot; the page's curves (`ui.live_curves`) tell of each.
    """

    url: str | None
    decoder: str | None = None
    layers: str | None = None
    examples: str | None = None
    decode: str | None = None
    follows: str | None = None
    """The address under which all of such a run lies."""


@dataclass(frozen=True)
class Overlay:
    """What lies over the plane. `region` are the corners of the selection, `inside` one bit a point in base64; `view`
    (centre, half width; None is all) and `hidden` labels are read when a plane is opened."""

    selection: Selection | None = None
    pins: tuple[PinMark, ...] = ()
    paths: tuple[tuple[Place, ...], ...] = ()
    region: tuple[Place, ...] = ()
    inside: str | None = None
    view: tuple[float, float, float] | None = None
    hidden: tuple[int, ...] = ()
    layer: str = "images"


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


SCRIPT = "\n".join(_read(f"{name}.js") for name in SCRIPTS)
"""What draws. A route serves it once: inside the element it would travel again with every pin."""
SCRIPT_URL = f"/api/latent_plane.js?v={hashlib.blake2s(SCRIPT.encode(), digest_size=8).hexdigest()}"
LOADER = f"""
const drawing = import(new URL("{SCRIPT_URL}", location.href).href);
export default (component) => {{
  let end = null, gone = false;
  drawing.then(({{ default: draw }}) => {{ if (!gone) end = draw(component); }});
  return () => {{ gone = true; end?.(); }};
}};
"""

_component = component("elbo_room.latent_plane", html=_read("plane.html"), css=_read("plane.css"), js=LOADER)


def _said(selection: Selection) -> dict[str, Any]:
    return {**vars(selection), "pictures": [vars(picture) for picture in selection.pictures]}


def latent_plane(
    key: str, sources: Sources, overlay: Overlay | None = None, on_act: Callable[[], None] | None = None
) -> None:
    """Draws the plane. `on_act` is called after whatever one does on it, with the act in `act(key)`."""
    over = overlay or Overlay()
    data: dict[str, Any] = {
        **vars(sources),
        **vars(over),
        "selection": over.selection and _said(over.selection),
        "pins": tuple(vars(pin) for pin in over.pins),  # lists are searched for tables
        "palette": PALETTE,
        "pickable": on_act is not None,
    }
    _component(key=key, data=data, on_act_change=on_act or (lambda: None))


def act(key: str) -> dict[str, Any]:
    """What `on_act` was called for: "kind" is pin ("at", "index"), choose or drop ("number"), clear, lasso ("region")
    or view; every act has "view" and "hidden" too."""
    return dict(st.session_state[key]["act"])
