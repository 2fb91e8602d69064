"""What is done on the plane becomes an address."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.app.conftest import opened
from ui import acting, state
from ui.acting import acted
from ui.address import LASSO_LIMIT, Address, Pin, View

Act = Callable[..., Address]
START = Address("mnist-20d", axes=(3, 7), pins=(Pin(index=4), Pin(index=9)), chosen=1, hidden=(2,))


@pytest.fixture
def act(monkeypatch: pytest.MonkeyPatch) -> Act:
    """Sends an event as the browser does, to a page that shows START; gives the address after it."""
    shown = opened(START.model, axes=START.axes)
    held: dict[str, Address] = {"address": START}
    monkeypatch.setattr(state, "current", lambda: held["address"])
    monkeypatch.setattr(state, "put", lambda address: held.update(address=address))

    def send(kind: str, view: list[float] | None = None, hidden: tuple[int, ...] = (2,), **event: Any) -> Address:
        monkeypatch.setattr(acting, "act", lambda key: {"kind": kind, "view": view, "hidden": list(hidden), **event})
        acted("plane", replace(shown, address=held["address"]))
        return held["address"]

    return send


def test_a_place_becomes_its_rounded_latent_vector(act: Act) -> None:
    address = act("pin", at=[1.23456789, -0.5], index=None)
    expected = opened(START.model).thing.model.centre()
    expected[3], expected[7] = 1.23456789, -0.5
    assert address.pin is not None
    assert torch.tensor(address.pin.z).allclose(expected, atol=5.1e-5)
    assert address.pin.z[3] == 1.2346
    assert address == replace(START, pins=(*START.pins, address.pin), chosen=2)


def test_a_data_point_becomes_its_number(act: Act) -> None:
    assert act("pin", at=[0.0, 0.0], index=7) == START.with_pin(Pin(index=7))
    assert act("pin", at=[0.0, 0.0], index=4).chosen == 0


def test_pins_are_chosen_dropped_and_cleared(act: Act) -> None:
    assert act("choose", number=0) == replace(START, chosen=0)
    assert act("drop", number=0) == replace(START, pins=(Pin(index=9),), chosen=0)
    assert act("clear") == replace(START, pins=(), chosen=None)


def test_late_clicks_on_pins_that_are_gone_do_no_harm(act: Act) -> None:
    assert act("choose", number=5).pin is None
    assert act("drop", number=5).pins == START.pins


@pytest.mark.parametrize(("corners", "kept"), [(2, 0), (3, 3), (LASSO_LIMIT, LASSO_LIMIT), (61, 31), (1_000, 59)])
def test_a_region_keeps_some_of_its_corners_evenly(act: Act, corners: int, kept: int) -> None:
    region = [[k / 3, -k / 7] for k in range(corners)]
    lasso = act("lasso", region=region).lasso
    assert len(lasso) == kept <= LASSO_LIMIT
    step = -(-corners // LASSO_LIMIT)
    assert [list(corner) for corner in lasso] == [pytest.approx(corner, abs=5.1e-5) for corner in region[::step][:kept]]


def test_the_view_and_hidden_labels_come_with_every_act(act: Act) -> None:
    address = act("view", view=[0.123456, -1.0, 2.5], hidden=(0, 9))
    assert address == replace(START, view=View(0.1235, -1.0, 2.5), hidden=(0, 9))
    assert act("choose", number=0) == replace(START, chosen=0)
