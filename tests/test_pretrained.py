"""The shipped models: every number that their folders state is measured again on the real data."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pretrained import build
from vae_core.datasets import DATASETS, Part, Split
from vae_core.publish import held_out_metrics, read_sample
from vae_core.runs import load_model

FOLDERS = {path.parent.name: path.parent for path in sorted(build.HERE.glob("*/config.json"))}
NAMES = sorted({*build.RECIPES, *FOLDERS})
REQUIRED = {
    "test_elbo", "test_elbo_se", "test_rate", "test_distortion", "test_active_units", "test_examples", "draws",
    "latent_dim", "likelihood", "dataset", "seed", "epochs", "train_seconds", "train_device", "sample_examples",
}  # fmt: skip
TARGETS = {"mnist-2d": -134.0, "mnist-20d": -90.0}
"""Test ELBO in nats that the shipped models must reach."""

TOLERANCE = 0.02
"""Nats: the same generator draws the same noise; other processors round a little differently."""

LIMIT = 25 * 1024**2
Load = Callable[[str, Part], Split]


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    assert request.param in FOLDERS, f"pretrained/{request.param} is missing: run `make weights`"
    return request.param


def metrics_of(name: str) -> dict[str, float | int | str]:
    return json.loads((FOLDERS[name] / "metrics.json").read_text())


def test_it_comes_from_a_recipe(name: str) -> None:
    config, _ = load_model(FOLDERS[name])
    assert config == build.RECIPES[name]


def test_stated_numbers(name: str) -> None:
    metrics, config = metrics_of(name), build.RECIPES[name]
    assert set(metrics) == REQUIRED
    assert metrics["dataset"] == config.dataset
    assert metrics["likelihood"] == config.model.likelihood
    assert metrics["latent_dim"] == config.model.latent
    assert (metrics["seed"], metrics["epochs"]) == (config.seed, config.schedule.epochs)
    assert metrics["test_examples"] == DATASETS[config.dataset].sizes.test
    assert metrics["test_elbo"] == pytest.approx(-metrics["test_distortion"] - metrics["test_rate"], abs=1e-3)


def test_numbers_are_measured_again(name: str, load: Load) -> None:
    config, model = load_model(FOLDERS[name])
    load(config.dataset, "test")  # skips where the data cannot be had
    stated, measured = metrics_of(name), held_out_metrics(config, model)
    for key in ("test_elbo", "test_rate", "test_distortion", "test_elbo_se"):
        assert measured[key] == pytest.approx(stated[key], abs=TOLERANCE)
    for key in ("test_active_units", "test_examples", "draws"):
        assert measured[key] == stated[key]


@pytest.mark.parametrize("name", TARGETS, indirect=True)
def test_targets(name: str) -> None:
    assert metrics_of(name)["test_elbo"] >= TARGETS[name]


def test_the_sample_is_of_the_validation_part(name: str, load: Load) -> None:
    with np.load(FOLDERS[name] / "sample.npz", allow_pickle=False) as file:
        assert set(file) == {"x", "y"}
    sample, validation = read_sample(FOLDERS[name]), load(build.RECIPES[name].dataset, "validation")
    assert len(sample) == metrics_of(name)["sample_examples"] == min(2_000, len(validation))
    assert torch.equal(sample.x, validation.x[: len(sample)])
    assert torch.equal(sample.y, validation.y[: len(sample)])


def test_its_files_can_run_no_code(name: str) -> None:
    files = {path.name for path in FOLDERS[name].iterdir()}
    assert files == {"config.json", "model.safetensors", "metrics.json", "README.md", "sample.npz", "manifold.png"}


def test_the_card_shows_the_stated_number(name: str) -> None:
    metrics = metrics_of(name)
    card = (FOLDERS[name] / "README.md").read_text()
    assert f"**{metrics['test_elbo']:.2f} ± {metrics['test_elbo_se']:.2f} nats per image**" in card
    assert card.index(f"# {name}\n") > 0


def test_all_of_it_is_small() -> None:
    files: list[Path] = [path for path in build.HERE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) < LIMIT
