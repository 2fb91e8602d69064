import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from tests.test_worker import queued
from vae_core import publish, runs
from vae_core.config import Config, ModelConfig, ScheduleConfig
from vae_core.datasets import DATASETS, load
from vae_core.defaults import recipe
from vae_core.evaluation import posterior_means
from vae_core.geometry import CHART_HEIGHT
from vae_core.likelihoods import LIKELIHOODS
from vae_core.publish import held_out_metrics, manifold_picture, read_sample
from vae_core.runs import DamagedRun, Run, load_model
from vae_core.training import generator_for
from vae_core.worker import train

SMALL = Config(model=ModelConfig(widths=(32,), latent=3), schedule=ScheduleConfig(epochs=2), device="cpu", seed=4)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = queued(tmp_path_factory.mktemp("runs") / "run", SMALL)
    assert train(run).state == "finished"
    return run


@pytest.fixture(scope="module")
def published(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("published") / "small-3d"
    publish.publish(run, target)
    return target


def test_the_folder_is_what_hubs_expect(published: Path) -> None:
    names = {path.name for path in published.iterdir()}
    assert names == {"config.json", "model.safetensors", "metrics.json", "README.md", "sample.npz", "manifold.png"}


def test_weights_are_those_of_the_run_in_half_precision(run: Run, published: Path) -> None:
    with safe_open(published / "model.safetensors", framework="pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118
    ours, trained = load_model(published)[1].state_dict(), load_model(run.folder)[1].state_dict()
    for name, value in trained.items():
        assert ours[name].dtype == torch.float32
        assert torch.equal(ours[name], value.half().float())


def test_numbers_are_those_of_the_published_weights(published: Path) -> None:
    config, model = load_model(published)
    metrics = json.loads((published / "metrics.json").read_text())
    assert {name: metrics[name] for name in held_out_metrics(config, model)} == held_out_metrics(config, model)
    assert metrics["test_examples"] == len(load("digits", "test")) == 256
    assert metrics["test_elbo"] == pytest.approx(-metrics["test_distortion"] - metrics["test_rate"], rel=1e-6)
    assert (metrics["seed"], metrics["epochs"], metrics["latent_dim"]) == (4, 2, 3)
    assert metrics["sample_examples"] == 256


def test_the_sample_is_of_the_validation_part(published: Path) -> None:
    sample, validation = read_sample(published), load("digits", "validation")
    assert torch.equal(sample.x, validation.x)
    assert torch.equal(sample.y, validation.y)


def test_the_card_shows_the_numbers(published: Path) -> None:
    card = (published / "README.md").read_text()
    metrics = json.loads((published / "metrics.json").read_text())
    assert card.startswith("---\nlicense: mit\n")
    assert "# small-3d\n" in card
    assert f"**{metrics['test_elbo']:.2f} ± {metrics['test_elbo_se']:.2f} nats per image**" in card
    assert f"| rate (KL) | {metrics['test_rate']:.2f} nats |" in card
    assert "2 epochs of 1,285 images, batch 128" in card
    assert DATASETS["digits"].licence in card


def test_the_picture_is_the_decoded_lattice(published: Path) -> None:
    """Its top left tile is decoded from (-, +) on the two leading axes."""
    config, model = load_model(published)
    picture = np.array(Image.open(published / "manifold.png"))
    side = publish.PICTURE_SIDE
    assert picture.shape == (8 * side, 8 * side)
    sample = read_sample(published)
    observe = LIKELIHOODS["bernoulli"].observe
    generator = generator_for(torch.device("cpu"), publish.EVALUATION_SEED, 1)
    means = posterior_means(model, observe, sample.x, generator=generator)
    first, second = sorted(means.var(0).topk(2).indices.tolist())
    reach = max(3.0, round(1.05 * means[:, [first, second]].abs().amax(1).quantile(0.995).item(), 2))
    z = torch.zeros(1, 3)
    z[0, first], z[0, second] = -reach * (1 - 1 / side), reach * (1 - 1 / side)
    tile = (model.decode(z).mean.reshape(8, 8) * 255).round().numpy()
    assert np.abs(tile - picture[:8, :8]).max() <= 1
    assert np.array_equal(np.array(manifold_picture(config, model, sample)), picture)


@pytest.mark.parametrize("name", ["cells", "signals"])
def test_profiles_are_published_with_a_picture_of_columns(name: str, tmp_path: Path) -> None:
    config = replace(recipe(name), schedule=ScheduleConfig(epochs=1, batch_size=32), device="cpu")
    run = queued(tmp_path / "run", config)
    assert train(run).state == "finished"
    target = tmp_path / "small"
    publish.publish(run, target)
    sample, metrics = read_sample(target), json.loads((target / "metrics.json").read_text())
    assert torch.equal(sample.x, load(name, "validation").x)
    assert metrics["test_examples"] == DATASETS[name].sizes.test
    assert "nats per example** (lower bound on the log density of the values" in (target / "README.md").read_text()
    side, (_, _, width) = publish.PICTURE_SIDE, DATASETS[name].shape
    picture = np.array(Image.open(target / "manifold.png"))
    assert picture.shape == (side * CHART_HEIGHT, side * width)
    assert np.unique(picture[:CHART_HEIGHT, :width], axis=0).shape[0] > 2


def test_a_run_without_weights_is_not_published(tmp_path: Path) -> None:
    run = queued(tmp_path / "run", SMALL)
    with pytest.raises(DamagedRun, match=r"no model\.safetensors"):
        publish.publish(run, tmp_path / "target")


def test_what_fails_half_way_leaves_what_was_published_before(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "small-3d"
    publish.publish(run, target)
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    with monkeypatch.context() as patched:
        patched.setattr(publish, "card", lambda *_: {}["no card"])
        with pytest.raises(KeyError):
            publish.publish(run, target)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["small-3d"]
    publish.publish(run, target)
    assert {path.name for path in target.iterdir()} == set(before)


@pytest.mark.parametrize("content", [b"", b"PK\3\4 half a file", b"\x93NUMPY", b"<html>"])
def test_a_damaged_sample_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sample.npz").write_bytes(content)
    with pytest.raises(DamagedRun, match=r"^sample\.npz cannot be read"):
        read_sample(tmp_path)


def test_any_wrong_bytes_in_a_sample_are_told(published: Path, tmp_path: Path) -> None:
    whole = (published / "sample.npz").read_bytes()
    for place in range(0, len(whole) - 16, len(whole) // 50):
        (tmp_path / "sample.npz").write_bytes(whole[:place] + bytes(16) + whole[place + 16 :])
        with suppress(DamagedRun):
            assert torch.equal(read_sample(tmp_path).x, read_sample(published).x), "silently wrong"


def test_samples_that_are_missing_or_pickled_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DamagedRun, match=r"^sample\.npz cannot be read"):
        read_sample(tmp_path)
    np.savez(tmp_path / "sample.npz", x=np.zeros((2, 2), np.uint8))
    with pytest.raises(DamagedRun, match=r"^sample\.npz cannot be read.*y"):
        read_sample(tmp_path)
    np.savez(tmp_path / "sample.npz", x=np.array([{}], dtype=object), y=np.zeros(1, np.uint8))
    with pytest.raises(DamagedRun, match=r"^sample\.npz cannot be read.*pickle"):
        read_sample(tmp_path)


def test_published_models_are_loaded_as_runs_are(published: Path) -> None:
    config, model = runs.load_model(published)
    assert config == SMALL
    assert model.encode(torch.zeros(1, 64)).mean.shape == (1, 3)
