"""The Explore page through Streamlit's own harness: the address is the state, whoever wrote it."""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from streamlit.testing.v1 import AppTest

from tests.app.conftest import opened
from tests.app.messages import run_of
from ui.address import KINDS, Address, Pin, View, read
from ui.planes import axis_name, limits
from ui.resources import pretrained_names
from ui.words import nats
from vae_core import runs
from vae_core.quadrature import log_evidence

Explore = Callable[..., AppTest]
ANCHORS = tuple(tuple(float(k == axis) for k in range(20)) for axis in range(3))
RICH = Address(
    "mnist-20d", "points", (7, 3), tuple(k / 8 for k in range(20)), ANCHORS, "sample", "ratio", View(0.5, -0.25, 1.5),
    (1, 9), (Pin(ANCHORS[1]), Pin(index=12)), 1, ((-1.0, -1.0), (1.0, -1.0), (0.0, 1.5)), "lattice",
)  # fmt: skip


def said(test: AppTest) -> dict[str, str]:
    """The address in the browser."""
    return {name: value if isinstance(value, str) else value[0] for name, value in test.query_params.items()}


def plane(test: AppTest) -> dict[str, Any]:
    """What the page gives to the latent plane."""
    (component,) = [part for part in test.get("bidi_component") if "elbo_room.latent_plane" in str(part.proto)]
    return json.loads(component.proto.json)


def box(test: AppTest, label: str) -> Any:
    return next(box for box in test.selectbox if box.label == label)


def choose(test: AppTest, label: str, value: object) -> AppTest:
    box(test, label).set_value(value).run()
    assert not test.exception
    return test


def press(test: AppTest, label: str) -> AppTest:
    next(button for button in test.button if button.label.startswith(label)).click().run()
    assert not test.exception
    return test


def texts(test: AppTest, kind: str) -> list[str]:
    elements: Any = test.get(kind)
    return [element.value for element in elements]


@pytest.mark.parametrize("name", pretrained_names())
def test_every_pretrained_model_opens(explore: Explore, name: str) -> None:
    test = choose(explore(), "Model", name)
    assert said(test) == {"model": name}
    assert f"/api/models/{name}/plane?" in plane(test)["url"]
    assert texts(test, "error") == texts(test, "warning") == []


def test_a_kind_of_plane_goes_to_the_address(explore: Explore) -> None:
    """What was said of the other plane goes."""
    test = explore(model="mnist-20d", view="1_1_1", lasso="0_0~1_0~0_1", layer="holes")
    choose(test, "Plane", "principal")
    assert said(test) == {"model": "mnist-20d", "kind": "principal", "layer": "holes"}
    assert "kind=principal" in plane(test)["url"]
    choose(test, "Plane", "axes")
    assert said(test) == {"model": "mnist-20d", "layer": "holes"}
    assert "kind" not in plane(test)["url"]


def test_a_layer_goes_to_the_address_and_the_plane_stays(explore: Explore) -> None:
    params = {"model": "mnist-2d", "view": "0.5_0.5_1", "pins": "i3", "chosen": "0"}
    test = explore(**params)
    url = plane(test)["url"]
    choose(test, "Underneath", "magnification")
    assert said(test) == params | {"layer": "magnification"}
    assert plane(test)["layer"] == "magnification"
    assert plane(test)["url"] == url


def test_axes_go_to_the_address_and_change_places(explore: Explore) -> None:
    """The same axis chosen for both directions turns the plane over."""
    test = choose(explore(model="mnist-20d", axes="4_9", view="1_1_1"), "Across", 11)
    assert said(test) == {"model": "mnist-20d", "axes": "11_9"}
    choose(test, "Up", 11)
    assert said(test) == {"model": "mnist-20d", "axes": "9_11"}
    assert [box(test, label).value for label in ("Across", "Up")] == [9, 11]


def test_another_model_keeps_the_layer_and_the_tool_only(explore: Explore) -> None:
    test = choose(explore(**RICH.params()), "Model", "digits-2d")
    assert said(test) == {"model": "digits-2d", "layer": "ratio", "tool": "lattice"}


def test_other_points_drop_the_pins_on_examples(explore: Explore) -> None:
    test = choose(explore(model="digits-2d", pins="i3~1_1", chosen="0", lasso="0_0~1_0~0_1"), "Points", "test")
    assert said(test) == {"model": "digits-2d", "data": "test", "pins": "1_1"}
    assert "data=test" in plane(test)["url"]


def test_a_link_restores_the_state_exactly(explore: Explore) -> None:
    test = explore(**RICH.params())
    assert said(test) == RICH.params()
    shown = plane(test)
    assert [(mark["letter"], mark["chosen"]) for mark in shown["pins"]] == [("A", False), ("B", True)]
    assert shown["pins"][0]["at"] == pytest.approx([math.sqrt(2), 0], abs=1e-4)  # B of the plane, from A
    assert (shown["view"], shown["hidden"], shown["layer"]) == ([0.5, -0.25, 1.5], [1, 9], "ratio")
    assert shown["region"] == [list(corner) for corner in RICH.lasso]
    assert "example 12," in shown["selection"]["heading"]
    test.run()
    assert said(test) == RICH.params()


def test_another_link_in_the_same_tab_is_followed(explore: Explore) -> None:
    test = explore(model="mnist-2d", pins="i1~i2", chosen="1")
    test.query_params.clear()
    test.query_params.update({"model": "mnist-2d", "pins": "i1"})
    test.run()
    assert said(test) == {"model": "mnist-2d", "pins": "i1"}
    assert len(plane(test)["pins"]) == 1


def test_nonsense_opens_the_default_with_a_notice_each(explore: Explore) -> None:
    nonsense = {"kind": "x", "axes": "0_9", "base": "NaN_0", "view": "0_0_0", "pins": "i999", "data": "no", "tool": "?"}
    test = explore(model="digits-2d", layer="holes", **nonsense)
    assert said(test) == {"model": "digits-2d", "layer": "holes"}
    warnings = texts(test, "warning")
    assert len(warnings) == len(nonsense)
    assert all(any(f"“{name}”" in warning for warning in warnings) for name in nonsense)
    choose(test, "Underneath", "none")
    assert texts(test, "warning") == []


@pytest.mark.parametrize("name", ["../secret", "gone", "20250101-000000-digits-2d-0123456789abcdef", "x" * 10_000])
def test_a_model_that_is_gone_says_so(explore: Explore, name: str) -> None:
    test = explore(model=name, pins="0_0", layer="holes")
    (warning,) = texts(test, "warning")
    assert warning.startswith("There is no model “")
    assert len(warning) < 150
    assert said(test) == {"model": "mnist-2d"}


def test_sliders_move_what_the_plane_leaves_out(explore: Explore) -> None:
    """Of the coordinates off the plane the ones that carry most, the most first."""
    test = explore(model="mnist-20d")
    weights = opened("mnist-20d").thing.weights.argsort(descending=True).tolist()
    assert [slider.label for slider in test.slider] == [axis_name(axis) for axis in weights[2:14]]
    test.slider[0].set_value(1.25).run()
    base = ["0"] * 20
    base[weights[2]] = "1.25"
    assert said(test) == {"model": "mnist-20d", "base": "_".join(base)}
    assert test.slider[0].value == 1.25
    press(test, "Centre of the prior")
    assert said(test) == {"model": "mnist-20d"}
    assert test.slider[0].value == 0


def test_a_pin_can_hold_what_the_plane_leaves_out(explore: Explore) -> None:
    test = press(explore(model="mnist-20d", pins="i5"), "Pin A")
    address, _ = read(said(test), "mnist-20d", limits(opened("mnist-20d").thing))
    assert torch.allclose(torch.tensor(address.base), opened("mnist-20d").thing.means[5], atol=5.1e-5)


def test_three_pins_make_a_plane(explore: Explore) -> None:
    pins = [[*point, *[0.0] * 18] for point in ((1.0, 0.0), (0.0, 2.0), (-1.0, -1.0))]
    words = ["_".join(f"{value:g}" for value in pin) for pin in pins]
    test = choose(explore(model="mnist-20d", pins="~".join([*words, "i3"])), "Plane", "points")
    assert said(test)["anchors"] == "~".join(words)
    assert texts(test, "warning") == []
    places = [mark["at"] for mark in plane(test)["pins"]]
    assert places[0] == pytest.approx([0, 0], abs=1e-5)
    assert places[1] == pytest.approx([math.sqrt(5), 0], abs=1e-5)
    test.multiselect[0].set_value([1, 0, 2]).run()
    assert said(test)["anchors"] == "~".join([words[1], words[0], words[2]])


def test_fewer_than_three_pins_say_what_is_missing(explore: Explore) -> None:
    test = choose(explore(model="mnist-20d", pins="i1~i2"), "Plane", "points")
    assert texts(test, "warning") == ["A plane through three points needs three pins: click three places first."]
    assert said(test) == {"model": "mnist-20d", "pins": "i1~i2"}
    assert box(test, "Plane").value == "axes"


def test_points_on_a_line_say_so_and_leave_the_way_out(explore: Explore) -> None:
    test = explore(model="digits-2d", kind="points", anchors="0_0~1_1~2_2")
    (error,) = texts(test, "error")
    assert error.startswith("This view cannot be shown: ")
    assert "line" in error
    choose(test, "Plane", "axes")
    assert texts(test, "error") == []
    assert "kind" not in said(test)


def test_a_typed_place_is_pinned_and_decoded(explore: Explore) -> None:
    test = explore(model="digits-2d")
    test.number_input[0].set_value(0.7).run()
    test.number_input[1].set_value(-1.2).run()
    press(test, "Pin this place")
    assert said(test) == {"model": "digits-2d", "pins": "0.7_-1.2", "chosen": "0"}
    assert plane(test)["selection"]["at"] == pytest.approx([0.7, -1.2])


def test_how_far_a_bound_is_from_the_truth(explore: Explore) -> None:
    test = press(explore(model="digits-2d", pins="i3", chosen="0"), "How far")
    shown = {metric.label: metric.value for metric in test.metric}
    thing = opened("digits-2d").thing
    assert shown["log p(x)"] == nats(log_evidence(thing.model, thing.seen(3), 1e-6).log_p.item())
    parts = [float(shown[name].split()[0].replace("−", "-")) for name in shown]
    assert parts[0] - parts[1] == pytest.approx(parts[2] + parts[3], abs=0.021)
    assert min(parts[2:]) >= 0


def test_a_damaged_model_says_so_and_another_can_be_chosen(explore: Explore) -> None:
    run = run_of()
    weights = runs.load_tensors(runs.weights_file(run.folder))
    run.write_checkpoint(2, {name: t.fill_(math.nan) for name, t in weights.items()}, {})
    test = explore(model=run.id)
    (error,) = texts(test, "error")
    assert error.startswith("This model cannot be opened: its weights or latent values are not finite")
    choose(test, "Model", "digits-2d")
    assert texts(test, "error") == []
    assert said(test) == {"model": "digits-2d"}


def test_a_space_of_one_dimension_offers_its_axis_only(explore: Explore) -> None:
    run = run_of(latent=1)
    test = explore(model=run.id, kind="principal")
    assert len(texts(test, "warning")) == 1
    assert box(test, "Plane").options == [KINDS["axes"]]
    assert said(test) == {"model": run.id}
    assert [field.label for field in test.number_input] == [axis_name(0)]
