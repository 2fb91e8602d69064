import pytest
import torch

from tests.small import seeded
from vae_core.autoencoder import Nothing, Point
from vae_core.distributions import Density


def test_a_point_is_its_own_draw() -> None:
    loc = torch.randn(3, 2, generator=seeded(1), requires_grad=True)
    point = Point(loc)
    draws = point.sample(5, generator=seeded(2))
    assert isinstance(point, Density)
    assert torch.equal(draws, loc.expand(5, 3, 2))
    assert torch.equal(point.mean, loc)
    (slope,) = torch.autograd.grad(draws.sum(), loc)
    assert (slope == 5).all()


@pytest.mark.parametrize("shape", [(3, 2), (7, 3, 2), (2,)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_point_leaves_no_kl(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.randn(shape, generator=seeded(1), dtype=dtype)
    value = Point(torch.zeros(3, 2, dtype=dtype)).log_prob(x)
    expected = torch.zeros(torch.broadcast_shapes(shape, (3, 2))[:-1], dtype=dtype)
    torch.testing.assert_close(value, expected, rtol=0, atol=0)


def test_nothing_costs_nothing_and_draws_nothing() -> None:
    nothing = Nothing(torch.zeros(2))
    assert isinstance(nothing, Density)
    assert torch.equal(nothing.log_prob(torch.randn(5, 3, 2, generator=seeded(1))), torch.zeros(5, 3))
    assert torch.equal(nothing.mean, torch.zeros(2))
    sentence = "^a plain autoencoder has no prior to draw codes from; train with the prior 'standard_normal'$"
    with pytest.raises(ValueError, match=sentence):
        nothing.sample(3, generator=seeded(1))
