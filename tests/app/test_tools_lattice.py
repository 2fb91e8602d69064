"""The tool of lattices and samples: its pictures against models decoded place by place, and its controls."""

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from streamlit.testing.v1 import AppTest

from tests.app.conftest import opened
from ui.lattices import (
    SHARP,
    Grid,
    decodable,
    lattice_picture,
    lattice_words,
    samples_picture,
    why_not_equal,
    why_one_temperature,
)
from ui.planes import Drawn, Opened
from ui.resources import version
from ui.tiles import tiles
from vae_core.defaults import METHODS

MODEL = "digits-2d"
SIDE = 8
"""Pixels of the digits."""


def pixels(png: bytes, count: int) -> np.ndarray:
    """The tiles of a picture [row, column, H, W], in their own pixels."""
    grey = np.asarray(Image.open(io.BytesIO(png)))
    scale = grey.shape[0] // (count * SIDE)
    small = grey[::scale, ::scale]
    np.testing.assert_array_equal(small.repeat(scale, 0).repeat(scale, 1), grey)
    return small.reshape(count, SIDE, count, SIDE).transpose(0, 2, 1, 3)


def decoded(found: Opened, places: list[tuple[float, float]]) -> np.ndarray:
    values = found.thing.decode(torch.tensor(places).float()) * 255
    return values.reshape(-1, SIDE, SIDE).numpy()


def drawn_lattice(found: Opened, grid: Grid) -> np.ndarray:
    plane = found.drawn.plane
    assert plane is not None
    origin, basis = tuple(plane.origin.tolist()), tuple(tuple(row) for row in plane.basis.tolist())
    return pixels(lattice_picture(found.folder, version(found.folder), origin, basis, grid), grid.side)


def embedded() -> Opened:
    found = opened(MODEL)
    drawn = Drawn(("t-SNE 1", "t-SNE 2"), None, found.drawn.points, 3.5, [])
    return replace(found, drawn=drawn, address=replace(found.address, kind="tsne"))


@pytest.mark.parametrize(("centre", "half"), [((0.0, 0.0), 3.0), ((-1.0, 0.5), 0.25)])
def test_tiles_lie_where_they_are_decoded_from(centre: tuple[float, float], half: float) -> None:
    found = opened(MODEL)
    steps = half * np.array([-2, 0, 2]) / 3
    places = [(centre[0] + across, centre[1] + up) for up in steps[::-1] for across in steps]
    shown = drawn_lattice(found, Grid(3, False, centre, half)).reshape(9, SIDE, SIDE)
    assert np.abs(shown - decoded(found, places)).max() <= 0.51


def test_tiles_of_equal_probability_lie_at_quantiles() -> None:
    found = opened(MODEL)
    steps = stats.norm.ppf([1 / 8, 3 / 8, 5 / 8, 7 / 8])
    places = [(across, up) for up in steps[::-1] for across in steps]
    shown = drawn_lattice(found, Grid(4, True, (0.0, 0.0), 3.0)).reshape(16, SIDE, SIDE)
    assert np.abs(shown - decoded(found, places)).max() <= 0.51


@pytest.mark.parametrize("side", [5, 20])
def test_samples_depend_on_the_seed_alone(side: int) -> None:
    found = opened(MODEL)
    first, same, other = (samples_picture(found.folder, version(found.folder), side, 1.0, seed) for seed in (0, 0, 1))
    assert first == same
    assert (pixels(first, side) != pixels(other, side)).any(axis=(2, 3)).mean() > 0.9


def test_cold_samples_are_what_the_mean_decodes_to() -> None:
    found = opened(MODEL)
    shown = pixels(samples_picture(found.folder, version(found.folder), 5, 0.0, 0), 5).reshape(25, SIDE, SIDE)
    assert np.abs(shown - decoded(found, [(0.0, 0.0)])).max() <= 0.51


@pytest.mark.parametrize(("least", "side"), [(1, 8), (8, 8), (9, 16), (40, 40)])
def test_tiles_are_enlarged_by_whole_factors(least: int, side: int) -> None:
    levels = torch.arange(128, dtype=torch.uint8).reshape(2, 64)
    made = tiles(levels, (1, 8, 8), least)
    assert made.shape == (2, side, side)
    assert torch.equal(made[:, :: side // 8, :: side // 8].flatten(1), levels)


def test_profiles_stand_apart(trained: Callable[..., str]) -> None:
    """Nothing is drawn to the right of the columns of a profile, nor above it."""
    found = opened(trained("cells"))
    png = samples_picture(found.folder, version(found.folder), 5, 1.0, 0)
    grey = np.asarray(Image.open(io.BytesIO(png)))
    sheet = grey.reshape(5, grey.shape[0] // 5, 5, grey.shape[1] // 5)
    profile = sheet.shape[3] // 30 * 30  # of 30 columns
    assert sheet[..., profile:].max() == 0
    assert sheet[:, : sheet.shape[3] - profile].max() == 0
    assert sheet[..., :profile].max() > 0


def test_an_embedding_has_the_lattice_of_the_leading_axes() -> None:
    drawn, plane = decodable(embedded())
    assert drawn.names == ("z₁", "z₂")
    torch.testing.assert_close(plane.latents(torch.eye(2)), torch.eye(2))


@pytest.mark.parametrize(
    ("method", "equal", "temperature"),
    [
        ("vae", "", ""),
        ("vamp", "“VampPrior”.", ""),
        ("layers", "“Standard normal” under 2 layers.", "layer by layer"),
        ("wake_sleep", "“Bernoulli (binary code)”", "1 only"),
        ("autoencoder", "“None: plain autoencoder”.", ""),
    ],
)
def test_reasons_are_given(trained: Callable[..., str], method: str, equal: str, temperature: str) -> None:
    thing = opened(trained("digits", method)).thing
    assert equal in why_not_equal(thing)
    assert temperature in why_one_temperature(thing)
    assert bool(why_not_equal(thing)) == bool(equal)
    assert bool(why_one_temperature(thing)) == bool(temperature)


@pytest.mark.parametrize(
    ("names", "grid", "words"),
    [
        (("z₁", "z₂"), Grid(4, False, (0.0, 1.0), 2.0), "z₁ from −2.00 to 2.00 to the right, z₂ from −1.00 to 3.00"),
        (("z₁", ""), Grid(4, False, (0.0, 0.0), 2.0), "z₁ from −2.00 to 2.00, row by row"),
        (("z₁", "z₂"), Grid(4, True, (0.0, 0.0), 2.0), "holds 1/16 of the prior’s probability"),
        (("z₁", ""), Grid(4, True, (0.0, 0.0), 2.0), "row by row"),
    ],
)
def test_captions_say_where_the_tiles_lie(names: tuple[str, str], grid: Grid, words: str) -> None:
    found = opened(MODEL)
    assert words in lattice_words(replace(found.drawn, names=names), grid)


def captions(test: AppTest) -> str:
    return " ".join(caption for image in test.image for caption in image.captions)


def press(test: AppTest, option: str) -> None:
    group = next(group for group in test.get("button_group") if option in group.options)
    group.set_value(option).run()
    assert not test.exception


@pytest.mark.parametrize("method", METHODS)
def test_every_kind_of_model_shows_lattice_and_samples_or_says_why_not(
    explore: Callable[..., AppTest], trained: Callable[..., str], method: str
) -> None:
    test = explore(model=trained("digits", method), tool="lattice")
    assert "20×20 means of p(x|z)" in captions(test)
    press(test, "Equal prior probability")
    standard = method in ("vae", "iwae", "flow")
    assert bool(test.info) is not standard
    press(test, "Samples from the prior")
    assert ("10×10 means" in captions(test)) is (method != "autoencoder")
    assert bool(test.info) is (method == "autoencoder")


@pytest.mark.parametrize(("dataset", "latent"), [("cells", 1), ("signals", 3), ("digits", 64)])
def test_profiles_and_spaces_of_any_size(
    explore: Callable[..., AppTest], trained: Callable[..., str], dataset: str, latent: int
) -> None:
    test = explore(model=trained(dataset, latent=latent), tool="lattice")
    test.slider(key="lattice side").set_value(7).run()
    assert "7×7 means of p(x|z)" in captions(test)
    press(test, "Equal prior probability")
    assert "1/49" in captions(test)
    press(test, "Samples from the prior")
    assert "10×10 means" in captions(test)


def test_the_part_in_view_is_decoded_alone(explore: Callable[..., AppTest]) -> None:
    whole, part = explore(model=MODEL, tool="lattice"), explore(model=MODEL, tool="lattice", view="1_-0.5_0.25")
    assert whole.toggle[0].disabled
    part.toggle[0].set_value(True).run()
    assert "z₁ from 0.75 to 1.25 to the right, z₂ from −0.75 to −0.25 upwards" in captions(part)


def test_drawing_again_changes_the_samples(explore: Callable[..., AppTest]) -> None:
    test = explore(model=MODEL, tool="lattice")
    press(test, "Samples from the prior")
    before = test.image[0].value
    test.run()
    assert test.image[0].value == before
    next(button for button in test.button if button.label == "Draw again").click().run()
    assert test.image[0].value != before


def test_pictures_are_sharp() -> None:
    found = opened(MODEL)
    for side in (2, 19, 40):
        png = samples_picture(found.folder, version(found.folder), side, 1.0, 0)
        assert SHARP - side <= Image.open(io.BytesIO(png)).width <= SHARP + side * SIDE
