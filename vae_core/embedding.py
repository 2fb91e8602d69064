"""Flat maps of codes of many dimensions: t-SNE (van der Maaten & Hinton 2008) and UMAP (McInnes et al. 2018).

`python -m vae_core.embedding METHOD SEED IN.npy OUT.npy` makes one in a process of its own: both import and compile for
seconds, which would hold up every thread of a web server.
"""

import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vae_core.launch import ENVIRONMENT, PROJECT

LEAST = 10
"""Fewer codes have no neighbourhoods."""
EXTENT, HELD = 3.0, 0.99
"""Half the side of the square around the mean that holds this share of the points."""
PERPLEXITY, NEIGHBOURS = 30.0, 15
"""The usual sizes of a neighbourhood, for samples that are large enough."""
Array = np.ndarray


def _principal_start(means: Float[Array, "N H"], seed: int) -> Float[Array, "N 2"]:
    """The two leading principal components, which keep what is far apart in its place (Kobak & Linderman 2021), with
    enough noise that equal codes and codes of one dimension are not stuck on a line."""
    centred = means - means.mean(0)
    directions = np.linalg.svd(centred, full_matrices=False)[2][:2]
    start = np.zeros((len(means), 2))
    start[:, : len(directions)] = centred @ directions.T
    noise = np.random.default_rng(seed).normal(size=start.shape)
    return (1e-4 * (start / max(start[:, 0].std(), 1e-12) + 0.01 * noise)).astype(np.float32)


def _tsne(means: Float[Array, "N H"], seed: int) -> Float[Array, "N 2"]:
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(means) - 1) / 3)
    start: Any = _principal_start(means, seed)
    return TSNE(perplexity=perplexity, init=start, random_state=seed).fit_transform(means)


def _umap(means: Float[Array, "N H"], seed: int) -> Float[Array, "N 2"]:
    with warnings.catch_warnings():  # it says that one of its classes needs TensorFlow
        warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
        from umap import UMAP

    neighbours = min(NEIGHBOURS, len(means) - 1)
    start: Any = _principal_start(means, seed)
    # one thread: with more the result changes from run to run
    points: Any = UMAP(n_neighbors=neighbours, init=start, random_state=seed, n_jobs=1).fit_transform(means)
    return points


def _framed(points: Float[Array, "N 2"]) -> Float[Tensor, "N 2"]:
    """Moved to mean zero and scaled, alike in both directions, so that the square of half side 3 holds 99 %."""
    centred = torch.from_numpy(np.asarray(points, dtype=np.float64))
    centred = centred - centred.mean(0)
    reach = centred.abs().amax(1).quantile(HELD)
    return (centred * EXTENT / reach.clamp_min(1e-12)).float()


@dataclass(frozen=True)
class EmbeddingEntry:
    """One method by name; a function of the codes."""

    label: str
    help: str
    raw: Callable[[Array, int], Array]

    def __call__(self, means: Float[Tensor, "N H"], *, seed: int) -> Float[Tensor, "N 2"]:
        """Points of mean zero, 99 % of them within 3 of it, the same for the same seed.

        Raises ValueError for fewer than 10 codes and for codes that are not finite.
        """
        if len(means) < LEAST:
            raise ValueError(f"an embedding needs {LEAST} codes at least; got {len(means)}: take a larger sample")
        if not means.isfinite().all():
            raise ValueError("an embedding needs codes that are finite numbers; the model has diverged")
        return _framed(self.raw(means.detach().cpu().numpy(), seed))


EMBEDDINGS = {
    "tsne": EmbeddingEntry(
        "t-SNE",
        "Keeps neighbours together. Sizes of clusters and distances between them mean nothing.",
        _tsne,
    ),
    "umap": EmbeddingEntry(
        "UMAP",
        "Keeps neighbours together, in tighter clusters. Distances between clusters mean little.",
        _umap,
    ),
}


class EmbeddingProcess:
    """A map that is being made in a process of its own; its files go when it is read or cancelled."""

    def __init__(self, means: Float[Tensor, "N H"], method: str, seed: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="embedding-")
        given, self._made = Path(self._folder.name, "means.npy"), Path(self._folder.name, "points.npy")
        np.save(given, means.detach().cpu().numpy(), allow_pickle=False)
        command = [sys.executable, "-m", "vae_core.embedding", method, str(seed), str(given), str(self._made)]
        self._log = Path(self._folder.name, "errors.txt")
        with self._log.open("wb") as errors:
            self._process = subprocess.Popen(
                command, cwd=PROJECT, env={**ENVIRONMENT, **os.environ}, stdin=subprocess.DEVNULL, stderr=errors
            )

    def done(self) -> bool:
        return self._process.poll() is not None

    def points(self) -> Float[Tensor, "N 2"]:
        """Waits for the map. Raises RuntimeError with the last line of its errors if it could not be made."""
        try:
            if self._process.wait():
                lines = self._log.read_text(errors="replace").strip().splitlines()
                raise RuntimeError(lines[-1] if lines else "the embedding was stopped")
            return torch.from_numpy(np.load(self._made, allow_pickle=False))
        finally:
            self._folder.cleanup()

    def cancel(self) -> None:
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()


def main(arguments: list[str]) -> None:
    method, seed, given, made = arguments
    os.nice(10)
    means = torch.from_numpy(np.load(given, allow_pickle=False))
    np.save(made, EMBEDDINGS[method](means, seed=int(seed)).numpy(), allow_pickle=False)


if __name__ == "__main__":
    main(sys.argv[1:])
