"""A trained run as a folder for others: config, weights, metrics, model card, a held-out sample and a picture.

The layout is the one that model hubs use: `config.json`, `model.safetensors`, `README.md`.
"""

import json
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vae_core import cards, datasets, durable, runs
from vae_core.config import Config
from vae_core.datasets import DATASETS, Split
from vae_core.evaluation import evaluate, posterior_means
from vae_core.geometry import lattice, leading_axes, mosaic, on_axes, pictures, to_bytes
from vae_core.likelihoods import LIKELIHOODS
from vae_core.model import HelmholtzMachine
from vae_core.moments import plane_extent
from vae_core.training import choose_device, generator_for

SAMPLE = 2_000
PICTURE_SIDE = 20
EVALUATION_DRAWS = 10
EVALUATION_SEED = 20_000


def held_out_metrics(config: Config, model: HelmholtzMachine) -> dict[str, float | int | str]:
    """The held-out numbers on the whole test part, nats per example; the one place that reads it."""
    test = datasets.load(config.dataset, "test")
    observe = LIKELIHOODS[config.model.likelihood].observe
    generator = generator_for(torch.device("cpu"), EVALUATION_SEED)
    result = evaluate(model, observe, test.x, generator=generator, draws=EVALUATION_DRAWS)
    return {
        "test_elbo": result.elbo,
        "test_elbo_se": result.elbo_se,
        "test_rate": result.rate,
        "test_distortion": result.distortion,
        "test_active_units": result.active_units,
        "test_examples": len(test),
        "draws": EVALUATION_DRAWS,
    }


def read_sample(folder: Path) -> Split:
    """The held-out sample of a published model. Raises DamagedRun."""
    try:
        with (folder / "sample.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Split(torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"]))
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise runs.DamagedRun(f"sample.npz cannot be read: {error}") from error


def manifold_picture(config: Config, model: HelmholtzMachine, sample: Split) -> Image.Image:
    """The decoded lattice on the two leading axes, the others at the prior mean."""
    observe = LIKELIHOODS[config.model.likelihood].observe
    generator = generator_for(torch.device("cpu"), EVALUATION_SEED, 1)
    means = posterior_means(model, observe, sample.x, generator=generator)
    axes = leading_axes(means.var(0))
    extent = plane_extent(model, means[:, list(axes)])
    with torch.no_grad():
        points = on_axes(lattice(PICTURE_SIDE, extent), axes, model.centre())
        tiles = pictures(model.decode(points).mean, DATASETS[config.dataset].shape)
    array = to_bytes(mosaic(tiles, PICTURE_SIDE)).numpy()
    return Image.fromarray(array.squeeze(-1))


def card(name: str, config: Config, metrics: dict[str, float | int | str]) -> str:
    """The model card of a published model."""
    kind = cards.noun(config)
    measured = {key.removeprefix("test_"): value for key, value in metrics.items()}
    how = f"{metrics['test_examples']:,} test {kind}s, {metrics['draws']} draws of z each"
    return cards.card(
        name,
        config,
        {"trained in": f"{metrics['train_seconds']:.0f} s"} | cards.result_rows(config, "test", measured, how),
        f"`sample.npz` holds {metrics['sample_examples']:,} {kind}s of the validation part, never trained on.\n"
        f"{cards.data_line(config)} Licence of the weights: MIT.\nMade by `make weights`.",
        front="license: mit\n",
    )


def publish(run: runs.Run, target: Path) -> None:
    """Writes the published folder of a finished run, which appears whole: weights in half precision, numbers measured
    with just these.

    Raises DamagedRun where the run has no weights.
    """
    weights = runs.load_tensors(runs.weights_file(run.folder))
    with durable.appearing(target) as draft:
        (draft / "config.json").write_text(run.config().to_json(), encoding="utf-8")
        runs.save_tensors(draft / "model.safetensors", {name: weight.half() for name, weight in weights.items()})
        _describe(run, draft, target.name)


def _describe(run: runs.Run, folder: Path, name: str) -> None:
    """Adds metrics, model card, sample and picture to recipe and weights."""
    config, model = runs.load_model(folder)
    sample = datasets.load(config.dataset, "validation").head(SAMPLE)
    metrics = held_out_metrics(config, model) | {
        "latent_dim": config.model.latent,
        "likelihood": config.model.likelihood,
        "dataset": config.dataset,
        "seed": config.seed,
        "epochs": config.schedule.epochs,
        "train_seconds": run.status().seconds,
        "train_device": choose_device(config.device).type,
        "sample_examples": len(sample),
    }
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(card(name, config, metrics), encoding="utf-8")
    np.savez_compressed(folder / "sample.npz", x=sample.x.numpy(), y=sample.y.numpy())
    manifold_picture(config, model, sample).save(folder / "manifold.png", optimize=True)
