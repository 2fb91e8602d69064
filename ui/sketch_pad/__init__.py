"""The sketch pad: a square to draw an example on, with pointer or keys; light ink on dark as data."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st
import torch
from jaxtyping import UInt8
from streamlit.components.v2 import component
from torch import Tensor

HERE = Path(__file__).parent
SIDE = 112
"""Pixels a side: four for each of a 28×28 example. The same number is in pad.js."""


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


_component = component("elbo_room.sketch_pad", html=_read("pad.html"), css=_read("pad.css"), js=_read("pad.js"))


def sketch_pad(key: str, on_sketch: Callable[[], None]) -> None:
    """Shows the pad. `on_sketch` is called when a drawing is to be used, with the drawing in `sketched(key)`."""
    _component(key=key, on_sketch_change=on_sketch)


def sketched(key: str) -> UInt8[Tensor, "{SIDE*SIDE}"]:
    """What `on_sketch` was called for: grey levels row by row. Raises ValueError where a browser sent no drawing."""
    return decoded(st.session_state[key]["sketch"])


def decoded(message: Any) -> UInt8[Tensor, "{SIDE*SIDE}"]:
    """The drawing in a message {"pixels": grey levels in base64, "time": …}."""
    pixels = message.get("pixels") if isinstance(message, dict) else None
    length = 4 * -(-SIDE * SIDE // 3)
    if not isinstance(pixels, str) or len(pixels) != length:
        raise ValueError(f"A drawing must come as {length} characters of base64, for {SIDE}×{SIDE} grey levels.")
    try:
        levels = base64.b64decode(pixels, validate=True)
    except ValueError as error:
        raise ValueError(f"A drawing must come in base64: {error}.") from error
    if len(levels) != SIDE * SIDE:
        raise ValueError(f"A drawing must have {SIDE * SIDE} grey levels, but {len(levels)} came.")
    return torch.frombuffer(bytearray(levels), dtype=torch.uint8)
