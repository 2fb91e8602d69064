"""What the export tool writes, read back with the csv module and the reader of addresses."""

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from tests.app.conftest import opened
from ui.address import Address, Pin, View, read
from ui.planes import Drawn, Opened, limits
from ui.tables import cells_of_points, counts, pins_csv, points_csv
from ui.tools.exports import link_to

BOX = ((-0.5, -0.5), (1.5, -0.5), (1.5, 2.0), (-0.5, 2.0))
PINS = (Pin((0.5, 1.25)), Pin(index=12))
LINK = Address(
    "digits-2d", layer="holes", view=View(0.5, -1.0, 0.25), hidden=(3,), pins=PINS, chosen=1, lasso=BOX, tool="exports"
)


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def numbers(row: dict[str, str], names: list[str]) -> np.ndarray:
    return np.array([float(row[name]) for name in names])


def in_box(found: Opened) -> np.ndarray:
    points = found.drawn.points.numpy()
    (left, bottom), _, (right, top), _ = BOX
    return (points > (left, bottom)).all(1) & (points < (right, top)).all(1)


def embedded(found: Opened) -> Opened:
    return replace(found, drawn=Drawn(("t-SNE 1", "t-SNE 2"), None, 2 * found.drawn.points, 3.5, []))


def test_pins_have_all_their_coordinates() -> None:
    found = opened("mnist-20d", pins=(Pin(tuple(float(k) for k in range(20))), Pin(index=7)), axes=(4, 2))
    place, example = rows(pins_csv(found))
    latent = [f"z{axis + 1}" for axis in range(20)]
    assert (place["pin"], place["kind"], place["index"], place["label"]) == ("A", "place", "", "")
    np.testing.assert_array_equal(numbers(place, latent), np.arange(20))
    np.testing.assert_array_equal(numbers(place, ["plane_x", "plane_y"]), [4, 2])
    label = found.thing.spec.classes[int(found.thing.data.y[7])]
    assert (example["pin"], example["kind"], example["index"], example["label"]) == ("B", "example", "7", label)
    np.testing.assert_allclose(numbers(example, latent), found.thing.means[7], atol=1e-6)
    np.testing.assert_allclose(numbers(example, ["plane_x", "plane_y"]), found.thing.means[7][[4, 2]], atol=1e-6)


def test_an_embedding_places_examples_only() -> None:
    found = embedded(opened("digits-2d", pins=PINS))
    place, example = rows(pins_csv(found))
    assert (place["plane_x"], place["plane_y"]) == ("", "")
    np.testing.assert_allclose(numbers(example, ["plane_x", "plane_y"]), found.drawn.points[12], atol=1e-6)


def test_points_of_a_region_are_those_inside() -> None:
    found = opened("digits-2d", lasso=BOX)
    chosen = found.inside()
    assert chosen is not None
    table, expected = rows(points_csv(found, chosen)), in_box(found).nonzero()[0]
    assert [int(row["index"]) for row in table] == expected.tolist()
    labels = [found.thing.spec.classes[label] for label in found.thing.data.y[expected]]
    assert [row["label"] for row in table] == labels
    means = np.array([numbers(row, ["z1", "z2"]) for row in table])
    np.testing.assert_allclose(means, found.thing.means[expected], atol=1e-6)
    np.testing.assert_array_equal(means, [numbers(row, ["plane_x", "plane_y"]) for row in table])


@pytest.mark.parametrize(("model", "count"), [("digits-2d", 5), ("fashion-20d", 3)])
def test_cells_are_counted_before_they_are_written(model: str, count: int) -> None:
    found = opened(model)
    chosen = torch.arange(len(found.thing.data)) < count
    written = list(csv.reader(io.StringIO(points_csv(found, chosen))))
    assert cells_of_points(found, count) == sum(map(len, written))


def test_a_line_has_one_coordinate_on_the_plane(trained: Callable[..., str]) -> None:
    found = opened(trained("cells", latent=1), pins=(Pin((0.5,)),))
    assert list(rows(pins_csv(found))[0]) == ["pin", "kind", "index", "label", "z1", "plane_x"]
    everything = torch.ones(len(found.thing.data), dtype=torch.bool)
    assert list(rows(points_csv(found, everything))[0]) == ["index", "label", "z1", "plane_x"]


def test_labels_are_counted() -> None:
    found = opened("digits-2d", lasso=BOX)
    y, inside = found.thing.data.y.numpy(), in_box(found)
    table = counts(found, torch.from_numpy(inside))
    held = np.array([(y[inside] == label).sum() for label in range(10)])
    assert table["points"] == held.tolist()
    np.testing.assert_allclose(table["share of the region"], held / inside.sum(), rtol=1e-6)
    np.testing.assert_allclose(table["share of the label"], held / np.bincount(y), rtol=1e-6)


def test_an_empty_region_is_counted_too() -> None:
    found = opened("digits-2d")
    table = counts(found, torch.zeros(len(found.thing.data), dtype=torch.bool))
    assert table["share of the region"] == [0.0] * 10


@pytest.mark.parametrize("address", [Address("digits-2d"), LINK])
def test_the_link_says_the_whole_view(address: Address) -> None:
    link = urlsplit(link_to(address))
    params = {name: value for name, (value,) in parse_qs(link.query).items()}
    assert link.path == "/explore"
    assert read(params, params.pop("model"), limits(opened("digits-2d").thing)) == (address, [])


def test_the_page_offers_what_there_is(explore: Callable[..., AppTest]) -> None:
    bare = explore(model="digits-2d", tool="exports")
    assert [(button.label, button.disabled) for button in bare.get("download_button")] == [
        ("Pins as CSV (0)", True),
        ("All points as CSV (256)", False),
    ]
    full = explore(**LINK.params())
    inside = opened("digits-2d", lasso=BOX, hidden=(3,)).inside()
    assert inside is not None
    assert [(button.label, button.disabled) for button in full.get("download_button")] == [
        ("Pins as CSV (2)", False),
        (f"Points of the region as CSV ({inside.sum()})", False),
    ]
    assert full.code[0].value == link_to(LINK)
    assert full.dataframe[0].value["points"].sum() == int(inside.sum())
