"""What a run is replayed through: moments on axes that stay, their words, and the film of them."""

import io
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image, ImageColor, ImageSequence

from tests.app.conftest import App
from tests.app.messages import run_of, unpacked
from tests.app.test_server import get
from ui.moments import even, moment, reel
from ui.payload import snapshot_message
from ui.replay import film as films
from ui.replay.film import film
from ui.replay.frames import FOOT, INK, PAPER, SIDE, frame
from ui.theme import PALETTE
from vae_core import datasets
from vae_core.datasets import DATASETS
from vae_core.runs import Run, load_model, load_tensors
from vae_core.snapshots import snapshot

STEPS = (1, 10, 100, 250, 400)
AXES = (1, 2)
SPEC = DATASETS["digits"]


@pytest.fixture
def run() -> Run:
    """A code of three dimensions that spreads from snapshot to snapshot, drawn on other axes in the end; one of the
    snapshots has no report of its step."""
    made = run_of(latent=3)
    config, model = load_model(made.folder)
    held_out = datasets.load("digits", "validation")
    first, last = (snapshot(config, model, held_out) | {"axes": torch.tensor(axes)} for axes in ((0, 1), AXES))
    for number, step in enumerate(STEPS):
        grown = {"means": (1 + number) * first["means"], "extent": torch.tensor(3.0 + number % 4)}
        made.write_snapshot(step, (last if step == STEPS[-1] else first) | grown)
        if step != 250:
            made.log_row({"step": step, "epoch": step / 20, "held_out_elbo": number - 30.0, "seconds": 1.0})
    return made


def test_the_view_stays_that_of_the_last_moment_and_holds_all(run: Run) -> None:
    seen = reel(run)
    assert (seen.axes, seen.half) == (AXES, 6.0)
    assert seen.said[1] == "Step 1 · epoch 0.1 · held-out ELBO −30.00 nats"
    assert seen.said[250] == "Step 250"
    assert tuple(seen.said) == STEPS


def test_a_moment_on_other_axes_has_its_points_there_and_no_lattice(run: Run) -> None:
    tensors = load_tensors(run.snapshot_path(10))
    own, other = (unpacked(snapshot_message(run.config(), tensors, axes)) for axes in (None, AXES))
    for message, axes in ((own, (0, 1)), (other, AXES)):
        np.testing.assert_allclose(message.points, tensors["means"].float()[:, axes], atol=1e-3)
    assert own.blobs["tiles"].tobytes() == tensors["lattice"].numpy().tobytes()
    assert len(own.header["prior"]) == 1
    assert "tiles" not in other.blobs
    assert other.header["prior"] == []
    assert other.header["axes"] == ["z₂", "z₃"]
    assert other.blobs["reconstructions"].tobytes() == tensors["reconstructions"].numpy().tobytes()


@pytest.mark.parametrize("axes", ["1_3", "1_1", "1", "-1_0", "0_1_2", "", "٣_1"])
def test_axes_that_there_are_not_are_refused_with_a_sentence(app: App, run: Run, axes: str) -> None:
    copy = Run(app.runs / run.id)
    copy.folder.mkdir(parents=True)
    (copy.folder / "config.json").write_text(run.config().to_json())
    copy.write_snapshot(1, load_tensors(run.snapshot_path(1)))
    url = f"{app.url}/api/runs/{run.id}/snapshots/1"
    status, body, _ = get(f"{url}?axes={axes.encode().hex('%') if not axes.isascii() else axes}")
    assert status == 422
    assert b"axes" in body
    assert get(f"{url}?axes=2_0")[0] == get(url)[0] == 200


@pytest.mark.parametrize(("count", "most"), [(1, 60), (2, 2), (60, 60), (61, 60), (300, 60), (7, 3)])
def test_moments_are_chosen_evenly_with_both_ends(count: int, most: int) -> None:
    steps = tuple(range(0, 10 * count, 10))
    chosen = even(steps, most)
    assert len(chosen) == min(count, most)
    assert (chosen[0], chosen[-1]) == (steps[0], steps[-1])
    gaps = [(after - before) // 10 for before, after in pairwise(chosen)]
    assert max(gaps, default=1) - min(gaps, default=1) <= 1
    assert min(gaps, default=1) >= 1


def colours(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB")).astype(int)


def close(found: np.ndarray, colour: str) -> np.ndarray:
    return np.abs(found - ImageColor.getrgb(colour)).max(-1) <= 12


def test_a_frame_shows_points_in_their_colours_over_the_lattice(run: Run) -> None:
    tensors = load_tensors(run.snapshot_path(10))
    seen = moment(tensors)
    half = 1.1 * seen.drawn.points.abs().max().item()
    picture = colours(frame(seen, SPEC, half, "Step 10"))
    assert picture.shape == (SIDE + FOOT, SIDE, 3)
    places = seen.drawn.points.numpy()
    alone = [i for i, at in enumerate(places) if np.sort(np.abs(places - at).max(1))[1] > half / 60]
    assert len(alone) > 20
    for i in alone:
        x, y = round((places[i][0] / half + 1) * SIDE / 2), round((1 - places[i][1] / half) * SIDE / 2)
        assert close(picture[y - 1 : y + 2, x - 1 : x + 2], PALETTE[tensors["labels"][i]]).any()
    edge = round((1 - seen.drawn.extent / half) * SIDE / 2)
    outside = picture[:SIDE].copy()
    outside[edge - 1 : SIDE - edge + 1, edge - 1 : SIDE - edge + 1] = ImageColor.getrgb(PAPER)
    assert close(outside, PAPER).mean() > 0.99  # but the names of the axes
    assert not close(picture[edge:-edge, edge:-edge], PAPER).mean() > 0.6
    assert close(picture[SIDE:], INK).any()


def test_a_frame_on_other_axes_has_points_only(run: Run) -> None:
    seen = moment(load_tensors(run.snapshot_path(1)), AXES)
    assert close(colours(frame(seen, SPEC, 6.0, ""))[20:SIDE], PAPER).mean() > 0.9


def test_a_film_has_a_frame_for_every_moment_that_is_chosen(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(films, "MOST", 3)
    shares: list[float] = []
    made = Image.open(io.BytesIO(film(run, reel(run), shares.append)))
    assert shares == [0, 1 / 3, 2 / 3]
    assert (made.n_frames, made.info["loop"]) == (3, 0)
    last = frame(moment(load_tensors(run.snapshot_path(STEPS[-1])), AXES), SPEC, 6.0, reel(run).said[STEPS[-1]])
    shown = [(colours(picture), picture.info["duration"]) for picture in ImageSequence.Iterator(made)]
    assert np.array_equal(shown[-1][0], colours(last))
    assert [duration for _, duration in shown] == [120, 120, 120 * 11]
