"""What a browser finds in the messages of a plane, against the models themselves."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.app.messages import message_of, opened, run_of, unpacked
from tests.small import seeded
from ui.address import Address
from ui.payload import ATLAS_NODES, LATTICE_SIDE, atlas_nodes, decoder_message, plane_message, shown
from ui.planes import view_of
from ui.resources import Explored, explored
from vae_core import runs
from vae_core.datasets import DATASETS
from vae_core.runs import DamagedRun

MODELS = ["digits-2d", "mnist-2d", "mnist-20d", "fashion-2d", "fashion-20d"]
MOST_BYTES = 3_000_000
MOST_ERROR = 0.02
PLACES = 500
CORNERS = {"top left": (-1, 1), "top right": (1, 1), "bottom left": (-1, -1), "bottom right": (1, -1)}


@pytest.fixture
def stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """No decoder travels, so that every plane has an atlas."""
    monkeypatch.setattr(Explored, "portable", property(lambda thing: None))  # a property outranks what is cached


def as_bytes(thing: Explored, z: torch.Tensor) -> np.ndarray:
    return (255 * thing.decode(z).clamp(0, 1)).numpy()


def assert_bytes(found: np.ndarray, expected: np.ndarray) -> None:
    """Rounded to whole grey levels; a batch of another size may round the other way."""
    assert np.abs(found - expected).max() <= 0.51


@pytest.mark.parametrize("kind", ["axes", "principal"])
@pytest.mark.parametrize("name", MODELS)
def test_points_lie_where_the_means_do(name: str, kind: str) -> None:
    folder, thing = opened(name)
    _, plane, message = message_of(folder, kind=kind)
    exact = plane.coordinates(thing.means).numpy()
    assert np.abs(message.points - exact).max() <= message.header["quantum"]
    assert message.header["quantum"] == pytest.approx(np.abs(exact).max() / 32767)
    assert np.array_equal(message.blobs["labels"], thing.data.y.numpy())


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("name", ["digits-2d", "fashion-20d"])
def test_tiles_lie_the_right_way_round(name: str, corner: str) -> None:
    """Rows from the top, where v is largest; columns from the left, where u is smallest."""
    assert_corner(name, corner, "tiles")


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("name", ["digits-2d", "fashion-20d"])
def test_the_atlas_lies_the_right_way_round(name: str, corner: str, stays: None) -> None:
    assert_corner(name, corner, "atlas")


def assert_corner(name: str, corner: str, blob: str) -> None:
    """The outermost centres of what lies under the points are half a tile inside of its edge."""
    thing, plane, message = message_of(opened(name)[0])
    across, up = CORNERS[corner]
    row, column = (0 if up > 0 else -1), (0 if across < 0 else -1)
    side, reach = message.header["side"], message.header["reach"]
    centre = torch.tensor([[float(across), float(up)]]) * reach * (1 - 1 / side)
    found = message.grid(blob, side)
    assert_bytes(found[row, column], as_bytes(thing, plane.latents(centre))[0])
    others = [found[r, c].astype(int) for r in (0, -1) for c in (0, -1)]
    assert sum(np.abs(other - others[0]).max() > 5 for other in others) >= 2  # the corners differ


def test_the_outer_nodes_of_an_atlas_lie_on_the_edge(stays: None) -> None:
    header = message_of(opened("digits-2d")[0])[2].header
    assert header["reach"] * (1 - 1 / header["side"]) == pytest.approx(header["extent"])


@pytest.mark.parametrize("name", MODELS)
def test_interpolation_between_nodes_is_close_to_decoding(name: str, stays: None) -> None:
    """Bilinear, as the browser does it, at random places of the plane, in shares of full ink."""
    folder, _ = opened(name)
    thing, plane, message = message_of(folder)
    count, extent = message.header["side"], message.header["extent"]
    places = np.random.default_rng(1).uniform(-extent, extent, (PLACES, 2))
    column, row = ((np.array([1, -1]) * places / extent + 1) / 2 * (count - 1)).T
    c, r = (np.minimum(np.floor(index).astype(int), count - 2) for index in (column, row))
    across, down = (column - c)[:, None], (row - r)[:, None]
    atlas = message.grid("atlas", count).astype(float)
    upper = (1 - across) * atlas[r, c] + across * atlas[r, c + 1]
    lower = (1 - across) * atlas[r + 1, c] + across * atlas[r + 1, c + 1]
    exact = as_bytes(thing, plane.latents(torch.from_numpy(places).float()))
    error = np.abs((1 - down) * upper + down * lower - exact).mean() / 255
    print(f"{name}: mean absolute error of interpolation {error:.4f}")
    assert error <= MOST_ERROR


@pytest.mark.parametrize("atlas", [False, True], ids=["travels", "stays"])
@pytest.mark.parametrize("name", MODELS)
def test_a_plane_stays_small(name: str, atlas: bool, request: pytest.FixtureRequest) -> None:
    if atlas:
        request.getfixturevalue("stays")
    folder, thing = opened(name)
    message = plane_message(thing, view_of(folder, Address(name)))
    assert len(message) <= MOST_BYTES
    assert ("atlas" in unpacked(message).blobs) is atlas


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_plane_with_all_examples_would_stay_small(dataset: str) -> None:
    spec = DATASETS[dataset]
    size, count = math.prod(spec.shape), spec.sizes.train + spec.sizes.validation + spec.sizes.test
    assert 5 * count + size * max(LATTICE_SIDE, atlas_nodes(size)) ** 2 + 20_000 <= MOST_BYTES


def test_an_atlas_of_large_examples_has_fewer_nodes() -> None:
    assert [atlas_nodes(size) for size in (1, 64, 784)] == [ATLAS_NODES] * 3
    assert [atlas_nodes(size) for size in (3_072, 12_288)] == [24, 12]


def numbers_of(message: bytes | None) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The header of a decoder's message, and weight, bias, weight … by the sizes that it lists."""
    assert message is not None
    found = unpacked(message)
    flat = found.blobs["numbers"].view("<f2" if found.header["half"] else "<f4")
    arrays: list[np.ndarray] = []
    for inputs, outputs in found.header["layers"]:
        weight, bias, flat = np.split(flat, [inputs * outputs, (inputs + 1) * outputs])
        arrays += [weight.reshape(outputs, inputs), bias]
    assert not len(flat)
    return found.header, arrays


@pytest.mark.parametrize("name", [*MODELS, "a run"])
def test_a_decoder_s_message_holds_its_weights(name: str) -> None:
    thing = explored(run_of(activation="gelu").folder) if name == "a run" else opened(name)[1]
    header, arrays = numbers_of(decoder_message(thing))
    expected = list(thing.model.decoder.trunk.parameters())
    assert all(np.array_equal(a, e.numpy()) for a, e in zip(arrays, expected, strict=True))
    assert header["half"] is (name != "a run")
    assert header["activation"] == thing.config.model.activation


def test_what_cannot_travel_gives_an_atlas_instead() -> None:
    run = run_of(network="conv", widths=(4,))
    thing, _, message = message_of(run.folder)
    assert decoder_message(thing) is None
    assert {"points", "labels", "atlas"} == set(message.blobs)
    assert "interpolated" in message.header["note"]


def test_a_slice_holds_the_other_coordinates() -> None:
    folder, thing = opened("mnist-20d")
    base = torch.randn(20, generator=seeded(1))
    _, _, message = message_of(folder, axes=(7, 3), base=tuple(base.tolist()))
    extent, z = message.header["extent"], base.clone()
    z[7], z[3] = -extent * (1 - 1 / LATTICE_SIDE), extent * (1 - 1 / LATTICE_SIDE)
    assert_bytes(message.grid("tiles", LATTICE_SIDE)[0, 0], as_bytes(thing, z[None])[0])
    origin, basis = (torch.tensor(message.header[name]) for name in ("origin", "basis"))
    torch.testing.assert_close(origin + torch.tensor([z[7], z[3]]) @ basis, z)
    assert message.header["axes"] == ["z₈", "z₄"]


def test_the_principal_plane_is_that_of_a_singular_value_decomposition() -> None:
    _, _, message = message_of(opened("fashion-20d")[0], kind="principal")
    means = opened("fashion-20d")[1].means.double().numpy()
    leading = np.linalg.svd(means - means.mean(0), full_matrices=False)[2][:2]
    assert np.abs(np.diag(np.array(message.header["basis"]) @ leading.T)) == pytest.approx([1, 1], abs=1e-4)
    assert message.header["origin"] == pytest.approx(means.mean(0).tolist(), abs=1e-4)


def test_a_plane_through_three_points_holds_them() -> None:
    folder, _ = opened("mnist-20d")
    points = torch.randn(3, 20, generator=seeded(2))
    _, _, message = message_of(folder, kind="points", anchors=tuple(tuple(p.tolist()) for p in points))
    origin, basis = (torch.tensor(message.header[name]) for name in ("origin", "basis"))
    placed = (points - origin) @ basis.T
    torch.testing.assert_close(placed @ basis + origin, points, atol=1e-4, rtol=0)
    assert placed[0].abs().max() < 1e-4
    assert placed[1].tolist() == pytest.approx([(points[1] - points[0]).norm().item(), 0], abs=1e-4)
    assert placed[2, 1] > 0


def test_a_space_of_one_dimension_is_drawn_as_a_band() -> None:
    thing, _, message = message_of(run_of(latent=1).folder)
    assert message.header["axes"] == ["z₁", ""]
    assert np.abs(message.points[:, 0] - thing.means[:, 0].numpy()).max() <= message.header["quantum"]
    assert np.ptp(message.points[:, 1]) == pytest.approx(2, abs=1e-3)
    tiles = message.grid("tiles", LATTICE_SIDE)
    assert (tiles == tiles[:1]).all()
    assert (tiles[0, 0] != tiles[0, -1]).any()


@pytest.mark.parametrize("part", ["recognition", "generative"])
def test_a_model_that_diverged_says_so(part: str) -> None:
    """Whichever of its networks holds numbers that are none."""
    run = run_of()
    weights = runs.load_tensors(runs.weights_file(run.folder))
    broken = {name: t.fill_(math.nan) if name.startswith(part) else t for name, t in weights.items()}
    run.write_checkpoint(2, broken, {})
    with pytest.raises(DamagedRun, match="not finite: the training diverged"):
        explored(run.folder)


def test_examples_are_shown_as_bytes() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    assert shown(levels) is levels
    assert torch.equal(shown(levels / 255), levels)


def test_an_embedding_has_points_only() -> None:
    folder, thing = opened("digits-2d")
    drawn = replace(view_of(folder, Address("digits-2d")), plane=None)
    message = unpacked(plane_message(thing, drawn))
    assert set(message.blobs) == {"points", "labels"}
    assert "no way back" in message.header["note"]
