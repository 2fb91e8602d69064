"""Quantiles of priors against SciPy's, for exact and for drawn ones."""

import pytest
import torch
from scipy import stats

from tests.small import seeded, small_machine
from vae_core.ranges import DRAWS, prior_range


@pytest.mark.parametrize("reach", [0.25, 0.001])
def test_independent_normals_are_exact(reach: float) -> None:
    low, high = prior_range(small_machine(latent=3), reach, generator=seeded(1))
    exact = stats.norm.ppf(reach)
    assert low.tolist() == pytest.approx([exact] * 3, rel=1e-6)
    assert high.tolist() == pytest.approx([-exact] * 3, rel=1e-6)


def test_drawn_quantiles_agree_with_the_prior_within_their_error() -> None:
    covariance = (1.5, 0.6, 0.6, 0.8)
    model = small_machine(
        latent=2, prior="gaussian", prior_mean=(0.7, -0.4), prior_covariance=covariance, posterior="full_gaussian"
    )
    prior = model.prior()
    scale = (prior.scale_tril @ prior.scale_tril.mT).diagonal().sqrt()
    low, high = prior_range(model, 0.1, generator=seeded(2))
    density = stats.norm.pdf(stats.norm.ppf(0.1))
    error = (0.1 * 0.9 / DRAWS) ** 0.5 / density
    half = -stats.norm.ppf(0.1)
    for found, sign in ((low, -1), (high, 1)):
        z = (found - (prior.loc + sign * half * scale)) / (error * scale)
        assert z.abs().max() < 4


@pytest.mark.parametrize(
    "settings",
    [
        {"prior": "mixture"},
        {"prior": "bernoulli", "posterior": "bernoulli"},
        {"below": (3,), "inner_widths": (4,)},
    ],
    ids=["mixture", "binary", "two layers"],
)
def test_every_prior_that_draws_has_a_range(settings: dict) -> None:
    model = small_machine(latent=2, **settings)
    low, high = prior_range(model, 0.05, generator=seeded(3))
    size = len(model.centre())
    assert low.shape == high.shape == (size,)
    assert (low <= high).all()
    assert torch.equal(low, prior_range(model, 0.05, generator=seeded(3))[0])


def test_a_model_without_a_prior_says_what_to_take_instead() -> None:
    model = small_machine(latent=2, prior="none", posterior="deterministic")
    with pytest.raises(ValueError, match="take the quantiles of the posterior means"):
        prior_range(model, 0.05, generator=seeded(4))
