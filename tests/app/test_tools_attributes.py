"""The tool of attribute vectors: groups and vectors against means taken by hand, and the page."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from tests.app.conftest import opened
from ui.resources import version
from ui.tools.attributes import chart, walk
from ui.tools.groups import REGION, REST, attribute, group_name, groups, sides
from vae_core.datasets import DATASETS

Y = torch.tensor([0, 1, 1, 3, 0, 3], dtype=torch.uint8)
IN = torch.tensor([True, True, False, False, False, False])
LASSO = "-5_-5~5_-5~5_0~-5_0"


def test_groups_are_the_region_and_the_labels_that_there_are() -> None:
    assert groups(Y, None) == [0, 1, 3]
    assert groups(Y, IN) == [REGION, 0, 1, 3]
    assert groups(Y, torch.zeros_like(IN)) == [0, 1, 3]


@pytest.mark.parametrize(
    ("towards", "away", "having", "lacking"),
    [
        (1, REST, [1, 2], [0, 3, 4, 5]),
        (1, 3, [1, 2], [3, 5]),
        (REGION, REST, [0, 1], [2, 3, 4, 5]),
        (REGION, 1, [0, 1], [2]),
        (1, REGION, [1, 2], [0]),
        (3, 3, [3, 5], []),
    ],
)
def test_no_example_is_on_both_sides(towards: int, away: int, having: list[int], lacking: list[int]) -> None:
    found = sides(Y, IN, towards, away)
    assert [side.nonzero().flatten().tolist() for side in found] == [having, lacking]


def test_groups_have_names() -> None:
    names = [group_name(DATASETS["signals"], group) for group in (REGION, REST, 0, 2)]
    assert names == ["The selected region", "Everything else", "“Cylinder”", "“Funnel”"]


def test_the_vector_and_its_separation_are_those_of_the_projected_means() -> None:
    page = opened("digits-2d")
    means, y = page.thing.means.double().numpy(), page.thing.data.y
    having, lacking = sides(y, None, 0, 1)
    masks = having.numpy().tobytes(), lacking.numpy().tobytes()
    found = attribute(page.folder, version(page.folder), "sample", *masks)
    a, b = means[having.numpy()], means[lacking.numpy()]
    np.testing.assert_allclose(found.vector.numpy(), a.mean(0) - b.mean(0), atol=1e-5)
    shift = a.mean(0) - b.mean(0)
    along = [group @ shift / np.linalg.norm(shift) for group in (a, b)]
    squares = sum(((group - group.mean()) ** 2).sum() for group in along)
    assert found.separation is not None
    expected = np.linalg.norm(shift) / np.sqrt(squares / (len(a) + len(b) - 2))
    assert found.separation.distance == pytest.approx(expected, rel=1e-5)
    assert found.separation.low < expected < found.separation.high


def test_too_few_examples_still_have_a_vector() -> None:
    page = opened("digits-2d")
    few = torch.zeros(len(page.thing.means), dtype=torch.bool)
    few[:2] = True
    found = attribute(page.folder, version(page.folder), "sample", few.numpy().tobytes(), (~few).numpy().tobytes())
    assert found.separation is None
    assert "5 examples at least" in found.refusal


def test_the_walk_passes_its_start_in_the_middle() -> None:
    start, step = torch.tensor([1.0, 2.0]), torch.tensor([0.5, -1.0])
    way = walk(start, step)
    assert len(way) == 13
    torch.testing.assert_close(way[6], start)
    torch.testing.assert_close(way[[0, -1]], torch.stack([start - 3 * step, start + 3 * step]))


@pytest.mark.parametrize(("dataset", "top"), [("cells", 1.0), ("signals", 12.0)])
def test_profiles_before_and_after_are_lines(dataset: str, top: float) -> None:
    spec = DATASETS[dataset]
    figure = chart(spec, torch.stack([torch.zeros(spec.shape[2]), torch.ones(spec.shape[2])]))
    assert [line.name for line in figure.data] == ["before", "after"]
    assert set(figure.data[1].y) == {top}


def plane_data(test: AppTest) -> dict:
    return json.loads(test.get("bidi_component")[0].proto.json)


@pytest.mark.parametrize(("dataset", "latent"), [("digits", 64), ("digits", 2), ("cells", 1), ("signals", 3)], ids=str)
def test_every_kind_of_model_walks_and_pins(
    explore: Callable[..., AppTest], trained: Callable[..., str], dataset: str, latent: int
) -> None:
    test = explore(model=trained(dataset, latent=latent), tool="attributes")
    assert len(test.get("plotly_chart")) == int(dataset != "digits")
    assert any("**Separation" in text.value for text in test.markdown)
    assert len(plane_data(test)["paths"]) == 1
    assert plane_data(test)["selection"] is None
    next(slider for slider in test.slider if slider.label == "Times the vector").set_value(-2.0).run()
    looked = plane_data(test)["selection"]
    next(button for button in test.button if button.label == "Pin the result").click().run()
    assert not test.exception
    assert test.query_params["chosen"] == "0"
    assert plane_data(test)["selection"]["at"] == pytest.approx(looked["at"], abs=1e-3)


def test_a_selected_region_is_a_group_and_equal_groups_are_refused(explore: Callable[..., AppTest]) -> None:
    test = explore(model="digits-2d", tool="attributes", lasso=LASSO)
    assert test.selectbox[-2].options[0] == "The selected region"
    assert any("**Separation" in text.value for text in test.markdown)
    test.selectbox[-1].set_value(REGION).run()
    assert not test.exception
    assert "choose two different groups" in test.info[0].value
