import math

import pytest
import torch
from torch import Tensor

from tests.small import seeded
from vae_core.distributions import Bernoulli, ContinuousBernoulli
from vae_core.families import DiagonalGaussianFamily, FromLogits, bounded_scale
from vae_core.likelihoods import LIKELIHOODS
from vae_core.posteriors import POSTERIORS
from vae_core.priors import PRIORS

TABLES = {"likelihoods": LIKELIHOODS, "posteriors": POSTERIORS, "priors": PRIORS}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_the_app_can_show_every_entry(table: dict) -> None:
    assert len({entry.label for entry in table.values()}) == len(table)
    assert all(entry.label and entry.help.endswith(".") for entry in table.values())


def test_scales_are_bounded_and_follow_exp_near_one() -> None:
    raw = torch.tensor([-1e6, -100.0, -7.0, 0.0, 7.0, 100.0, 1e6], requires_grad=True)
    scale = bounded_scale(raw)
    assert scale.min() >= math.exp(-7) * (1 - 1e-6)
    assert scale.max() <= math.exp(7) * (1 + 1e-6)
    (slope,) = torch.autograd.grad(scale.sum(), raw)
    assert slope.isfinite().all()
    assert slope[3] == 1
    near = torch.linspace(-0.3, 0.3, 7)
    torch.testing.assert_close(bounded_scale(near), near.exp(), rtol=2e-4, atol=0)


@pytest.mark.parametrize("density", [Bernoulli, ContinuousBernoulli])
def test_logits_are_the_raw_numbers(density: type) -> None:
    family = FromLogits(5, density)
    raw = torch.randn(3, 4, 5, generator=seeded(1))
    assert family.inputs == 5
    assert type(family(raw)) is density
    assert torch.equal(family(raw).logits, raw)


@pytest.mark.parametrize("size", [1, 2, 6])
def test_all_means_come_before_all_scales(size: int) -> None:
    family = DiagonalGaussianFamily(size)
    raw: Tensor = torch.randn(3, 4, 2 * size, generator=seeded(1))
    assert family.inputs == 2 * size
    assert torch.equal(family(raw).loc, raw[..., :size])
    assert torch.equal(family(raw).scale, bounded_scale(raw[..., size:]))
