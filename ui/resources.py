"""What pages and routes share: models and the examples they are looked at with, loaded once, and the launcher.

`functools.lru_cache` instead of Streamlit's caches: the routes run outside any session. Nothing cached is changed.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vae_core import datasets, runs
from vae_core.config import Config
from vae_core.dashboard import ADDRESS_VARIABLE
from vae_core.datasets import DATASETS, Spec, Split
from vae_core.dispatch import Dispatcher
from vae_core.distributions import Density
from vae_core.evaluation import rate_splits, weight_of_dimensions
from vae_core.gaps import can_measure_gaps
from vae_core.holes import Landscape, landscape
from vae_core.launch import Launcher, LocalLauncher
from vae_core.launch_ray import RayLauncher
from vae_core.likelihoods import LIKELIHOODS
from vae_core.limits import CORES, Limits
from vae_core.model import HelmholtzMachine
from vae_core.portable import PortableDecoder, portable
from vae_core.publish import SAMPLE, read_sample
from vae_core.training import generator_for

PRETRAINED = Path(__file__).parent.parent / "pretrained"
PREFERRED = "mnist-2d"
"""The model that Explore opens when none is asked for."""
NAME = re.compile(r"[a-z0-9-]{1,40}")
SEEN_SEED = 7
LANDSCAPE_SEED = 8
CHUNK = 200
"""Codes decoded at once: a categorical likelihood takes 256 numbers a value."""
CPU = torch.device("cpu")


def dispatcher(place: str = LocalLauncher.kind) -> Dispatcher:
    """Queues runs, and has them trained in a place of `dispatchers`."""
    return dispatchers()[place]


def dispatchers() -> dict[str, Dispatcher]:
    """One for every place where runs can train: this machine, and a Ray cluster if the environment names one.

    Raises ValueError if the environment sets no sensible limits, or what is no address.
    """
    return _dispatchers(runs.runs_root())


@lru_cache(maxsize=1)
def _dispatchers(root: Path) -> dict[str, Dispatcher]:
    limits, cluster = Limits.from_environment(), os.environ.get(ADDRESS_VARIABLE, "").strip()
    launchers: list[Launcher] = [LocalLauncher(limits.workers)]
    if cluster:
        launchers.append(RayLauncher(cluster))
    return {launcher.kind: Dispatcher(launcher, limits) for launcher in launchers}


def pretrained_names() -> list[str]:
    return sorted(p.parent.name for p in PRETRAINED.glob("*/config.json"))


def locate(reference: str) -> Path | None:
    """The folder of a pretrained model or of a run; None where there is none of that name."""
    if NAME.fullmatch(reference) and (PRETRAINED / reference / "config.json").is_file():
        return PRETRAINED / reference
    run = runs.find(reference)
    return run.folder if run else None


_decoding = ThreadPoolExecutor(CORES, "decoding")


@dataclass(frozen=True)
class Explored:
    """A model with the examples it is looked at with, the means of q(z|x) of all of them [N, H], q of the first of them
    (the sample), and how much every dimension carries, in nats or else (`by_rate` false) as variance of those means."""

    config: Config
    spec: Spec
    model: HelmholtzMachine
    data: Split
    means: Float[Tensor, "N H"]
    q: Density
    weights: Float[Tensor, "H"]
    by_rate: bool

    @cached_property
    def portable(self) -> PortableDecoder | None:
        """The decoder as weights that can travel to a browser, where it is small and simple enough."""
        return portable(self.model, self.config.model, self.data.x.shape[1])

    @cached_property
    def order(self) -> list[int]:
        """The dimensions, those that carry most first."""
        return self.weights.argsort(descending=True).tolist()

    @property
    def exact(self) -> bool:
        """Whether log p(x) and the gaps of an example can be computed."""
        return can_measure_gaps(self.model)

    def seen(self, index: int) -> Float[Tensor, "1 D"]:
        """What the encoder saw of an example: for binary data the draw that its mean belongs to."""
        chunk, row = divmod(index, SAMPLE)
        return observed(self.config, self.data, chunk)[row : row + 1]

    def expected(self, z: Float[Tensor, "N H"]) -> Float[Tensor, "N D"]:
        """E[x|z], gradients and all."""
        return self.model.decode(z).mean

    def decode(self, z: Float[Tensor, "N H"]) -> Float[Tensor, "N D"]:
        """E[x|z], values only; of many codes by all cores."""
        parts = z.split(CHUNK)
        return torch.cat(list((_decoding.map if len(parts) > 1 else map)(self._decoded, parts)))

    @torch.no_grad()
    def _decoded(self, z: Float[Tensor, "N H"]) -> Float[Tensor, "N D"]:
        return self.expected(z)


def observed(config: Config, data: Split, chunk: int) -> Float[Tensor, "B D"]:
    """What a model sees of the examples of one chunk of SAMPLE; the same at every call."""
    generator = generator_for(CPU, SEEN_SEED, chunk)
    x = data.x[chunk * SAMPLE : (chunk + 1) * SAMPLE]
    return LIKELIHOODS[config.model.likelihood].observe(x, generator=generator)


def version(folder: Path) -> str:
    """Changes whenever the weights do. Raises DamagedRun."""
    stat = runs.weights_file(folder).stat()
    return hashlib.blake2s(f"{folder} {stat.st_mtime_ns} {stat.st_size}".encode(), digest_size=8).hexdigest()


def explored(folder: Path, data: str = "sample") -> Explored:
    """`data` is a key of `ui.address.DATA`. Raises DamagedRun, also where weights or latent values are not finite, or
    DataUnavailable where a run's data set is not at hand."""
    return _explored(folder, version(folder), data)


def _examples(folder: Path, config: Config, data: str) -> Split:
    if data == "all":
        parts = [datasets.load(config.dataset, part) for part in ("test", "validation", "train")]
        return Split(torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts]))
    if data == "test":
        return datasets.load(config.dataset, "test")
    published = (folder / "sample.npz").is_file()
    return read_sample(folder) if published else datasets.load(config.dataset, "validation").head(SAMPLE)


@lru_cache(maxsize=6)
def _explored(folder: Path, version: str, data: str) -> Explored:
    config, model = runs.load_model(folder)
    examples = _examples(folder, config, data)
    first, *others = _posteriors(config, model, examples)
    means = torch.cat([first.mean, *(q.mean for q in others)])
    if not all(numbers.isfinite().all() for numbers in (means, *model.parameters())):
        raise runs.DamagedRun(
            "its weights or latent values are not finite: the training diverged. "
            "Train it again with a smaller learning rate"
        )
    return Explored(
        config,
        DATASETS[config.dataset],
        model,
        examples,
        means,
        first,
        weight_of_dimensions(model, first),
        rate_splits(model, first),
    )


@torch.no_grad()
def _posteriors(config: Config, model: HelmholtzMachine, data: Split) -> Iterator[Density]:
    for chunk in range(-(-len(data) // SAMPLE)):
        yield model.encode(observed(config, data, chunk))


_measuring = ThreadPoolExecutor(1, "landscape")


def landscape_of(folder: Path) -> Future[Landscape]:
    """Where a model has data, holes and nothing, by its held-out sample: measured beside everything else, once."""
    return _landscape(folder, version(folder))


@lru_cache(maxsize=6)
def _landscape(folder: Path, version: str) -> Future[Landscape]:
    def measure() -> Landscape:
        thing = _explored(folder, version, "sample")
        return landscape(thing.model, thing.q, generator=generator_for(CPU, LANDSCAPE_SEED))

    return _measuring.submit(measure)
