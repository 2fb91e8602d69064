"""The tool of traversals: rows against codes built one by one, and the page for every kind of model."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from tests.app.conftest import opened
from ui.resources import version
from ui.tools.strips import GAP, strip
from ui.tools.traversals import ACROSS, FEW, Rows, charts, row_name, row_tiles, rows_of
from vae_core.datasets import DATASETS


@pytest.mark.parametrize("source", ["prior", "posterior"])
def test_rows_move_one_dimension_each_the_one_that_carries_most_first(source: str) -> None:
    page = opened("mnist-20d")
    thing, centre = page.thing, tuple(torch.linspace(-1, 1, 20).tolist())
    made = rows_of(page.folder, version(page.folder), "sample", centre, source, 0.05, 5, 4)
    weights = thing.weights.numpy()
    assert made.order.tolist() == np.argsort(-weights, kind="stable")[:4].tolist()
    for axis, values, decoded in zip(made.order.tolist(), made.values, made.decoded, strict=True):
        of = thing.means[:, axis].numpy()
        ends = np.quantile(of, [0.05, 0.95]) if source == "posterior" else [-1.6448536, 1.6448536]
        np.testing.assert_allclose(values.numpy(), np.linspace(*ends, 5), atol=1e-5)
        for value, profile in zip(values, decoded, strict=True):
            z = torch.tensor(centre)
            z[axis] = value
            torch.testing.assert_close(profile, thing.decode(z[None])[0], atol=1e-5, rtol=1e-4)


def test_names_say_what_a_dimension_carries_and_which_are_dead() -> None:
    thing = opened("mnist-20d").thing
    names = [row_name(thing, axis) for axis in thing.weights.argsort(descending=True).tolist()]
    assert names[0].endswith(f"{thing.weights.max():.2f} nats")
    assert sum("dead" in name for name in names) == int((thing.weights < 0.01).sum()) > 0


def test_a_strip_gives_every_tile_the_same_share_of_the_width() -> None:
    tiles = torch.arange(1, 4, dtype=torch.uint8)[:, None, None].expand(3, 5, 4).contiguous()
    made = strip(tiles)
    assert made.shape == (5 + 2 * GAP, 3 * (4 + 2 * GAP))
    shares = made.reshape(made.shape[0], 3, -1)
    assert [np.unique(shares[:, k]).tolist() for k in range(3)] == [[0, 1], [0, 2], [0, 3]]
    assert shares[GAP, 1].tolist() == [0] * GAP + [2] * 4 + [0] * GAP


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_profiles_are_lines_in_their_units_one_panel_a_dimension(rows: int) -> None:
    spec = DATASETS["signals"]
    decoded = torch.rand(rows, 3, 64, generator=torch.Generator().manual_seed(1))
    made = Rows(torch.arange(rows), torch.tensor([[-1.0, 0.0, 1.0]] * rows), decoded)
    figure = charts(made, spec, [f"z{k}" for k in range(rows)])
    lines = [np.array(line.y) for line in figure.data]
    np.testing.assert_allclose(lines, decoded.flatten(0, 1).numpy() * 16 - 4, atol=1e-5)
    assert len({line.xaxis for line in figure.data}) == rows
    assert len([axis for axis in figure.select_xaxes() if axis.domain[0] == 0]) == -(-rows // min(ACROSS, rows))
    assert row_tiles(made, spec).shape[:2] == (rows, 3)


@pytest.mark.parametrize(
    ("dataset", "method", "latent"),
    [
        ("digits", "vae", 64),
        ("digits", "vae", 1),
        ("digits", "layers", 4),
        ("digits", "vamp", 3),
        ("digits", "autoencoder", 3),
        ("digits", "wake_sleep", 5),
        ("cells", "vae", 30),
        ("signals", "vae", 1),
    ],
)
def test_every_kind_of_model_shows_its_rows(
    explore: Callable[..., AppTest], trained: Callable[..., str], dataset: str, method: str, latent: int
) -> None:
    name = trained(dataset, method, latent=latent)
    size = opened(name).thing.means.shape[1]
    test = explore(model=name, tool="traversals", pins="i1")
    profile = dataset != "digits"
    assert len(test.get("image")) == (0 if profile else min(size, FEW))
    assert len(test.get("plotly_chart")) == int(profile)
    sources = next(box for box in test.selectbox if box.label == "Range of the").options
    assert ("Prior" in sources) is (method != "autoencoder")
    toggle = [toggle for toggle in test.toggle if toggle.label == f"Show all {size}"]
    assert len(toggle) == int(size > FEW)
    for each in toggle:
        each.set_value(True).run()
        assert not test.exception
        assert len(test.get("image")) == (0 if profile else size)


def test_a_pin_can_be_the_centre(explore: Callable[..., AppTest]) -> None:
    test = explore(model="digits-2d", tool="traversals", pins="i5~2_2")
    around = next(box for box in test.selectbox if box.label == "Around")
    assert around.options[0] == "Centre of the prior"
    before = [image.value for image in test.image]
    around.select_index(2).run()
    assert not test.exception
    assert [image.value for image in test.image] != before
