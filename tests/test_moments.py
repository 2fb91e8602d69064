import math

import pytest
import torch

from tests.small import seeded
from vae_core.config import ModelConfig
from vae_core.distributions import Bernoulli, Normal
from vae_core.gaussians import FullNormal
from vae_core.model import machine
from vae_core.moments import covariance, ellipse, plane_extent, prior_ellipses
from vae_core.planes import axis_plane

TRIL = torch.tensor([[1.0, 0.0], [0.6, 0.5]], dtype=torch.float64)


def test_covariance_of_gaussians_is_exact() -> None:
    loc, scale = torch.zeros(3, 2), torch.tensor([0.5, 2.0]).expand(3, 2)
    diagonal = covariance(Normal(loc, scale), generator=seeded(1))
    torch.testing.assert_close(diagonal, torch.diag(torch.tensor([0.25, 4.0])).expand(3, 2, 2))
    full = covariance(FullNormal(torch.zeros(2, dtype=torch.float64), TRIL), generator=seeded(1))
    torch.testing.assert_close(full, torch.tensor([[1.0, 0.6], [0.6, 0.61]], dtype=torch.float64))


def test_covariance_of_others_is_that_of_draws() -> None:
    density = Bernoulli(torch.tensor([0.0, 2.0], dtype=torch.float64))
    p = density.mean
    found = covariance(density, generator=seeded(1))
    # the deviation of a sample covariance of values in [0, 1] is below 1 / (2 sqrt(draws))
    torch.testing.assert_close(found, torch.diag(p * (1 - p)), rtol=0, atol=4.5 * 0.5 / 4096**0.5)


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.2, -0.7])
def test_an_ellipse_has_the_axes_of_its_covariance(angle: float) -> None:
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64)
    spread = turn @ torch.diag(torch.tensor([9.0, 0.25], dtype=torch.float64)) @ turn.mT
    x, y, long, short, found = ellipse(torch.tensor([1.0, -2.0]), spread, axis_plane((0, 1), torch.zeros(2)))
    assert (x, y) == (1.0, -2.0)
    assert (long, short) == pytest.approx((3.0, 0.5))
    assert math.sin(found - angle) == pytest.approx(0, abs=1e-9)  # a half turn is the same ellipse


def test_of_one_dimension_the_ellipse_is_a_circle() -> None:
    assert ellipse(torch.tensor([0.5]), torch.tensor([[4.0]]), axis_plane((0, 0), torch.zeros(1))) == (
        0.5,
        0.0,
        2.0,
        2.0,
        0.0,
    )


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (ModelConfig(widths=(4,)), 1),
        (ModelConfig(widths=(4,), prior="learned_gaussian"), 1),
        (ModelConfig(widths=(4,), prior="gaussian", prior_covariance=(1.0, 0.6, 0.6, 0.61)), 1),
        (ModelConfig(widths=(4,), prior="mixture", components=7), 7),
        (ModelConfig(widths=(4,), prior="vamp", components=3), 3),
        (ModelConfig(widths=(4,), below=(3,)), 0),
        (ModelConfig(widths=(4,), posterior="bernoulli", prior="bernoulli"), 0),
        (ModelConfig(widths=(4,), posterior="deterministic", prior="none"), 0),
    ],
    ids=lambda value: value.prior if isinstance(value, ModelConfig) else "",
)
def test_the_ellipses_of_a_prior(model: ModelConfig, count: int) -> None:
    built = machine(model, (1, 2, 2), generator=seeded(1))
    found = prior_ellipses(built, axis_plane((0, 1), built.centre()))
    assert len(found) == count
    if model.prior_covariance:
        values = torch.linalg.eigvalsh(TRIL @ TRIL.mT).sqrt()
        assert found[0][2:4] == pytest.approx((values[1].item(), values[0].item()), rel=1e-5)


def test_the_plane_of_binary_codes_is_small() -> None:
    points = torch.full((10, 2), 0.5)
    binary = machine(ModelConfig(widths=(), posterior="bernoulli", prior="bernoulli"), (1, 2, 2), generator=seeded(1))
    assert plane_extent(binary, points) == 1.2
    assert plane_extent(machine(ModelConfig(), (1, 2, 2), generator=seeded(1)), points) == 3.0
