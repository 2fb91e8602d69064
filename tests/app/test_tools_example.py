"""The tool that finds, draws and uploads examples: through Streamlit's harness, and once in a real browser."""

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Page, expect
from streamlit.testing.v1 import AppTest

from tests.app.conftest import App, opened
from tests.app.driving import eventually, open_plane
from ui.address import TOOLS, rounded
from ui.own import mean_pin, own_file, own_row, own_selection, row_text, scaled, seen
from ui.tools.example import PAGE, page_of
from vae_core.datasets import DATASETS
from vae_core.likelihoods import grey

SHOWN = {
    "example": "or by label",
    "compare": "Every pin against A",
    "lattice": "Tiles a side",
    "traversals": "Ordered by KL",
    "paths": "Density of data",
    "attributes": "Separation",
    "exports": "Link to exactly this view",
}
"""Words that each tool shows once it is there."""
LABELS = torch.tensor([0, 1, 1, 0, 2] * 20, dtype=torch.uint8)


def picture(mode: str = "L") -> bytes:
    """A stroke on black, 28×28, as PNG."""
    levels = np.zeros((28, 28), np.uint8)
    levels[6:22, 12:16] = 255
    file = io.BytesIO()
    Image.fromarray(levels).convert(mode).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("label", [0, 1, 2, 3])
def test_pages_go_through_all_examples_of_a_label(label: int) -> None:
    expected = (LABELS.numpy() == label).nonzero()[0].tolist()
    pages = [page_of(LABELS, label, page) for page in range(3)]
    assert [number for numbers, _ in pages for number in numbers] == expected
    assert all(len(numbers) <= PAGE and count == len(expected) for numbers, count in pages)


@pytest.mark.parametrize("dataset", ["cells", "signals"])
def test_a_row_is_read_in_the_units_of_its_source(dataset: str) -> None:
    spec = DATASETS[dataset]
    values = spec.read("validation").x[3]
    own = own_row(row_text(spec, values), dataset, spec)
    np.testing.assert_allclose(own.values, values, atol=2e-3)
    assert own.notes == ()


def test_a_line_of_column_names_is_left_out() -> None:
    spec = DATASETS["cells"]
    row = row_text(spec, spec.read("validation").x[0])
    own = own_file(("\ufeff" + ",".join(spec.features) + "\r\n" + row + "\r\n").encode(), "cells", spec)
    assert torch.equal(own.values, own_row(row, "cells", spec).values)
    assert own.notes == ("first line taken for column names",)


def test_values_beyond_the_training_data_are_cut_and_named() -> None:
    spec = DATASETS["cells"]
    low, high = torch.tensor(spec.low), torch.tensor(spec.high)
    row = low + (high - low) * torch.linspace(0, 1, len(low))
    row[4], row[20] = high[4] + 1, low[20] - 1
    values, notes = scaled(spec, row)
    assert (values[4], values[20]) == (1, 0)
    kept = torch.ones(len(low), dtype=torch.bool).index_fill(0, torch.tensor([4, 20]), False)
    torch.testing.assert_close(values[kept], torch.linspace(0, 1, len(low))[kept], atol=1e-5, rtol=0)
    (note,) = notes
    assert note.startswith("2 outside")
    assert f"{spec.features[4]}, {spec.features[20]}" in note


@pytest.mark.parametrize("text", ["", "1, 2, 3", "a, b\n1, 2"])
def test_rows_of_the_wrong_length_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="but an example has 30"):
        own_row(text, "cells", DATASETS["cells"])


def test_an_own_example_is_encoded_as_any_other() -> None:
    """A picture of the right size is taken as it is; its mean is the encoder's."""
    found = opened("fashion-20d")
    own = own_file(picture(), "fashion", found.thing.spec)
    levels = torch.from_numpy(np.array(Image.open(io.BytesIO(picture())))).flatten()
    assert torch.equal(own.values, levels)
    expected = found.thing.model.encode(grey(levels[None], generator=torch.Generator())).mean[0]
    assert mean_pin(found.thing, own).z == rounded(expected.tolist())
    shown = own_selection(found, own)
    assert shown.heading == "Your picture"
    assert shown.at == pytest.approx(tuple(found.drawn.plane.coordinates(expected[None])[0].tolist()), abs=1e-5)


def test_what_the_model_sees_of_it_is_one_draw() -> None:
    found = opened("mnist-2d")
    own = own_file(picture("RGB"), "mnist", found.thing.spec)
    assert torch.equal(seen(found.thing, own), seen(found.thing, own))
    assert seen(found.thing, own).unique().tolist() == [0, 1]


def plane_data(test: AppTest) -> dict[str, Any]:
    """What the page gives to the latent plane."""
    (plane,) = [part for part in test.get("bidi_component") if "elbo_room.latent_plane" in str(part.proto)]
    return json.loads(plane.proto.json)


def heading(test: AppTest) -> str | None:
    selection = plane_data(test)["selection"]
    return selection and selection["heading"]


def button(test: AppTest, label: str) -> Any:
    return next(button for button in test.button if button.label == label)


def press(test: AppTest, label: str) -> None:
    button(test, label).click().run()
    assert not test.exception


def way(test: AppTest, name: str) -> None:
    next(group for group in test.get("button_group") if "Find" in group.options).set_value(name).run()


def upload(test: AppTest, name: str, content: bytes) -> None:
    way(test, "Upload")
    test.get("file_uploader")[0].upload(name, content).run()
    assert not test.exception


def test_an_example_is_found_by_its_label(explore: Callable[..., AppTest]) -> None:
    test, y = explore(model="mnist-2d", tool="example"), opened("mnist-2d").thing.data.y
    next(box for box in test.selectbox if box.label == "or by label").set_value(7).run()
    sevens = (y == 7).nonzero().flatten().tolist()
    assert [button.label for button in test.button if button.label.isdigit()] == [str(k) for k in sevens[:PAGE]]
    press(test, "Next")
    assert [button.label for button in test.button if button.label.isdigit()] == [
        str(k) for k in sevens[PAGE : 2 * PAGE]
    ]
    press(test, str(sevens[PAGE + 1]))
    assert test.query_params["pins"] == f"i{sevens[PAGE + 1]}"
    press(test, "Previous")
    assert button(test, "Previous").disabled


def test_an_example_is_found_by_its_number(explore: Callable[..., AppTest]) -> None:
    test = explore(model="digits-2d", tool="example", pins="1_1")
    next(field for field in test.number_input if field.label.startswith("Number")).set_value(200).run()
    press(test, "Pin it")
    assert test.query_params["pins"] == "1_1~i200"
    assert test.query_params["chosen"] == "1"


def test_a_picture_is_shown_before_it_is_encoded(explore: Callable[..., AppTest]) -> None:
    test = explore(model="mnist-2d", tool="example", pins="0_0~i3", chosen="0")
    upload(test, "stroke.png", picture("RGB"))
    assert test.image[0].captions == ["What the model is given"]
    assert heading(test) == "z₁ = 0.00, z₂ = 0.00"
    press(test, "Encode it")
    assert heading(test) == "Your picture"
    press(test, "Pin its mean")
    thing = opened("mnist-2d").thing
    expected = mean_pin(thing, own_file(picture("RGB"), "mnist", thing.spec))
    assert test.session_state["explore"].pin == expected
    assert heading(test) not in (None, "Your picture")
    press(test, "Remove")
    assert not test.image


def test_a_refusal_is_a_sentence(explore: Callable[..., AppTest]) -> None:
    test = explore(model="mnist-2d", tool="example")
    upload(test, "letter.png", b"Dear Sir,")
    assert "not a picture" in test.warning[0].value
    upload(test, "stroke.png", picture())
    assert not test.warning


def test_an_own_example_is_for_models_of_its_data_set(explore: Callable[..., AppTest]) -> None:
    test = explore(model="mnist-2d", tool="example")
    upload(test, "stroke.png", picture())
    for model, kept in (("mnist-20d", True), ("fashion-2d", False)):
        test.selectbox[0].select(model).run()
        way(test, "Upload")
        assert bool(test.image) is kept


def test_a_row_of_numbers_can_be_changed_and_encoded(
    explore: Callable[..., AppTest], trained: Callable[..., str]
) -> None:
    test = explore(model=trained("cells", latent=3), tool="example", pins="i5", chosen="0")
    way(test, "Upload")
    assert all("Draw" not in group.options for group in test.get("button_group"))
    row = test.text_area[0].value
    assert row == row_text(DATASETS["cells"], DATASETS["cells"].read("validation").x[5])
    test.text_area[0].set_value(row + ", 1").run()
    assert "The row has 31 numbers" in test.warning[0].value
    test.text_area[0].set_value(row.replace(row.split(", ")[0], "20", 1)).run()
    press(test, "Encode it")
    assert heading(test) == "Your row"


def test_a_drawing_is_encoded_and_gives_way_to_the_next_pin(page: Page, app: App) -> None:
    plane = open_plane(page, app, "model=mnist-2d&tool=example&pins=0_0~i3&chosen=0")
    page.get_by_role("radio", name="Draw", exact=True).click()
    pad = page.locator("canvas.paper")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.2 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.8 * box["height"], steps=5)
    page.mouse.up()
    page.get_by_role("button", name="Use this drawing").click()
    expect(page.get_by_text("cut to the ink and centred by its mass")).to_be_visible()
    page.get_by_role("button", name="Encode it").click()
    expect(page.locator(".side .heading")).to_have_text("Your drawing")
    page.locator(".tray .pin").nth(1).locator("button").first.click()
    expect(page.locator(".side .heading")).to_contain_text("example 3")
    eventually(lambda: plane.said().get("chosen") == "1")


def test_tools_fit_a_narrow_screen(page: Page, app: App) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    open_plane(page, app, "model=mnist-2d&pins=0_0~1_1&lasso=0_0~2_0~2_2~0_2")
    main = page.locator('[data-testid="stMain"]')
    for tool, shows in SHOWN.items():
        page.get_by_role("radio", name=TOOLS[tool], exact=True).click()
        expect(page.get_by_text(shows).first).to_be_visible()
        eventually(lambda: main.evaluate("part => part.scrollWidth <= part.clientWidth"))
