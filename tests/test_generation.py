import numpy as np
import pytest
import torch
from scipy import stats

from tests.small import belief_net, gaussian_machine, linear_machine, seeded, small_machine
from vae_core.generation import (
    can_draw,
    can_warm,
    equal_probability_codes,
    even_codes,
    is_standard_normal,
    prior_codes,
)
from vae_core.geometry import lattice
from vae_core.model import HelmholtzMachine
from vae_core.planes import Plane, axis_plane, plane_through

SIDES = [2, 7, 40]
TILTED = plane_through(*torch.tensor([[0.5, 1.0, -0.3], [1.5, 0.2, 0.4], [-1.0, 0.3, 1.2]]))


def flat() -> Plane:
    return axis_plane((0, 1), torch.zeros(2))


def line() -> Plane:
    return axis_plane((0, 0), torch.zeros(1))


@pytest.mark.parametrize("side", SIDES)
def test_even_codes_are_the_lattice_moved_to_the_centre(side: int) -> None:
    expected = lattice(side, 1.5) + torch.tensor([0.3, -2.0])
    torch.testing.assert_close(even_codes(flat(), side, (0.3, -2.0), 1.5), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("side", SIDES)
def test_codes_of_equal_probability_are_quantiles(side: int) -> None:
    """Against scipy, row by row from the top left."""
    quantiles = stats.norm.ppf((np.arange(side) + 0.5) / side)
    expected = [(across, up) for up in quantiles[::-1] for across in quantiles]
    np.testing.assert_allclose(equal_probability_codes(flat(), side).numpy(), expected, atol=2e-6)


def test_a_slice_of_the_prior_lies_around_its_point_nearest_to_the_origin() -> None:
    """On any plane N(0, I) is N(0, I) again, around the foot of the perpendicular from 0."""
    codes = equal_probability_codes(TILTED, 5)
    foot = codes[12]
    torch.testing.assert_close(TILTED.basis @ foot, torch.zeros(2), atol=1e-6, rtol=0)
    along = (codes - foot) @ TILTED.basis.mT
    torch.testing.assert_close(along, equal_probability_codes(flat(), 5), atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", SIDES)
def test_one_dimension_goes_on_from_row_to_row(side: int) -> None:
    places = (np.arange(side * side) + 0.5) / side**2
    np.testing.assert_allclose(equal_probability_codes(line(), side)[:, 0], stats.norm.ppf(places), atol=1e-5)
    np.testing.assert_allclose(even_codes(line(), side, (1.0, 0.0), 2.0)[:, 0], 4 * places - 1, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "standard", "draws", "warms"),
    [
        (small_machine(), True, True, True),
        (small_machine(prior="mixture"), False, True, True),
        (linear_machine(2, prior="gaussian"), False, True, True),
        (small_machine(prior="none", posterior="deterministic"), False, False, True),
        (small_machine(prior="bernoulli", posterior="bernoulli"), False, True, False),
        (gaussian_machine(), False, True, False),
        (belief_net(), False, True, False),
    ],
)
def test_what_can_be_done_with_a_prior(model: HelmholtzMachine, standard: bool, draws: bool, warms: bool) -> None:
    assert (is_standard_normal(model), can_draw(model), can_warm(model)) == (standard, draws, warms)


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 2.0])
def test_temperature_scales_the_distance_from_the_mean(temperature: float) -> None:
    """z-scores of mean and covariance against the Gaussian prior that was given."""
    model, n = linear_machine(2, prior="gaussian"), 20_000
    prior = model.prior()
    codes = prior_codes(model, n, temperature, generator=seeded(1))
    expected = temperature**2 * prior.scale_tril @ prior.scale_tril.mT
    error = (expected.diagonal() / n).sqrt()
    assert ((codes.mean(0) - prior.loc).abs() <= 4 * error + 1e-12).all()
    torch.testing.assert_close(codes.mT.cov(), expected, atol=0.06 * max(temperature**2, 1e-9), rtol=0)


@pytest.mark.parametrize("model", [gaussian_machine(), belief_net()])
def test_machines_of_several_layers_draw_ancestrally(model: HelmholtzMachine) -> None:
    """The mean of h_1 is that of p(h_1 | h_2) over draws of the prior."""
    n = 20_000
    codes = prior_codes(model, n, generator=seeded(2))
    above = model.prior().sample(n, generator=seeded(3))
    means = model.generative[1](above).mean
    error = (codes.var(0) / n + means.var(0) / n).sqrt()
    assert ((codes.mean(0) - means.mean(0)).abs() < 4 * error).all()


def test_the_same_generator_gives_the_same_codes() -> None:
    one, same, other = (prior_codes(small_machine(), 5, generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_impossible_draws_are_refused() -> None:
    with pytest.raises(ValueError, match=r"temperature must be 1 .* got 0\.5"):
        prior_codes(belief_net(), 4, 0.5, generator=seeded(1))
    with pytest.raises(ValueError, match="no prior to draw codes from"):
        prior_codes(small_machine(prior="none", posterior="deterministic"), 4, generator=seeded(1))
