"""What pages and routes share: models and their held-out samples, loaded once, and the launcher.

`functools.lru_cache` instead of Streamlit's caches: the routes run outside any session. Nothing cached is changed.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from vae_core import datasets, runs
from vae_core.config import Config
from vae_core.datasets import Split
from vae_core.evaluation import rate_splits, weight_of_dimensions
from vae_core.gaps import can_measure_gaps
from vae_core.geometry import leading_axes
from vae_core.launch import LocalLauncher
from vae_core.likelihoods import LIKELIHOODS
from vae_core.model import HelmholtzMachine
from vae_core.publish import SAMPLE, read_sample
from vae_core.training import generator_for

PRETRAINED = Path(__file__).parent.parent / "pretrained"
NAME = re.compile(r"[a-z0-9-]{1,40}")
SEEN_SEED = 7


@lru_cache(maxsize=1)
def launcher() -> LocalLauncher:
    return LocalLauncher()


def pretrained_names() -> list[str]:
    return sorted(p.parent.name for p in PRETRAINED.glob("*/config.json"))


def locate(reference: str) -> Path | None:
    """The folder of a pretrained model or of a run; None where there is none of that name."""
    if NAME.fullmatch(reference) and (PRETRAINED / reference / "config.json").is_file():
        return PRETRAINED / reference
    run = runs.find(reference)
    return run.folder if run else None


@dataclass(frozen=True)
class Explored:
    """A model with a held-out sample, what it saw of it (`seen`), the means of q(z|x) of all of it [N, H], and how much
    every dimension carries, in nats or else (`by_rate` false) as variance of those means."""

    config: Config
    model: HelmholtzMachine
    sample: Split
    seen: Tensor
    means: Tensor
    weights: Tensor
    by_rate: bool

    @property
    def exact(self) -> bool:
        """Whether log p(x) and the gaps of an example can be computed."""
        return can_measure_gaps(self.model)

    @property
    def axes(self) -> tuple[int, int]:
        """The two dimensions that carry most."""
        return leading_axes(self.weights)


def version(folder: Path) -> str:
    """Changes whenever the weights do. Raises DamagedRun."""
    stat = runs.weights_file(folder).stat()
    return hashlib.blake2s(f"{folder} {stat.st_mtime_ns} {stat.st_size}".encode(), digest_size=8).hexdigest()


def explored(folder: Path) -> Explored:
    """Raises DamagedRun, or DataUnavailable where a run's data set is not at hand."""
    return _explored(folder, version(folder))


@lru_cache(maxsize=6)
def _explored(folder: Path, version: str) -> Explored:
    config, model = runs.load_model(folder)
    published = (folder / "sample.npz").is_file()
    sample = read_sample(folder) if published else datasets.load(config.dataset, "validation").head(SAMPLE)
    generator = generator_for(torch.device("cpu"), SEEN_SEED)
    seen = LIKELIHOODS[config.model.likelihood].observe(sample.x, generator=generator)
    with torch.no_grad():
        posterior = model.encode(seen)
    by_rate = rate_splits(model, posterior)
    return Explored(config, model, sample, seen, posterior.mean, weight_of_dimensions(model, posterior), by_rate)
