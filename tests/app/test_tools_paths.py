"""The tool of paths: its parts against the paths they stand for, the page, and a search that a click interrupts."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from playwright.sync_api import Locator, Page, expect
from streamlit.testing.v1 import AppTest

from tests.app.conftest import App, opened
from tests.app.driving import eventually, ready
from ui.address import Pin
from ui.tools.films import FINE, changes, codes, film, resampled
from ui.tools.paths import KINDS, chart, ends_of, lengths_said
from ui.tools.picking import drawn
from vae_core.paths import step_lengths

A, B, C = Pin((0.5, 1.2)), Pin(index=12), Pin((-1.0, 0.3))
PINS = {"pins": "0.5_1.2~i12~-1_0.3", "chosen": "0"}
ENDS = ((0.5, 1.2), (-1.0, 0.3))
PATIENCE = 60_000
"""Milliseconds that a search may take on a busy machine."""
ROUGH = torch.tensor([[0.0, 0.0], [1.0, 2.0], [3.0, 1.0]])


@pytest.mark.parametrize(
    ("picked", "ends"), [(None, (B, C)), ((A, B), (A, B)), ((C, A), (C, A)), ((A, Pin((9.0, 9.0))), (B, C))]
)
def test_a_path_joins_the_last_two_pins_until_others_are_picked(picked: tuple | None, ends: tuple) -> None:
    assert ends_of((A, B, C), picked) == ends


@pytest.mark.parametrize("steps", [2, 3, 5, 40])
def test_resampling_interpolates_every_coordinate(steps: int) -> None:
    at = np.linspace(0, 2, steps)
    expected = np.stack([np.interp(at, range(3), column) for column in ROUGH.T.numpy()], axis=1)
    np.testing.assert_allclose(resampled(ROUGH, steps).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["linear", "spherical", "geodesic"])
def test_a_film_goes_from_end_to_end_and_counts_in_grey_levels(kind: str) -> None:
    thing = opened("digits-2d").thing
    found = torch.stack([torch.tensor(end) for end in ENDS]) if kind == "geodesic" else None
    made = film(thing, codes(thing, kind, ENDS, 9, found))
    torch.testing.assert_close(made.z[[0, -1]], torch.tensor(ENDS))
    assert len(made.tiles) == 9
    levels = 255 * thing.decode(made.z)
    torch.testing.assert_close(made.changes, (levels[1:] - levels[:-1]).square().mean(1).sqrt())


def test_lengths_are_said_of_the_path_and_of_the_straight_line() -> None:
    thing = opened("digits-2d").thing
    straight, way = (codes(thing, kind, ENDS, FINE, None) for kind in ("linear", "spherical"))
    lengths = [255 * step_lengths(thing.decode(z)).sum().item() for z in (straight, way)]
    expected = f"grey levels: straight: {lengths[0]:,.1f}, around the centre: {lengths[1]:,.1f}."
    assert expected in lengths_said(thing, "spherical", straight, way)
    assert "around" not in lengths_said(thing, "linear", straight, straight)


@pytest.mark.parametrize("measured", [True, False])
def test_the_chart_stands_under_the_pictures(measured: bool) -> None:
    thing = opened("digits-2d").thing
    made = film(thing, codes(thing, "linear", ENDS, 7, None))
    figure = chart(made, "grey levels", torch.arange(7.0) if measured else None)
    bars, *lines = figure.data
    assert list(bars.x) == [1.5, 2.5, 3.5, 4.5, 5.5, 6.5]
    assert list(bars.y) == changes(thing, made.z).tolist()
    assert [list(line.x) for line in lines] == [[1, 2, 3, 4, 5, 6, 7]] * measured
    assert tuple(figure.layout.xaxis.range) == (0.5, 7.5)  # a picture is a seventh of the width
    assert (figure.layout.margin.l, figure.layout.margin.r) == (0, 0)


def test_a_path_is_drawn_where_the_plane_has_its_codes() -> None:
    page = opened("digits-2d", axes=(1, 0))
    (line,) = drawn(page, torch.tensor(ENDS))
    assert np.allclose(line, [(1.2, 0.5), (0.3, -1.0)])
    embedded = replace(page, drawn=replace(page.drawn, plane=None))
    assert drawn(embedded, torch.tensor(ENDS)) == ()


def plane_data(test: AppTest) -> dict:
    return json.loads(test.get("bidi_component")[0].proto.json)


def pick_kind(test: AppTest, kind: str) -> None:
    next(group for group in test.get("button_group") if group.label == "Path").set_value(kind).run()
    assert not test.exception


def lengths(test: AppTest) -> str:
    return next((text.value for text in test.caption if text.value.startswith("Length of the decoded")), "")


def test_fewer_than_two_pins_are_asked_for(explore: Callable[..., AppTest]) -> None:
    assert "click two places" in explore(model="digits-2d", tool="paths", pins="0_0").info[0].value


@pytest.mark.parametrize(("dataset", "latent"), [("digits", 2), ("digits", 64), ("cells", 1), ("signals", 3)], ids=str)
def test_every_kind_of_path_of_every_kind_of_model(
    explore: Callable[..., AppTest], trained: Callable[..., str], dataset: str, latent: int
) -> None:
    test = explore(model=trained(dataset, latent=latent), tool="paths", pins="i1~i7")
    for kind, name in KINDS.items():
        pick_kind(test, kind)
        eventually(lambda: bool(test.run().get("plotly_chart") or test.warning))
        if latent == 1 and test.warning:
            assert "use a linear path" in test.warning[0].value
        else:
            assert f"{name.lower()}: " in lengths(test)
            assert len(plane_data(test)["paths"]) == 1


def test_a_step_is_looked_at_and_pinned_and_the_path_stays(explore: Callable[..., AppTest]) -> None:
    test = explore(model="digits-2d", tool="paths", **PINS)
    before, heading = lengths(test), plane_data(test)["selection"]["heading"]
    next(slider for slider in test.slider if slider.label == "Step").set_value(3).run()
    looked = plane_data(test)["selection"]
    assert looked["heading"] != heading
    next(button for button in test.button if button.label == "Pin this step").click().run()
    assert test.query_params["chosen"] == "3"
    assert plane_data(test)["selection"]["at"] == looked["at"]
    assert lengths(test) == before
    ends = [box.value for box in test.selectbox if box.label in ("From", "To")]
    assert ends == [B, C]


def test_equal_ends_and_missing_ways_are_explained(explore: Callable[..., AppTest]) -> None:
    same = explore(model="digits-2d", tool="paths", pins="1_1~2_2")
    next(box for box in same.selectbox if box.label == "From").set_value(Pin((2.0, 2.0))).run()
    assert "choose two different pins" in same.info[0].value
    opposite = explore(model="digits-2d", tool="paths", pins="1_1~-1_-1")
    pick_kind(opposite, "spherical")
    assert opposite.warning[0].value.startswith("There is no such path: the ends of a spherical path lie on opposite")


def test_another_choice_interrupts_a_search(app: App, page: Page) -> None:
    straight, found = page.get_by_text("straight: "), page.get_by_text("following the decoder: ")
    searching = page.get_by_text("Looking for the shortest path")
    ready(page, f"{app.url}/explore?model=mnist-20d&tool=paths&pins=i41~i43")
    straight.wait_for()
    page.get_by_text("Following the decoder").click()
    searching.wait_for()
    page.get_by_role("radio", name="Straight").click()
    straight.wait_for()
    expect(searching).to_have_count(0, timeout=PATIENCE)
    page.get_by_text("Following the decoder").click()
    found.wait_for(timeout=PATIENCE)
    with page.expect_download() as saved:
        page.get_by_text("Animation GIF").click()
    assert saved.value.path().read_bytes().startswith(b"GIF89a")


def test_the_chart_is_as_wide_as_the_filmstrip(app: App, page: Page) -> None:
    ready(page, f"{app.url}/explore?model=digits-2d&tool=paths&pins=i1~i3")
    parts = [page.get_by_test_id("stImage").locator("img"), page.get_by_test_id("stPlotlyChart").locator(".main-svg")]

    def ends(part: Locator) -> tuple[float, float]:
        box = part.first.bounding_box() or {"x": 0.0, "width": 0.0}
        return box["x"], box["x"] + box["width"]

    for part in parts:
        part.first.wait_for()
    eventually(lambda: np.allclose(*map(ends, parts), atol=1) and ends(parts[0])[1] > 0)
