"""What tests do in a real browser: open pages, wait, read canvases, and ask the latent plane what it shows."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from playwright.sync_api import Locator, Page
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from tests.app.conftest import App
from ui.resources import locate


def ready(page: Page, url: str) -> None:
    page.goto(url)
    page.locator("h1").first.wait_for()


def turn(page: Page, path: str) -> None:
    """To another page of the app, as the browser's back button goes: without loading it all again."""
    page.evaluate("path => { history.pushState({}, '', path); dispatchEvent(new PopStateEvent('popstate')); }", path)


def listen(page: Page) -> list[ForwardMsg]:
    """What Streamlit tells a page from now on."""
    heard: list[ForwardMsg] = []
    page.on(
        "websocket", lambda socket: socket.on("framereceived", lambda frame: heard.append(ForwardMsg.FromString(frame)))
    )
    return heard


def shared_places(heard: list[ForwardMsg]) -> list[tuple[int, ...]]:
    """Where a part of a page that runs again by itself stands beside something else, in any run of a whole page: if
    Streamlit forgets to tell of the part, that something takes its place."""
    runs: list[dict[tuple[int, ...], str]] = []
    for message in heard:
        if message.HasField("new_session"):
            runs.append({})
        elif message.HasField("delta"):
            runs[-1][tuple(message.metadata.delta_path)] = message.delta.fragment_id
    found = []
    for parts in runs:
        if "" in parts.values():
            tops = [path for path, part in parts.items() if part and not parts.get(path[:-1])]
            found += [path for path in tops if sum(other[:-1] == path[:-1] for other in parts) > 1]
    return found


def hand(page: Page) -> Callable[..., None]:
    """Fingers on a touch screen: "Start", "Move" or "End", and where in the window each of them is."""
    session = page.context.new_cdp_session(page)

    def touch(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(places)]
        session.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})

    return touch


def eventually(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def grey_levels(canvas: Locator) -> np.ndarray:
    """A picture of the side panel: ink whose opacity is the grey level."""
    data = canvas.evaluate(
        "c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((v, i) => i % 4 == 3))"
    )
    return np.array(data)


def folder_of(model: str) -> Path:
    folder = locate(model)
    assert folder is not None
    return folder


@dataclass(frozen=True)
class Instrument:
    """The latent plane of an open page."""

    page: Page

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression over `plane`, the component."""
        return self.page.locator(".plane").evaluate(
            f"root => {{ const plane = root.getRootNode().__plane; return ({expression}); }}"
        )

    @property
    def marks(self) -> Locator:
        return self.page.locator("canvas.marks")

    @property
    def live(self) -> Locator:
        return self.page.locator(".live canvas")

    def pixels(self, place: tuple[float, float]) -> tuple[float, float]:
        """Where a place of the plane is on the stage."""
        x, y = self.ask(f"plane.view.toPixels([{place[0]}, {place[1]}])")
        return x, y

    def move(self, x: float, y: float) -> None:
        """The pointer to a pixel of the stage."""
        box = self.marks.bounding_box()
        assert box is not None
        self.page.mouse.move(box["x"] + x, box["y"] + y)

    def click(self, x: float, y: float) -> None:
        self.move(x, y)
        self.page.mouse.down()
        self.page.mouse.up()

    def drag(self, corners: list[tuple[float, float]]) -> None:
        self.move(*corners[0])
        self.page.mouse.down()
        for corner in corners[1:]:
            self.move(*corner)
        self.page.mouse.up()

    def said(self) -> dict[str, str]:
        """What the browser's address says by now."""
        query = urlsplit(self.page.evaluate("location.href")).query
        return {name: values[0] for name, values in parse_qs(query).items()}

    def pins(self) -> list[str]:
        pins = self.said().get("pins", "")
        return pins.split("~") if pins else []


def open_plane(page: Page, app: App, query: str) -> Instrument:
    """The Explore page with what an address says, once it is painted, with the whole plane in sight."""
    ready(page, f"{app.url}/explore?{query}")
    page.locator(".plane.pickable[data-url]").wait_for()
    plane = Instrument(page)
    plane.marks.scroll_into_view_if_needed()
    return plane
