import copy
import math
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch import distributions as td

from tests import exact
from tests.small import seeded
from vae_core.config import ModelConfig
from vae_core.distributions import Density
from vae_core.model import HelmholtzMachine, machine
from vae_core.networks import initialise
from vae_core.posteriors import tril_from
from vae_core.priors import PRIORS, VampPrior, given_gaussian, spread_normals

SIZES = [1, 2, 6]
PIXELS = 12
SHAPE = (1, 4, 3)
PARTNERS = {"bernoulli": "bernoulli", "none": "deterministic"}
"""Posteriors that go with a prior, where it is not the diagonal Gaussian."""


def config(name: str, size: int) -> ModelConfig:
    """A recipe with that prior; a given covariance is 2 on the diagonal and 0.5 elsewhere."""
    covariance = torch.full((size, size), 0.5).fill_diagonal_(2.0)
    return ModelConfig(
        widths=(5,),
        latent=size,
        posterior=PARTNERS.get(name, "diagonal_gaussian"),
        prior=name,
        components=4,
        prior_mean=tuple(float(i) for i in range(size)) if name == "gaussian" else (),
        prior_covariance=tuple(covariance.flatten().tolist()) if name == "gaussian" else (),
    )


def built(name: str, size: int) -> HelmholtzMachine:
    """A machine in double precision, whose parameters are anything but where they start."""
    model = machine(config(name, size), SHAPE, generator=seeded(1)).double()
    generator = seeded(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def soft_exp(raw: Tensor) -> Tensor:
    return (7 * (raw / 7).tanh()).exp()


def standard(model: HelmholtzMachine, size: int) -> td.Distribution:
    return td.Independent(td.Normal(torch.zeros(size).double(), torch.ones(size).double()), 1)


def given(model: HelmholtzMachine, size: int) -> td.Distribution:
    covariance = torch.full((size, size), 0.5).fill_diagonal_(2.0).double()
    return td.MultivariateNormal(torch.arange(size).double(), covariance)


def learned(model: HelmholtzMachine, size: int) -> td.Distribution:
    prior = model.prior
    return td.MultivariateNormal(prior.loc, scale_tril=tril_from(prior.diagonal, prior.below))


def mixture(model: HelmholtzMachine, size: int) -> td.Distribution:
    prior = model.prior
    return td.MixtureSameFamily(
        td.Categorical(logits=prior.logits), td.Independent(td.Normal(prior.loc, soft_exp(prior.raw_scale)), 1)
    )


def vamp(model: HelmholtzMachine, size: int) -> td.Distribution:
    raw = model.recognition[0].trunk(1 / (1 + (-model.prior.raw_inputs).exp()))
    parts = td.Independent(td.Normal(raw[:, :size], soft_exp(raw[:, size:])), 1)
    return td.MixtureSameFamily(td.Categorical(logits=torch.zeros(4).double()), parts)


EXPECTED: dict[str, Callable[[HelmholtzMachine, int], td.Distribution]] = {
    "standard_normal": standard,
    "gaussian": given,
    "learned_gaussian": learned,
    "mixture": mixture,
    "vamp": vamp,
    "bernoulli": lambda model, size: td.Independent(td.Bernoulli(logits=model.prior.logits), 1),
}
LEARNED = {
    "learned_gaussian": {"loc", "diagonal", "below"},
    "mixture": {"logits", "loc", "raw_scale"},
    "vamp": {"raw_inputs"},
    "bernoulli": {"logits"},
}


@pytest.mark.parametrize("name", [name for name in PRIORS if name != "none"])
@pytest.mark.parametrize("size", SIZES)
def test_prior_is_the_named_density(name: str, size: int) -> None:
    model = built(name, size)
    density, expected = model.prior(), EXPECTED[name](model, size)
    h = density.sample(7, generator=seeded(3)).detach()
    value, reference = density.log_prob(h), expected.log_prob(h)
    torch.testing.assert_close(value, reference, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(density.mean, expected.mean, rtol=1e-6, atol=1e-6)
    parameters = [parameter for parameter in model.parameters() if name in LEARNED]
    if parameters:
        ours, theirs = (torch.autograd.grad(v.sum(), parameters, allow_unused=True) for v in (value, reference))
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("size", SIZES)
def test_entry_keeps_its_word(name: str, size: int) -> None:
    model = machine(config(name, size), SHAPE, generator=seeded(1))
    density = model.prior()
    assert type(density) is PRIORS[name].density
    assert isinstance(density, Density)
    assert density.mean.shape == (size,)
    assert density.log_prob(torch.zeros(5, 3, size)).shape == (5, 3)
    assert {key for key, _ in model.prior.named_parameters()} == LEARNED.get(name, set())
    assert set(model.prior.state_dict()) == LEARNED.get(name, set())


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("raw", [-1e6, 1e6])
def test_any_parameters_give_a_density(name: str, raw: float) -> None:
    model = machine(config(name, 2), SHAPE, generator=seeded(1))
    with torch.no_grad():
        for parameter in model.prior.parameters():
            parameter.fill_(raw)
    density = model.prior()
    assert all(value.isfinite().all() for value in vars(density).values())
    scale = getattr(density, "scale", torch.ones(()))
    assert math.exp(-7) * (1 - 1e-6) <= scale.min()
    assert scale.max() <= math.exp(7) * (1 + 1e-6)
    assert not density.log_prob(torch.zeros(3, 2)).isnan().any()


def test_learned_priors_start_at_the_standard_normal() -> None:
    prior = machine(config("learned_gaussian", 3), SHAPE, generator=seeded(1)).prior()
    assert torch.equal(prior.loc, torch.zeros(3))
    assert torch.equal(prior.scale_tril, torch.eye(3))
    coins = machine(config("bernoulli", 3), SHAPE, generator=seeded(1)).prior()
    assert torch.equal(coins.mean, torch.full((3,), 0.5))


def test_given_gaussian_is_the_standard_normal_where_nothing_is_given() -> None:
    loc, tril = given_gaussian(3, (), ())
    assert torch.equal(loc, torch.zeros(3).double())
    assert torch.equal(tril, torch.eye(3).double())


def test_given_rows_follow_each_other() -> None:
    covariance = (4.0, 1.0, 0.5, 1.0, 3.0, -0.2, 0.5, -0.2, 1.0)
    loc, tril = given_gaussian(3, (1.0, 2.0, 3.0), covariance)
    assert loc.tolist() == [1.0, 2.0, 3.0]
    torch.testing.assert_close(tril @ tril.mT, torch.tensor(covariance).double().reshape(3, 3))
    model = machine(ModelConfig(latent=2, prior="gaussian", prior_mean=(1.0, 2.0)), SHAPE, generator=seeded(1))
    assert model.prior().loc.tolist() == [1.0, 2.0]


NO_PRIOR = {
    "mean too short": ((1.0,), (), "prior mean must have 2 numbers, one a latent dimension; got 1"),
    "mean too long": ((1.0,) * 3, (), "prior mean must have 2 numbers, one a latent dimension; got 3"),
    "only a diagonal": ((), (1.0, 1.0), "prior covariance must have 4 numbers, 2 rows of 2; got 2"),
    "mean is not finite": ((math.nan, 0.0), (), "prior mean and covariance must be finite numbers"),
    "covariance is not finite": (
        (),
        (1.0, 0.0, 0.0, math.inf),
        "prior mean and covariance must be finite numbers",
    ),
    "not symmetric": (
        (),
        (1.0, 0.5, 0.25, 1.0),
        "prior covariance must be symmetric; got entries that differ by 0.25 from their mirror",
    ),
    "not positive": (
        (),
        (1.0, 2.0, 2.0, 1.0),
        "prior covariance must be positive definite; got smallest eigenvalue -1",
    ),
    "singular": (
        (),
        (1.0, 1.0, 1.0, 1.0),
        "prior covariance must be positive definite; got smallest eigenvalue 0",
    ),
    "zero": ((), (0.0,) * 4, "prior covariance must be positive definite; got smallest eigenvalue 0"),
}


@pytest.mark.parametrize(("mean", "covariance", "sentence"), NO_PRIOR.values(), ids=NO_PRIOR)
def test_what_is_no_gaussian_is_refused(mean: tuple, covariance: tuple, sentence: str) -> None:
    recipe = ModelConfig(latent=2, prior="gaussian", prior_mean=mean, prior_covariance=covariance)
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        PRIORS["gaussian"].build(recipe, PIXELS, nn.Identity())


def test_singular_but_for_rounding_is_refused() -> None:
    """Eigenvalues 1 and 0, of which rounding makes 1e-17."""
    with pytest.raises(ValueError, match="must be positive definite; got smallest eigenvalue"):
        given_gaussian(2, (), (0.1, 0.3, 0.3, 0.9))


def test_spread_points_are_like_a_standard_normal() -> None:
    points = spread_normals(500, 2)
    assert points.isfinite().all()
    assert points.mean(0).abs().max() < 0.02
    assert (torch.cov(points.T) - torch.eye(2)).abs().max() < 0.05
    assert len(spread_normals(7, 784)) == 7


def test_mixture_components_start_apart() -> None:
    prior = machine(config("mixture", 2), SHAPE, generator=seeded(1)).prior()
    assert torch.pdist(prior.loc).min() > 0.3
    assert torch.equal(prior.scale, torch.ones(4, 2))


# The VampPrior shares the encoder


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_vamp_is_the_mean_of_posteriors(network: str) -> None:
    recipe = ModelConfig(network=network, widths=(5,), prior="vamp", components=4)
    model = machine(recipe, SHAPE, generator=seeded(1)).double()
    h = torch.randn(7, 3, 2, generator=seeded(2), dtype=torch.float64)
    inputs = model.prior.raw_inputs.sigmoid()
    each = torch.stack([model.encode(inputs[[i]]).log_prob(h) for i in range(4)])
    torch.testing.assert_close(model.prior().log_prob(h), each.exp().mean(0).log())
    torch.testing.assert_close(model.prior().mean, model.encode(inputs).mean.mean(0))


def test_vamp_shares_the_encoder() -> None:
    model = machine(config("vamp", 2), SHAPE, generator=seeded(1))
    names = {name for name, _ in model.named_parameters()}
    assert {name for name in names if name.startswith("prior")} == {"prior.raw_inputs"}
    assert set(model.state_dict()) == names
    pointers = [parameter.data_ptr() for parameter in model.parameters()]
    assert len(set(pointers)) == len(pointers)
    value = model.prior().log_prob(torch.zeros(2))
    slopes = torch.autograd.grad(value, list(model.recognition.parameters()))
    assert all((slope != 0).any() for slope in slopes)


def in_double(model: HelmholtzMachine) -> HelmholtzMachine:
    return model.double()


def loaded(model: HelmholtzMachine) -> HelmholtzMachine:
    other = machine(config("vamp", 2), SHAPE, generator=seeded(9))
    other.load_state_dict(model.state_dict())
    return other


@pytest.mark.parametrize("change", [copy.deepcopy, in_double, loaded], ids=["deepcopy", "double", "load_state_dict"])
def test_vamp_stays_tied_to_its_own_encoder(change: Callable[[HelmholtzMachine], HelmholtzMachine]) -> None:
    original = machine(config("vamp", 2), SHAPE, generator=seeded(1))
    before = original.prior().loc.detach().clone()
    model = change(original)
    prior = model.prior
    assert isinstance(prior, VampPrior)
    assert prior._encoder[0] is model.recognition[0]
    torch.testing.assert_close(prior().loc, before.to(prior.raw_inputs.dtype))
    with torch.no_grad():
        for parameter in model.recognition.parameters():
            parameter.add_(1)
    raw = model.recognition[0].trunk(prior.raw_inputs.sigmoid())
    torch.testing.assert_close(prior().loc, raw[:, :2])
    assert not torch.allclose(prior().loc, before.to(prior.raw_inputs.dtype))
    if model is not original:
        assert torch.equal(original.prior().loc, before)


def test_initialise_leaves_the_pseudo_inputs() -> None:
    model = machine(config("vamp", 2), SHAPE, generator=seeded(1))
    before = model.prior.raw_inputs.detach().clone()
    initialise(model, generator=seeded(2))
    assert torch.equal(model.prior.raw_inputs, before)
    assert len(torch.unique(before, dim=0)) == 4


def test_vamp_draws() -> None:
    model = built("vamp", 2)
    draws = model.prior().sample(20_000, generator=seeded(3)).detach()
    expected = vamp(model, 2)
    assert exact.z_scores(draws, expected.mean.detach()).abs().max() < 4.5


def test_vamp_of_another_posterior_is_refused() -> None:
    model = machine(config("vamp", 2), SHAPE, generator=seeded(1))
    full = machine(ModelConfig(widths=(5,), posterior="full_gaussian"), SHAPE, generator=seeded(1))
    with pytest.raises(
        ValueError, match=r"made of diagonal Gaussian posteriors; got FullNormal: use the prior 'mixture'"
    ):
        VampPrior(PIXELS, 4, full.encoder)()
    assert len(model.prior().loc) == 4
