"""The sketch pad in a real browser, on a page that holds nothing else; and what the server makes of its messages."""

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, Locator, Page, expect

from scripts import serving
from tests.app.driving import eventually, hand
from ui.sketch_pad import SIDE, decoded

PROJECT = Path(__file__).parents[2]
SCRIPT = """
import base64
import streamlit as st
from ui.sketch_pad import sketch_pad, sketched

def keep():
    st.session_state["kept"] = base64.b64encode(sketched("pad").numpy().tobytes()).decode()

sketch_pad("pad", keep)
if "kept" in st.session_state:
    st.code(st.session_state["kept"], language=None)
"""


@pytest.fixture(scope="module")
def pad_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the script alone, with the settings and the look of the app."""
    folder = tmp_path_factory.mktemp("sketch")
    (folder / "app.py").write_text(SCRIPT)
    shutil.copytree(PROJECT / ".streamlit", folder / ".streamlit")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving, "PROJECT", folder)
        patch.setenv("PYTHONPATH", str(PROJECT))
        with serving.serve(folder / "runs") as url:
            yield url


@pytest.fixture
def pad(page: Page, pad_url: str) -> Locator:
    page.goto(pad_url)
    canvas = page.locator("canvas.paper")
    canvas.wait_for()
    return canvas


def at(pad: Locator, x: float, y: float) -> tuple[float, float]:
    """A place of the pad, in pixels of the drawing, on the page."""
    box = pad.bounding_box()
    assert box is not None
    return box["x"] + x * box["width"] / SIDE, box["y"] + y * box["height"] / SIDE


def drag(page: Page, pad: Locator, *places: tuple[float, float]) -> None:
    page.mouse.move(*at(pad, *places[0]))
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*at(pad, *place))
    page.mouse.up()


def drawn(pad: Locator) -> np.ndarray:
    """The grey levels that the pad holds."""
    levels = pad.evaluate("canvas => Array.from(canvas.getRootNode().__pad.grey)")
    return np.array(levels, dtype=np.uint8).reshape(SIDE, SIDE)


def shown(pad: Locator) -> np.ndarray:
    """The opacity of the ink on the screen."""
    levels = pad.evaluate("""canvas => { const data = canvas.getContext("2d").getImageData(
        0, 0, canvas.width, canvas.height).data; return Array.from(data.filter((v, i) => i % 4 == 3)); }""")
    side = round(len(levels) ** 0.5)
    return np.array(levels).reshape(side, side)


def received(page: Page) -> np.ndarray:
    """The drawing that the server got."""
    text = page.locator("code").inner_text()
    return np.frombuffer(base64.b64decode(text), dtype=np.uint8).reshape(SIDE, SIDE)


def bar(start: tuple[float, float], end: tuple[float, float], width: float) -> np.ndarray:
    """Where a round brush leaves full ink, and where any, between two places: the distance from a segment."""
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    d = np.array(end) - np.array(start)
    share = (((x - start[0]) * d[0] + (y - start[1]) * d[1]) / max(d @ d, 1e-9)).clip(0, 1)
    return width / 2 - np.hypot(x - start[0] - share * d[0], y - start[1] - share * d[1])


def test_a_stroke_of_the_mouse_reaches_the_server(page: Page, pad: Locator) -> None:
    """Against the distance from the segment: full ink inside, none outside, soft over a pixel and a half."""
    drag(page, pad, (30, 20), (80, 90))
    page.get_by_role("button", name="Use this drawing").click()
    grey, inside = received(page), bar((30, 20), (80, 90), 10)
    assert (grey[inside > 1.3] == 255).all()
    assert (grey[inside < -1.3] == 0).all()
    assert np.abs(grey - 255 * (inside / 1.5 + 0.5).clip(0, 1)).max() < 60  # places on the screen are whole pixels
    assert np.array_equal(grey, drawn(pad))


def test_the_screen_shows_what_is_drawn(page: Page, pad: Locator) -> None:
    drag(page, pad, (20, 30), (60, 30), (60, 100))
    page.mouse.move(2, 2)
    scale = shown(pad).shape[0] / SIDE
    centres = ((np.arange(SIDE) + 0.5) * scale).astype(int)
    assert np.abs(shown(pad)[np.ix_(centres, centres)] - drawn(pad).astype(int)).mean() < 3


def test_the_slider_sets_the_size_of_the_brush(page: Page, pad: Locator) -> None:
    for size in (4, 40):
        page.get_by_role("slider", name="Brush size").fill(str(size))
        drag(page, pad, (20, 56), (90, 56))
        assert (drawn(pad)[:, 50] > 127).sum() == pytest.approx(size, abs=1)
        page.get_by_role("button", name="Clear").click()


def test_undo_and_clear_go_back_step_by_step(page: Page, pad: Locator) -> None:
    states = [drawn(pad)]
    for row in (20, 60):
        drag(page, pad, (20, row), (90, row))
        states.append(drawn(pad))
    page.get_by_role("button", name="Clear").click()
    assert not drawn(pad).any()
    for state in reversed(states):
        page.get_by_role("button", name="Undo").click()
        assert np.array_equal(drawn(pad), state)
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("status")).to_have_text("There is nothing to undo.")


def test_an_empty_pad_is_not_sent(page: Page, pad: Locator) -> None:
    page.get_by_role("button", name="Use this drawing").click()
    expect(page.locator(".status")).to_have_text("The pad is empty: draw something first.")
    assert page.locator("code").count() == 0


def test_everything_can_be_done_with_keys(page: Page, pad: Locator) -> None:
    """From the centre ten steps of four pixels to the right, then one lifted, and one fine; undo, clear, send."""
    pad.focus()
    page.keyboard.press("Space")
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    expect(page.locator(".status")).to_have_text("Drawing: 86 % across, 50 % down.")
    inside = bar((56, 56), (96, 56), 10)
    expected = (255 * (inside / 1.5 + 0.5).clip(0, 1)).round()
    assert np.abs(drawn(pad) - expected).max() <= 1
    page.keyboard.press("Space")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Shift+ArrowDown")
    expect(page.locator(".status")).to_have_text("Brush lifted: 86 % across, 47 % down.")
    assert np.abs(drawn(pad) - expected).max() <= 1
    page.keyboard.press("c")
    assert not drawn(pad).any()
    page.keyboard.press("u")
    page.keyboard.press("Enter")
    assert np.abs(received(page) - expected).max() <= 1


def test_keys_stop_at_the_edge_and_leave_the_browser_s_own_alone(page: Page, pad: Locator) -> None:
    pad.focus()
    for _ in range(40):
        page.keyboard.press("ArrowUp")
    expect(page.locator(".status")).to_have_text("Brush lifted: 50 % across, 0 % down.")
    page.keyboard.press("Space")
    before = drawn(pad)
    page.keyboard.press("Control+c")
    assert np.array_equal(drawn(pad), before)
    page.keyboard.press("Tab")
    expect(page.get_by_role("slider", name="Brush size")).to_be_focused()


def test_the_pad_is_named_and_its_focus_seen(page: Page, pad: Locator) -> None:
    expect(page.get_by_role("application", name="Sketch pad")).to_be_visible()
    page.keyboard.press("Tab")
    for _ in range(10):
        if pad.evaluate("canvas => canvas.matches(':focus-visible')"):
            break
        page.keyboard.press("Tab")
    assert "inset" in pad.evaluate("canvas => getComputedStyle(canvas).boxShadow")
    assert shown(pad).any()


def test_the_drawing_outlives_what_the_server_does_with_it(page: Page, pad: Locator) -> None:
    drag(page, pad, (30, 30), (80, 80))
    page.get_by_role("button", name="Use this drawing").click()
    first = received(page)
    drag(page, pad, (80, 30), (30, 80))
    page.get_by_role("button", name="Use this drawing").click()
    expect(page.locator("code")).not_to_have_text(base64.b64encode(first.tobytes()).decode())
    second = received(page)
    assert (second >= first).all()
    assert second.sum() > 1.5 * first.sum()


def test_a_finger_draws_on_a_phone(browser: Browser, pad_url: str) -> None:
    """The page neither scrolls sideways nor moves under the finger, and the ink goes with the theme."""
    context = browser.new_context(
        viewport={"width": 390, "height": 500},
        color_scheme="light",
        has_touch=True,
        is_mobile=True,
        device_scale_factor=3,
    )
    page = context.new_page()
    page.goto(pad_url)
    pad = page.locator("canvas.paper")
    pad.wait_for()
    box = pad.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 390
    touch = hand(page)
    touch("Start", at(pad, 56, 20))
    for y in range(25, 95, 5):
        touch("Move", at(pad, 56, y))
    touch("End")
    after = pad.bounding_box()
    assert after == box
    assert (drawn(pad)[22:88, 56] == 255).all()
    inks = {"light": [29, 31, 33], "dark": [233, 230, 223]}
    for scheme, ink in inks.items():
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        eventually(lambda ink=ink: pad.evaluate("canvas => canvas.getRootNode().__pad.ink.slice(0, 3)") == ink)
    assert (drawn(pad)[22:88, 56] == 255).all()
    context.close()


def test_grey_levels_come_back_as_they_were_sent() -> None:
    levels = torch.randint(0, 256, (SIDE * SIDE,), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    message = {"pixels": base64.b64encode(levels.numpy().tobytes()).decode(), "time": 1}
    assert torch.equal(decoded(message), levels)


@pytest.mark.parametrize(
    "message",
    [
        None,
        "text",
        {},
        {"pixels": None},
        {"pixels": ""},
        {"pixels": "A" * 100},
        {"pixels": "A" * 10_000_000},
        {"pixels": "é" * 16728},
        {"pixels": "A" * 16727 + "!"},
        {"pixels": base64.b64encode(bytes(SIDE * SIDE + 2)).decode()},
        {"pixels": base64.b64encode(bytes(SIDE * SIDE - 1)).decode()},
    ],
    ids=["none", "text", "empty", "null", "blank", "short", "long", "foreign", "mark", "more", "fewer"],
)
def test_messages_that_hold_no_drawing_are_refused(message: object) -> None:
    with pytest.raises(ValueError, match="A drawing must"):
        decoded(message)
