"""What a user of the Explore page waits for, measured inside a real Chromium by `interaction.js`."""

import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from benchmarks.latency import spread, within
from ui.planes import axis_name

LATENT, BOXES = 20, ("Across", "Up")
"""Dimensions of the models whose plane is turned, and the select boxes that turn it."""
PROBE = (Path(__file__).parent / "interaction.js").read_text(encoding="utf-8")
WINDOW = {"width": 1280, "height": 1000}
PATIENCE = 60_000
PAUSE = 0.2
"""Seconds between two clicks: the last one's script has ended."""
EDGE = 0.04
"""Share of the canvas at each side where nothing is clicked."""

HOVER, CLICK, ATLAS_CLICK, AXES, FRAMES = 4.0, 90.0, 200.0, 700.0, 30.0
OPEN = {"test": 1500.0, "all": 2500.0}
"""Targets: milliseconds, by what is done or by which data are opened, and frames a second."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Stage:
    """A running server, a browser, the id of a convolutional run if it is needed, and how often everything is done."""

    url: str
    browser: Browser
    convolutional: str
    repeats: int
    loads: int
    seed: int

    def places(self, count: int) -> list[Point]:
        """Seeded places on the canvas, in shares of its sides."""
        source = random.Random(self.seed)
        return [(source.uniform(EDGE, 1 - EDGE), source.uniform(EDGE, 1 - EDGE)) for _ in range(count)]

    @contextmanager
    def page(self, model: str, data: str = "sample") -> Iterator[Page]:
        """A plane in a fresh browser context, once it is painted."""
        context = self.browser.new_context(viewport=WINDOW, color_scheme="light")  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE)
        context.add_init_script(PROBE)
        page = context.new_page()
        self.load(page, model, data)
        try:
            yield page
        finally:
            context.close()

    def load(self, page: Page, model: str, data: str) -> None:
        page.goto(f"{self.url}/explore?model={model}&data={data}")
        page.locator(".plane[data-url]").wait_for()

    @contextmanager
    def settled(self, model: str, data: str = "sample") -> Iterator[Page]:
        """The same once its landscape has come too: nothing is going on any more."""
        with self.page(model, data) as page:
            deadline = time.monotonic() + PATIENCE / 1e3
            while not page.evaluate("probe.landscape()"):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the landscape of {model} did not come within {PATIENCE / 1e3:.0f} s")
                time.sleep(PAUSE)
            time.sleep(PAUSE)
            yield page


def _judged(times: list[dict[str, float]], by: str, target: float) -> dict[str, Any]:
    """Milliseconds until drawn and until painted; the one called `by` has the target."""
    parts = {name: [taken[name] for taken in times] for name in ("drawn", "painted")}
    return {name: within(values, target) if name == by else spread(values) for name, values in parts.items()}


def hover(stage: Stage) -> dict[str, Any]:
    """From a pointer's move to the decoded image on its canvas, and until that is painted."""
    found = {}
    for model in ("mnist-2d", "mnist-20d"):
        with stage.settled(model) as page:
            times = page.evaluate("places => probe.hover(places)", stage.places(stage.repeats))
            found[model] = _judged(times, "drawn", HOVER)
    return found


def click(stage: Stage) -> dict[str, Any]:
    """From a click between data points to the server's exact picture of that place."""
    return {
        "mnist-2d": _clicks(stage, "mnist-2d", CLICK),
        "convolutional": _clicks(stage, stage.convolutional, ATLAS_CLICK),
    }


def _clicks(stage: Stage, model: str, target: float) -> dict[str, Any]:
    with stage.settled(model) as page:
        free = page.evaluate("places => probe.free(places)", stage.places(20 * stage.repeats))
        times = [_one_click(page, place) for place in free[: stage.repeats]]
    return _judged(times, "painted", target)


def _one_click(page: Page, place: Point) -> dict[str, float]:
    x, y = page.evaluate("place => probe.expectPicture(place)", place)
    page.mouse.click(x, y)
    taken = page.evaluate("probe.answer")
    time.sleep(PAUSE)
    return taken


def opening(stage: Stage) -> dict[str, Any]:
    """From the request of the page to the first paint of its plane by a warm server: in a browser that has never been
    here, and once more in one that has."""
    return {data: _openings(stage, data, target) for data, target in OPEN.items()}


def _openings(stage: Stage, data: str, target: float) -> dict[str, Any]:
    first, again = [], []
    for _ in range(stage.loads + 1):
        with stage.page("mnist-2d", data) as page:
            first.append(_painted(page))
    with stage.page("mnist-2d", data) as page:
        for _ in range(stage.loads):
            stage.load(page, "mnist-2d", data)
            again.append(_painted(page))
    return {"warming": first[0], "first_visit": spread(first[1:]), "again": within(again, target)}


def _painted(page: Page) -> float:
    return page.evaluate("probe.opened")["painted"]


def motion(stage: Stage) -> dict[str, Any]:
    """Zooming and panning over all 70,000 points."""
    with stage.settled("mnist-2d", "all") as page:
        found = page.evaluate("probe.motion(3)")
    frames = found["perSecond"]
    return {"frames_per_second": frames, "target": FRAMES, "met": frames >= FRAMES, "draw": spread(found["draws"])}


def axes(stage: Stage) -> dict[str, Any]:
    """From another axis in a select box to the new plane, which no cache holds."""
    return {"mnist-20d": _turns(stage, "mnist-20d"), "convolutional": _turns(stage, stage.convolutional)}


def _turns(stage: Stage, model: str) -> dict[str, Any]:
    with stage.settled(model) as page:
        page.context.new_cdp_session(page).send("Network.setCacheDisabled", {"cacheDisabled": True})
        shown = [page.get_by_role("combobox", name=name).input_value().split(":")[0] for name in BOXES]
        turns = islice(_new_pairs(shown, random.Random(stage.seed)), stage.repeats)
        times = [_one_turn(page, box, axis) for box, axis in turns]
    return _judged(times, "painted", AXES)


def _new_pairs(shown: list[str], source: random.Random) -> Iterator[tuple[str, str]]:
    """Turns of one select box after the other, each to a pair of axes that has not been shown: box and axis."""
    names, seen = [axis_name(axis) for axis in range(LATENT)], {tuple(shown)}
    for number, box in cycle(enumerate(BOXES)):
        unseen = [
            name for name in names if name not in shown and (*shown[:number], name, *shown[number + 1 :]) not in seen
        ]
        shown[number] = source.choice(unseen)
        seen.add(tuple(shown))
        yield box, shown[number]


def _one_turn(page: Page, box: str, axis: str) -> dict[str, float]:
    page.get_by_role("combobox", name=box).fill(axis)
    option = page.get_by_role("option", name=re.compile(f"^{axis}:"))
    option.wait_for()
    page.evaluate("probe.expectPlane()")
    option.click()
    taken = page.evaluate("probe.answer")
    time.sleep(PAUSE)
    return taken
