"""The latent plane in a real browser: hover, pins, keyboard, regions, zoom, links."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, Page, expect

from tests.app.conftest import App
from tests.app.driving import Instrument, eventually, folder_of, grey_levels, hand, open_plane
from ui.address import Address, read
from ui.payload import ATLAS_NODES
from ui.planes import Opened, chosen_axes, flat, limits
from ui.resources import Explored, explored
from vae_core.defaults import recipe
from vae_core.geometry import on_axes
from vae_core.runs import create_at
from vae_core.worker import train

CORNERS = ((-1, 1), (1, 1), (-1, -1), (1, -1))


def thing_of(model: str) -> Explored:
    return explored(folder_of(model))


def decoded(thing: Explored, places: list[list[float]]) -> np.ndarray:
    """Grey levels that the model decodes at places of the plane of its leading axes."""
    axes = chosen_axes(thing, Address(""))
    latents = on_axes(torch.tensor(places), axes, thing.model.centre())
    return (thing.decode(latents) * 255).round().numpy()


def numbers(pin: str) -> np.ndarray:
    return np.array([float(value) for value in pin.split("_")])


def free_place(plane: Instrument, thing: Explored, corner: tuple[int, int]) -> tuple[float, float]:
    """The pixel in a quadrant that is farthest from every data point."""
    extent, width = plane.ask("plane.plane.extent"), plane.ask("plane.view.width")
    steps = torch.linspace(0.55, 0.95, 20)
    places = torch.cartesian_prod(steps, steps) * torch.tensor(corner) * extent
    points = flat(thing, Address("")).points
    x, y = (places[torch.cdist(places, points).min(1).values.argmax()] / extent).tolist()
    return round((x + 1) / 2 * width), round((1 - y) / 2 * width)


@pytest.mark.parametrize("model", ["mnist-2d", "fashion-20d"])
def test_hovering_decodes_exactly_and_a_click_pins_what_the_server_decodes(page: Page, app: App, model: str) -> None:
    sent: list[object] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
    plane, thing = open_plane(page, app, f"model={model}"), thing_of(model)
    expect(page.get_by_text("Decoded in the browser, exactly")).to_be_visible()
    page.wait_for_timeout(500)
    shown, messages = grey_levels(plane.live), len(sent)
    for corner in CORNERS:
        before = shown
        plane.move(*free_place(plane, thing, corner))
        shown = grey_levels(plane.live)
        place = plane.ask("plane.view.toLatent(...plane.pointer)")
        assert np.sign(place).tolist() == list(corner)  # the second coordinate grows upwards
        assert not np.array_equal(shown, before)
        assert np.abs(shown - decoded(thing, [place])[0]).max() <= 1
    page.wait_for_timeout(700)
    assert len(sent) == messages
    plane.click(*free_place(plane, thing, (1, -1)))
    expect(page.locator(".tray .pin")).to_have_count(1)
    eventually(lambda: len(plane.pins()) == 1)
    z = torch.tensor(numbers(plane.pins()[0]))[None].float()
    axes = chosen_axes(thing, Address(model))
    assert z[0, axes[0]] > 0 > z[0, axes[1]]
    others = [axis for axis in range(z.shape[1]) if axis not in axes]
    assert torch.equal(z[0, others], thing.model.centre()[others])
    expected = (thing.decode(z)[0] * 255).round().numpy()
    assert np.array_equal(grey_levels(page.locator(".pictures canvas").first), expected)


def test_keyboard_click_and_typing_give_the_same_pin(page: Page, app: App) -> None:
    plane = open_plane(page, app, "model=digits-2d&layer=none&hidden=0_1_2_3_4_5_6_7_8_9")
    plane.marks.focus()
    for key in ["ArrowRight"] * 15 + ["ArrowUp"] * 10:
        plane.marks.press(key)
    place = plane.ask("plane.cursor")
    plane.marks.press("Enter")
    eventually(lambda: len(plane.pins()) == 1)
    (by_key,) = plane.pins()
    plane.marks.press("Escape")
    eventually(lambda: plane.pins() == [])
    plane.click(*plane.pixels(place))
    eventually(lambda: len(plane.pins()) == 1)
    (by_click,) = plane.pins()
    one_pixel = 2 * plane.ask("plane.view.half") / plane.ask("plane.view.width")
    assert np.abs(numbers(by_key) - numbers(by_click)).max() <= one_pixel
    page.get_by_label("Remove pin A").click()
    page.get_by_text("Type coordinates").click()
    for name, value in zip(("z₁", "z₂"), by_key.split("_"), strict=True):
        page.get_by_label(name, exact=True).fill(value)
        page.get_by_label(name, exact=True).press("Enter")
    page.get_by_role("button", name="Pin this place").click()
    eventually(lambda: len(plane.pins()) == 1)
    assert np.abs(numbers(plane.pins()[0]) - numbers(by_key)).max() <= 0.005  # the fields show two decimals


def test_a_data_point_shows_its_terms_and_its_posterior_in_units_of_the_axes(page: Page, app: App) -> None:
    plane, thing = open_plane(page, app, "model=digits-2d"), thing_of("digits-2d")
    lonely = int(torch.cdist(thing.means, thing.means).fill_diagonal_(9).min(1).values.argmax())
    plane.click(*plane.pixels(tuple(thing.means[lonely].tolist())))
    page.get_by_text(f"Held-out example {lonely},").wait_for()
    assert np.array_equal(grey_levels(page.locator(".pictures canvas").first), thing.data.x[lonely].numpy())
    eventually(lambda: plane.pins() == [f"i{lonely}"])
    x, y, long, short, _ = plane.ask("plane.data.selection.ellipse")
    with torch.no_grad():
        scale = thing.model.encode(thing.seen(lonely)).scale[0]
    assert (x, y) == pytest.approx(thing.means[lonely].tolist(), abs=1e-4)
    assert [long, short] == pytest.approx(scale.sort(descending=True).values.tolist(), rel=1e-4)


COLOURS_AT_POINTS = """(() => {
    const context = plane.scene.getContext('2d'), { view, points } = plane, found = [], expected = [];
    const places = Array.from({length: points.count}, (_, i) => view.toPixels(points.at(i)));
    places.forEach(([x, y], i) => {
      const inside = x > 60 && y > 60 && x < view.width - 60 && y < view.height - 60;
      if (!inside || places.some(([u, v], j) => j !== i && Math.hypot(u - x, v - y) < 8)) return;
      const at = [x, y].map((c) => Math.round(c * devicePixelRatio));
      found.push([...context.getImageData(...at, 1, 1).data].slice(0, 3));
      expected.push(points.colours[points.labels[i] % 10].slice(0, 3));
    });
    return [found, expected];
})()"""
"""Colours on the canvas where points lie that stand alone, and the colours of their labels."""


@pytest.mark.parametrize(("size", "ratio"), [((1280, 1000), 1), ((390, 844), 2)])
def test_screen_and_plane_agree_at_any_zoom_and_density(
    browser: Browser, app: App, size: tuple[int, int], ratio: int
) -> None:
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, device_scale_factor=ratio)
    plane = open_plane(context.new_page(), app, "model=digits-2d&layer=none")
    assert plane.ask("plane.scene.width === Math.round(plane.view.width * devicePixelRatio)")
    worst = plane.ask(
        """(() => { let worst = 0; const V = plane.view.constructor;
        for (const [w, h] of [[600, 600], [358, 358], [800, 300], [311, 700]]) for (const half of [0.01, 1, 3.5, 40]) {
          const view = new V(1.7, -2.3, half, w, h);
          for (let i = 0; i < 50; i++) {
            const p = [Math.random() * w, Math.random() * h], q = view.toPixels(view.toLatent(...p));
            worst = Math.max(worst, Math.abs(p[0] - q[0]), Math.abs(p[1] - q[1]));
            view.zoom(1 + Math.random(), ...p, 1e-3, 1e3);
            const r = view.toPixels(view.toLatent(...p));
            worst = Math.max(worst, Math.abs(p[0] - r[0]), Math.abs(p[1] - r[1]));
          } }
        return worst; })()"""
    )
    assert worst < 1e-6
    for factor in (1, 4):
        plane.ask(f"plane.zoom({factor}, 100, 150)")
        found, expected = plane.ask(COLOURS_AT_POINTS)
        assert len(found) > 5
        hits = [np.abs(np.array(a) - b).max() <= 3 for a, b in zip(found, expected, strict=True)]
        assert np.mean(hits) > 0.9  # a contour or an ellipse may cross one
    context.close()


def test_a_box_selects_the_points_inside_by_pointer_and_by_keyboard(page: Page, app: App) -> None:
    plane, thing = open_plane(page, app, "model=digits-2d"), thing_of("digits-2d")
    page.get_by_role("button", name="Box").click()
    plane.drag([(150, 120), (200, 200), (380, 330)])
    eventually(lambda: "lasso" in plane.said())
    address, notices = read(plane.said(), "digits-2d", limits(thing))
    assert notices == []
    held = Opened(folder_of("digits-2d"), thing, flat(thing, address), address).inside()
    left, top = plane.ask("plane.view.toLatent(150, 120)")
    right, bottom = plane.ask("plane.view.toLatent(380, 330)")
    x, y = thing.means.T
    expected = (x > left) & (x < right) & (y > bottom) & (y < top)
    assert 10 < expected.sum() < 250
    assert held is not None
    assert torch.equal(held, expected)
    eventually(lambda: plane.ask("Boolean(plane.inside)"))
    bits = np.unpackbits(np.array(plane.ask("Array.from(plane.inside)"), dtype=np.uint8), bitorder="little")
    assert np.array_equal(bits[: len(expected)].astype(bool), expected.numpy())
    plane.marks.press("Escape")
    eventually(lambda: "lasso" not in plane.said())
    plane.marks.focus()
    plane.marks.press("b")
    for key in ["ArrowRight"] * 8 + ["ArrowDown"] * 8:
        plane.marks.press(key)
    plane.marks.press("b")
    eventually(lambda: "lasso" in plane.said())
    corners = [[float(value) for value in corner.split("_")] for corner in plane.said()["lasso"].split("~")]
    reach = 8 / 25 * plane.ask("plane.plane.extent")
    assert np.array(corners) == pytest.approx(np.array([[0, 0], [reach, 0], [reach, -reach], [0, -reach]]), abs=1e-3)


def test_dragging_pans_and_the_wheel_zooms_where_the_pointer_is(page: Page, app: App) -> None:
    plane = open_plane(page, app, "model=digits-2d")
    plane.marks.focus()
    before = plane.ask("plane.view.toLatent(200, 200)")
    plane.drag([(200, 200), (230, 230), (260, 180)])
    assert plane.ask("plane.view.toLatent(260, 180)") == pytest.approx(before, abs=1e-9)
    here = plane.ask("plane.view.toLatent(260, 180)")
    page.mouse.wheel(0, -400)
    eventually(lambda: plane.ask("plane.view.half") < 0.8 * plane.ask("plane.plane.extent"))
    assert plane.ask("plane.view.toLatent(260, 180)") == pytest.approx(here, abs=1e-9)
    eventually(lambda: "view" in plane.said())
    assert plane.pins() == []  # a drag is no click
    page.get_by_role("button", name="Reset").click()
    eventually(lambda: "view" not in plane.said())


def test_fingers_tap_drag_and_pinch_on_a_phone(browser: Browser, app: App) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, device_scale_factor=3
    )
    page = context.new_page()
    plane = open_plane(page, app, "model=digits-2d&hidden=0_1_2_3_4_5_6_7_8_9")
    fingers, box = hand(page), plane.marks.bounding_box()
    assert box is not None

    def touch(kind: str, *places: tuple[float, float]) -> None:
        fingers(kind, *[(box["x"] + x, box["y"] + y) for x, y in places])

    before = plane.ask("plane.view.toLatent(120, 150)")
    touch("Start", (120, 150))
    for step in range(1, 9):
        touch("Move", (120 + 10 * step, 150 + 5 * step))
    touch("End")
    assert plane.ask("plane.view.toLatent(200, 190)") == pytest.approx(before, abs=1e-9)
    half, between = plane.ask("plane.view.half"), plane.ask("plane.view.toLatent(180, 180)")
    touch("Start", (160, 180), (200, 180))
    for step in range(1, 9):
        touch("Move", (160 - 5 * step, 180), (200 + 5 * step, 180))
    touch("End")
    assert plane.ask("plane.view.half") == pytest.approx(half / 3, rel=1e-6)  # fingers are three times as far apart
    assert plane.ask("plane.view.toLatent(180, 180)") == pytest.approx(between, abs=1e-6)
    assert plane.pins() == []  # neither is a tap
    assert plane.marks.bounding_box() == box  # and the page has not moved under the fingers
    place = plane.ask("plane.view.toLatent(100, 220)")
    touch("Start", (100, 220))
    touch("End")
    eventually(lambda: len(plane.pins()) == 1)
    assert numbers(plane.pins()[0]) == pytest.approx(np.array(place), abs=1e-3)
    context.close()


def test_a_link_restores_what_was_seen(page: Page, app: App) -> None:
    query = (
        "model=mnist-20d&axes=3_15&layer=holes&view=0.5_-0.25_1.5&hidden=1_7&pins=i12~"
        + "_".join(["0.25"] * 20)
        + "&chosen=1&lasso=-1_-1~1_-1~0_1.5"
    )
    plane = open_plane(page, app, query)
    page.locator(".scale span").first.wait_for()
    assert [plane.ask(f"plane.view.{name}") for name in ("x", "y", "half")] == [0.5, -0.25, 1.5]
    assert plane.ask("[...plane.hidden]") == [1, 7]
    expect(page.locator(".tray .pin")).to_have_count(2)
    assert plane.ask("plane.plane.axes") == ["z₄", "z₁₆"]
    page.wait_for_timeout(700)
    assert "&".join(f"{name}={value}" for name, value in plane.said().items()).split("&") == query.split("&")


def test_back_leads_to_the_pin_before(page: Page, app: App) -> None:
    plane, thing = open_plane(page, app, "model=digits-2d"), thing_of("digits-2d")
    for corner in ((1, 1), (-1, -1)):
        count = len(plane.pins())
        plane.click(*free_place(plane, thing, corner))
        eventually(lambda count=count: len(plane.pins()) == count + 1)
    page.go_back()
    expect(page.locator(".tray .pin")).to_have_count(1)


def test_labels_are_hidden_and_shown(page: Page, app: App) -> None:
    plane = open_plane(page, app, "model=digits-2d")
    before = plane.ask("plane.points.nearest(plane.view, ...plane.view.toPixels(plane.points.at(1)), plane.hidden, 3)")
    label = plane.ask("plane.points.labels[1]")
    page.locator(".legend button").nth(label).click()
    expect(page.locator(".legend button").nth(label)).to_have_attribute("aria-pressed", "false")
    after = plane.ask("plane.points.nearest(plane.view, ...plane.view.toPixels(plane.points.at(1)), plane.hidden, 3)")
    assert plane.ask(f"plane.points.labels[{before}]") == label
    assert after is None or plane.ask(f"plane.points.labels[{after}]") != label
    eventually(lambda: plane.said().get("hidden") == str(label))


def test_the_theme_switches_under_the_plane(page: Page, app: App) -> None:
    plane = open_plane(page, app, "model=digits-2d")
    light = plane.ask("plane.ink")
    page.emulate_media(color_scheme="dark")
    eventually(lambda: sum(plane.ask("plane.ink")[:3]) > sum(light[:3]) + 300)
    assert plane.ask("plane.paper") == "#14171a"


@pytest.fixture(scope="module")
def convolutional(app: App) -> Path:
    """A run whose decoder cannot travel, briefly trained."""
    plain = recipe("digits")
    model = replace(plain.model, network="conv", widths=(8, 16), latent=3)
    config = replace(plain, model=model, schedule=replace(plain.schedule, epochs=2))
    run = create_at(app.runs / "20260101-000001-digits-3d-0123456789abcdef", config)
    assert train(run).state == "finished"
    return run.folder


def test_a_decoder_that_cannot_travel_is_interpolated_and_says_so(page: Page, app: App, convolutional: Path) -> None:
    plane, thing = open_plane(page, app, f"model={convolutional.name}"), explored(convolutional)
    expect(
        page.get_by_text(f"Between {ATLAS_NODES}×{ATLAS_NODES} decoded nodes, interpolated in the browser")
    ).to_be_visible()
    x, y = free_place(plane, thing, (1, 1))
    plane.move(x, y)
    place = plane.ask("plane.view.toLatent(...plane.pointer)")
    exact = decoded(thing, [place])[0]
    assert np.abs(grey_levels(plane.live) - exact).mean() <= 0.02 * 255
    plane.click(x, y)
    expect(page.locator(".tray .pin")).to_have_count(1)
    assert np.abs(grey_levels(page.locator(".pictures canvas").first) - exact).max() <= 1
    plane.ask("plane.zoomCursor(0.4)")
    plane.move(4, 4)
    expect(page.get_by_text("Outside the atlas of decoded tiles")).to_be_visible()


def test_the_plane_is_saved_as_picture_and_as_vectors(page: Page, app: App, tmp_path: Path) -> None:
    plane = open_plane(page, app, "model=digits-2d&pins=0.5_0.5")
    with page.expect_download() as download:
        page.get_by_role("button", name="PNG").click()
    download.value.save_as(tmp_path / "plane.png")
    assert (tmp_path / "plane.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    with page.expect_download() as download:
        page.get_by_role("button", name="SVG").click()
    download.value.save_as(tmp_path / "plane.svg")
    root = ElementTree.parse(tmp_path / "plane.svg").getroot()
    circles = root.findall("{http://www.w3.org/2000/svg}circle")
    visible = plane.ask(
        """Array.from({length: plane.points.count}).filter((_, i) => {
        const [x, y] = plane.view.toPixels(plane.points.at(i));
        return x > 0 && y > 0 && x < plane.view.width && y < plane.view.height; }).length"""
    )
    assert len(circles) == visible + 1  # and the pin's letter


def test_choices_above_the_plane_know_of_pins_made_since(page: Page, app: App) -> None:
    plane, thing = open_plane(page, app, "model=mnist-20d"), thing_of("mnist-20d")
    for corner in ((1, 1), (-1, -1), (1, -1)):
        count = len(plane.pins())
        plane.click(*free_place(plane, thing, corner))
        eventually(lambda count=count: len(plane.pins()) == count + 1)
    pins = plane.pins()
    page.get_by_role("button", name="Other coordinates").click()
    expect(page.get_by_test_id("stPopoverBody").get_by_role("button", name="Pin C:")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("combobox", name="Plane").click()
    page.get_by_role("option", name="Three points").click()
    eventually(lambda: plane.said().get("kind") == "points")
    assert plane.pins() == pins
    assert plane.said()["anchors"] == "~".join(pins)
