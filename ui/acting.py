"""From what one does on the plane to a new address, and from the address to what lies over the plane."""

import base64
from dataclasses import replace
from threading import BoundedSemaphore
from urllib.parse import urlencode

import numpy as np

from ui import state
from ui.address import LASSO_LIMIT, Address, View, rounded
from ui.inspection import pin_marks, selection
from ui.latent_plane import Overlay, Place, Selection, Sources, act
from ui.planes import Opened


def sources(opened: Opened) -> Sources:
    """Where the browser finds a plane; addresses change with the weights, so that answers can be kept for ever."""
    model = f"/api/models/{opened.folder.name}"
    token = opened.token
    words = urlencode({**opened.address.plane.params(), "v": token})
    decodable = opened.drawn.plane is not None
    return Sources(
        f"{model}/plane?{words}",
        f"{model}/decoder?v={token}" if decodable and opened.thing.portable else None,
        f"{model}/layers/LAYER?{words}" if decodable else None,
        f"{model}/example?data={opened.address.data}&v={token}",
        f"{model}/decode?{words}" if decodable else None,
    )


TURNS = BoundedSemaphore(2)
"""Many small computations at once, each handing the interpreter to and fro, take far longer than in turns."""


def overlay(opened: Opened, paths: tuple[tuple[Place, ...], ...], shown: Selection | None) -> Overlay:
    """What lies over the plane: the chosen pin or what a tool shows instead, pins, paths and the selected region."""
    address, view = opened.address, opened.address.view
    with TURNS:
        held, looked_at, pins = opened.inside(), shown or selection(opened), pin_marks(opened)
    bits = None if held is None else np.packbits(held.numpy(), bitorder="little").tobytes()
    return Overlay(
        selection=looked_at,
        pins=pins,
        paths=paths,
        region=tuple((x, y) for x, y in address.lasso),
        inside=None if bits is None else base64.b64encode(bits).decode(),
        view=None if view is None else (view.x, view.y, view.half),
        hidden=address.hidden,
        layer=address.layer,
    )


def acted(key: str, opened: Opened) -> None:
    """Takes over what was done on the plane."""
    event = act(key)
    address = replace(state.current(), view=_view(event["view"]), hidden=tuple(event["hidden"]))
    state.put(_after(address, opened, event))


def _view(said: list[float] | None) -> View | None:
    return None if said is None else View(*rounded(said))


def _after(address: Address, opened: Opened, event: dict) -> Address:
    kind = event["kind"]
    if kind == "pin":
        return address.with_pin(opened.drawn.pin(event["at"], event["index"]))
    if kind == "choose":
        return replace(address, chosen=event["number"] if event["number"] < len(address.pins) else None)
    if kind == "drop":
        return address.without_pin(event["number"])
    if kind == "clear":
        return replace(address, pins=(), chosen=None)
    if kind == "lasso":
        return replace(address, lasso=_thinned(event["region"]))
    return address


def _thinned(region: list[list[float]]) -> tuple[tuple[float, ...], ...]:
    """At most LASSO_LIMIT corners, evenly taken; fewer than three hold nothing."""
    step = max(1, -(-len(region) // LASSO_LIMIT))
    corners = tuple(rounded(corner) for corner in region[::step])
    return corners if len(corners) >= 3 else ()
