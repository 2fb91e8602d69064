import numpy as np
import pytest
import torch

from tests.small import seeded
from vae_core import datasets
from vae_core.defaults import RECIPES
from vae_core.gaps import gaps
from vae_core.profiles import SIGNALS, TIMES, signals
from vae_core.sampling import importance_log_likelihood
from vae_core.training import Trainer

SHAPES = [lambda t, a, b: 1, lambda t, a, b: (t - a) / (b - a), lambda t, a, b: (b - t) / (b - a)]
ENDS = [(a, a + length) for a in range(8, 17) for length in range(16, 49)]
"""All pairs (a, b), each equally likely."""


def moment(kind: int, t: int, power: int) -> float:
    """E s(t)^power over the ends."""
    return sum(SHAPES[kind](t, a, b) ** power for a, b in ENDS if a <= t <= b) / len(ENDS)


@pytest.mark.parametrize("kind", range(3), ids=["cylinder", "bell", "funnel"])
def test_signals_have_the_moments_of_their_formula(kind: int) -> None:
    """E x(t) = 6 E s(t) and E x(t)^2 = 37 E s(t)^2 + 1, at every one of the 64 times, by standard error."""
    values, kinds = signals()
    own = values[kinds == kind]
    times = range(1, TIMES + 1)
    for power, expected in (
        (1, [6 * moment(kind, t, 1) for t in times]),
        (2, [37 * moment(kind, t, 2) + 1 for t in times]),
    ):
        found = own**power
        z = (found.mean(0) - expected) / (found.std(0) / len(own) ** 0.5)
        assert np.abs(z).max() < 4.5


def test_the_noise_is_independent_from_time_to_time() -> None:
    """Before any signal begins, at t < 8, there is noise only."""
    noise = signals()[0][:, :7]
    assert np.abs(np.cov(noise.T) - np.eye(7)).max() < 4.5 * (2 / SIGNALS) ** 0.5


def test_signals_are_the_same_at_every_call() -> None:
    (first, kinds), (second, _) = signals(), signals()
    assert np.array_equal(first, second)
    assert kinds[:6].tolist() == [0, 1, 2, 0, 1, 2]
    assert first[0, :3] == pytest.approx([-1.9913046962856538, 1.239689443870796, 1.062418721141833], abs=1e-12)


@pytest.mark.parametrize("name", ["cells", "signals"])
def test_gaps_of_profiles_add_up_to_what_importance_sampling_says(name: str) -> None:
    trainer = Trainer(RECIPES[name], datasets.load(name, "train"), torch.device("cpu"))
    for _ in range(100):
        trainer.advance()
    x = datasets.load(name, "validation").x[:2]
    found = gaps(trainer.model, x)
    sampled = importance_log_likelihood(trainer.model, x, 5_000, generator=seeded(1))
    assert ((found.log_p - sampled.log_p).abs() < 4.5 * sampled.error + found.error + 1e-3).all()
    assert (found.approximation > -1e-3).all()
    assert (found.amortisation >= 0).all()
