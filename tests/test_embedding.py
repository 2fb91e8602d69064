import math

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from tests.small import seeded
from vae_core.embedding import EMBEDDINGS, EmbeddingProcess

METHODS = pytest.mark.parametrize("method", EMBEDDINGS)
COUNT = 90


def labels() -> np.ndarray:
    return np.arange(COUNT) % 3


def clusters() -> Tensor:
    """Three in ten dimensions, far apart."""
    centres = 8 * torch.randn(3, 10, generator=seeded(1))
    return centres[torch.from_numpy(labels())] + torch.randn(COUNT, 10, generator=seeded(2))


@METHODS
def test_clusters_stay_apart_and_seeds_reproduce(method: str) -> None:
    make = EMBEDDINGS[method]
    points = make(clusters(), seed=3)
    neighbours = KNeighborsClassifier(10).fit(points.numpy(), labels())
    assert neighbours.score(points.numpy(), labels()) > 0.97
    torch.testing.assert_close(points, make(clusters(), seed=3), rtol=0, atol=0)


@METHODS
def test_the_square_of_half_side_three_holds_nearly_all(method: str) -> None:
    points = EMBEDDINGS[method](clusters() + 100, seed=3)
    torch.testing.assert_close(points.mean(0), torch.zeros(2), rtol=0, atol=1e-4)
    assert points.abs().amax(1).quantile(0.99).item() == pytest.approx(3.0, rel=1e-4)


@METHODS
@pytest.mark.parametrize(("count", "size"), [(10, 1), (11, 2), (12, 20)])
def test_small_samples_have_maps(method: str, count: int, size: int) -> None:
    points = EMBEDDINGS[method](torch.randn(count, size, generator=seeded(1)), seed=1)
    assert points.shape == (count, 2)
    assert points.isfinite().all()
    assert (points.std(0) > 0.1).all()


@METHODS
def test_codes_that_are_all_the_same_have_a_map(method: str) -> None:
    assert EMBEDDINGS[method](torch.zeros(12, 4), seed=1).isfinite().all()


@METHODS
@pytest.mark.parametrize(
    ("means", "rule"),
    [(torch.zeros(9, 3), "10 codes at least; got 9"), (torch.full((20, 3), math.nan), "finite")],
    ids=["few", "not finite"],
)
def test_what_has_no_map_is_refused(method: str, means: Tensor, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        EMBEDDINGS[method](means, seed=1)


def test_another_process_makes_the_same_map() -> None:
    made = EmbeddingProcess(clusters(), "tsne", 3)
    points = made.points()
    assert made.done()
    torch.testing.assert_close(points, EMBEDDINGS["tsne"](clusters(), seed=3), rtol=0, atol=0)


def test_a_cancelled_process_is_gone() -> None:
    made = EmbeddingProcess(clusters(), "umap", 3)
    assert not made.done()
    made.cancel()
    assert made.done()


def test_a_process_that_fails_says_why() -> None:
    made = EmbeddingProcess(torch.zeros(9, 3), "tsne", 3)
    with pytest.raises(RuntimeError, match="10 codes at least; got 9"):
        made.points()
