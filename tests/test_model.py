import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch import distributions as td
from torch.utils._pytree import tree_leaves

from tests import exact
from tests.small import (
    belief_net,
    gaussian_machine,
    layer,
    linear_vae,
    seeded,
    small_images,
    small_vae,
)
from vae_core.bounds import Objective
from vae_core.config import ModelConfig
from vae_core.estimators import ESTIMATORS
from vae_core.families import DiagonalGaussianFamily
from vae_core.gaussians import kl
from vae_core.likelihoods import LIKELIHOODS, SharedScaleGaussianFamily
from vae_core.model import HelmholtzMachine, freeze, machine, total_log_prob
from vae_core.posteriors import POSTERIORS
from vae_core.priors import PRIORS, StandardNormalPrior


def diagonal(raw: Tensor) -> td.Distribution:
    loc, log_scale = raw.chunk(2, dim=-1)
    return td.Independent(td.Normal(loc, (7 * (log_scale / 7).tanh()).exp()), 1)


def bernoulli(logits: Tensor) -> td.Distribution:
    return td.Independent(td.Bernoulli(logits=logits), 1, validate_args=False)


SHARED_SCALE = math.exp(7 * math.tanh(math.log(0.3) / 7))


def test_two_layer_terms_by_hand() -> None:
    model = gaussian_machine()
    x = torch.randn(3, 4, generator=seeded(1), dtype=torch.float64)
    inference = model.infer(x, 5, generator=seeded(2))
    h1, h2 = inference.h
    terms = model.terms(x, inference)
    assert h1.shape == (5, 3, 3)
    assert h2.shape == (5, 3, 2)
    q1, q2 = diagonal(model.recognition[0].trunk(x)), diagonal(model.recognition[1].trunk(h1))
    p_x = td.Normal(model.generative[0].trunk(h1), SHARED_SCALE)
    p_h1 = td.Normal(model.generative[1].trunk(h2), SHARED_SCALE)
    log_prior = p_h1.log_prob(h1).sum(-1) + td.Normal(0.0, 1.0).log_prob(h2).sum(-1)
    torch.testing.assert_close(terms.log_lik, p_x.log_prob(x).sum(-1))
    torch.testing.assert_close(terms.log_prior, log_prior)
    torch.testing.assert_close(terms.log_q, q1.log_prob(h1) + q2.log_prob(h2))


def test_inner_draws_follow_their_layer() -> None:
    """q(h_2 | h_1) is conditioned on the drawn h_1, not on its mean."""
    model = gaussian_machine()
    x = torch.randn(1, 4, generator=seeded(1), dtype=torch.float64)
    inference = model.infer(x, 50_000, generator=seeded(2))
    q2 = diagonal(model.recognition[1].trunk(inference.h[0]))
    noise = (inference.h[1] - q2.mean) / q2.stddev
    assert exact.z_scores(noise, 0.0).abs().max() < 4.5
    assert exact.z_scores(noise.square(), 1.0).abs().max() < 4.5


def belief_net_bound(model: HelmholtzMachine, x: Tensor) -> Tensor:
    """The ELBO of the sigmoid belief net, summed over all states of its five hidden units."""
    states = exact.binary_words(5)
    h1, h2 = states[:, None, :3].expand(-1, len(x), -1), states[:, None, 3:].expand(-1, len(x), -1)

    def log_prob(trunk: torch.nn.Module, given: Tensor, value: Tensor) -> Tensor:
        return bernoulli(trunk(given)).log_prob(value)

    log_q = log_prob(model.recognition[0].trunk, x, h1) + log_prob(model.recognition[1].trunk, h1, h2)
    log_prior = log_prob(model.generative[1].trunk, h2, h1) - 2 * math.log(2)
    log_lik = log_prob(model.generative[0].trunk, h1, x)
    return (log_q.exp() * (log_lik + log_prior - log_q)).sum(0)


def test_binary_layers_against_enumeration() -> None:
    model, x = belief_net(), small_images()
    with torch.no_grad():
        terms = model.terms(x, model.infer(x, 50_000, generator=seeded(1)))
        expected = belief_net_bound(model, x)
    assert exact.z_scores(terms.log_lik + terms.log_prior - terms.log_q, expected).abs().max() < 4.5


def test_dreams_marginalise_over_the_prior() -> None:
    model = small_vae()
    grid, weights = exact.hermite(40, 2)
    with torch.no_grad():
        expected = (weights[:, None] * model.generative[0].trunk(grid).sigmoid()).sum(0)
    pixels, (h,) = model.dream(50_000, generator=seeded(1))
    assert pixels.shape == (50_000, 6)
    assert h.shape == (50_000, 2)
    assert exact.z_scores(pixels, expected).abs().max() < 4.5
    assert exact.z_scores(h, 0.0).abs().max() < 4.5


def test_dreams_of_binary_layers_against_enumeration() -> None:
    """Every state of the five hidden units and six pixels as often as the net says: means and products of pairs."""
    model = belief_net()
    states = exact.binary_words(11)
    with torch.no_grad():
        h1, h2 = states[:, :3], states[:, 3:5]
        log_joint = bernoulli(model.generative[1].trunk(h2)).log_prob(h1)
        log_joint = log_joint + bernoulli(model.generative[0].trunk(h1)).log_prob(states[:, 5:]) - 2 * math.log(2)
    x, h = model.dream(50_000, generator=seeded(1))
    dreamt = torch.cat([*h, x], dim=-1)
    pairs = torch.triu_indices(11, 11)
    expected = log_joint.exp() @ (states[:, pairs[0]] * states[:, pairs[1]])
    assert exact.z_scores(dreamt[:, pairs[0]] * dreamt[:, pairs[1]], expected).abs().max() < 4.5


def test_dreams_pass_through_every_layer() -> None:
    """x = W (A h + a + s e) + b + s e': mean and covariance in closed form."""
    model = gaussian_machine()
    outer, inner = model.generative[0].trunk[0], model.generative[1].trunk[0]
    with torch.no_grad():
        pixels, _ = model.dream(100_000, generator=seeded(1))
        spread = inner.weight @ inner.weight.T + SHARED_SCALE**2 * torch.eye(3)
        covariance = outer.weight @ spread @ outer.weight.T + SHARED_SCALE**2 * torch.eye(4)
        centred = pixels - outer(inner.bias)
    assert exact.z_scores(centred, 0.0).abs().max() < 4.5
    products = (centred[:, :, None] * centred[:, None, :]).flatten(1)
    assert exact.z_scores(products, covariance.flatten()).abs().max() < 4.5


def test_one_network_per_layer() -> None:
    recognition = [layer(4, DiagonalGaussianFamily(3)), layer(3, DiagonalGaussianFamily(2))]
    with pytest.raises(ValueError, match="one network per layer; got 2 and 1"):
        HelmholtzMachine(recognition, [layer(3, SharedScaleGaussianFamily(4))], StandardNormalPrior(2))


@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_machine_has_the_asked_sizes(network: str, likelihood: str) -> None:
    config = ModelConfig(network=network, widths=(8, 5), latent=3, likelihood=likelihood)
    model = machine(config, (1, 8, 4), generator=seeded(1))
    assert model.encode(torch.zeros(2, 32)).mean.shape == (2, 3)
    assert model.decode(torch.zeros(7, 2, 3)).mean.shape == (7, 2, 32)
    assert model.prior().mean.shape == (3,)
    assert model.device == torch.device("cpu")


def sizes(trunk: torch.nn.Module) -> list[tuple[int, int]]:
    return [(part.in_features, part.out_features) for part in trunk if isinstance(part, torch.nn.Linear)]


def test_decoder_mirrors_the_encoder() -> None:
    model = machine(ModelConfig(widths=(8, 5), latent=3), (1, 2, 2), generator=seeded(1))
    assert sizes(model.recognition[0].trunk) == [(4, 8), (8, 5), (5, 6)]
    assert sizes(model.generative[0].trunk) == [(3, 5), (5, 8), (8, 4)]


FITTING = [
    *[ModelConfig(widths=(5,), likelihood=name) for name in LIKELIHOODS],
    *[ModelConfig(widths=(5,), posterior=name) for name in ("diagonal_gaussian", "full_gaussian", "flow")],
    *[ModelConfig(widths=(5,), prior=name) for name in PRIORS if name not in ("bernoulli", "none")],
    ModelConfig(widths=(5,), posterior="bernoulli", prior="bernoulli"),
    ModelConfig(widths=(5,), posterior="deterministic", prior="none"),
    ModelConfig(widths=(5,), below=(4, 3), inner_widths=(6,), posterior="flow"),
    ModelConfig(network="conv", widths=(3,), below=(3,), posterior="full_gaussian"),
]
"""Every entry of the three tables, and several layers."""


def name_of(config: ModelConfig) -> str:
    return f"{config.network} {config.likelihood} {config.posterior} {config.prior} {len(config.below)}"


def test_every_entry_fits_somewhere() -> None:
    assert {config.likelihood for config in FITTING} == set(LIKELIHOODS)
    assert {config.posterior for config in FITTING} == set(POSTERIORS)
    assert {config.prior for config in FITTING} == set(PRIORS)


@pytest.mark.parametrize("config", FITTING, ids=name_of)
def test_machine_depends_on_the_generator_only(config: ModelConfig) -> None:
    def parameters(seed: int, global_seed: int) -> Tensor:
        torch.manual_seed(global_seed)
        return torch.cat([p.flatten() for p in machine(config, (1, 4, 2), generator=seeded(seed)).parameters()])

    assert torch.equal(parameters(1, 2), parameters(1, 3))
    assert not torch.equal(parameters(1, 2), parameters(4, 2))


def run(model: HelmholtzMachine, config: ModelConfig, seed: int) -> list[Tensor]:
    """All that a machine draws and says about a few images."""
    levels = torch.randint(0, 256, (3, 8), generator=seeded(1)).to(torch.uint8)
    x = LIKELIHOODS[config.likelihood].observe(levels, generator=seeded(2))
    inference = model.infer(x, 5, generator=seeded(seed))
    found = [*inference.h, *vars(model.terms(x, inference)).values(), model.centre()]
    if config.prior != "none":
        dreamt, h = model.dream(4, generator=seeded(seed))
        found += [dreamt, *h]
    return found


@pytest.mark.parametrize("config", FITTING, ids=name_of)
def test_state_dict_and_seed_are_all_there_is(config: ModelConfig) -> None:
    model, other = (machine(config, (1, 4, 2), generator=seeded(seed)) for seed in (1, 2))
    first = run(model, config, 3)
    assert all(value.isfinite().all() for value in first)
    assert not all(torch.equal(a, b) for a, b in zip(first, run(other, config, 3), strict=True))
    other.load_state_dict(model.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(first, run(other, config, 3), strict=True))
    if config.posterior != "deterministic":
        assert not torch.equal(first[0], run(model, config, 4)[0])


@pytest.mark.parametrize("config", FITTING, ids=name_of)
def test_machine_shapes(config: ModelConfig) -> None:
    model = machine(config, (1, 4, 2), generator=seeded(1))
    sizes = (*config.below, config.latent)
    found = run(model, config, 3)
    layers = len(sizes)
    assert [value.shape for value in found[:layers]] == [(5, 3, size) for size in sizes]
    assert [value.shape for value in found[layers : layers + 3]] == [(5, 3)] * 3
    assert found[layers + 3].shape == (sizes[0],)
    if config.prior != "none":
        assert [value.shape for value in found[layers + 4 :]] == [(4, 8), *((4, size) for size in sizes)]


@pytest.mark.parametrize("config", FITTING, ids=name_of)
def test_frozen_networks_pass_gradients_to_their_input_only(config: ModelConfig) -> None:
    model = machine(config, (1, 4, 2), generator=seeded(1))
    for layer_ in (*model.recognition, *model.generative):
        inputs = torch.rand(3, size_of(layer_), generator=seeded(2), requires_grad=True)
        frozen, free = freeze(layer_)(inputs), layer_(inputs)
        x = free.sample(1, generator=seeded(3)).squeeze(0).detach()
        value = frozen.log_prob(x).sum() + frozen.mean.sum()
        expected = free.log_prob(x).sum() + free.mean.sum()
        torch.testing.assert_close(value, expected, rtol=0, atol=0)
        slopes = torch.autograd.grad(value, [inputs, *layer_.parameters()], allow_unused=True)
        assert all(slope is None for slope in slopes[1:])
        torch.testing.assert_close(slopes[0], torch.autograd.grad(expected, inputs)[0])
        assert all(parameter.requires_grad for parameter in layer_.parameters())


def size_of(conditional: torch.nn.Module) -> int:
    """What a conditional reads: the inputs of its first linear layer, or the pixels of its first convolution."""
    first = next(m for m in conditional.modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d)))
    return first.in_features if isinstance(first, torch.nn.Linear) else 8


@pytest.mark.parametrize("config", FITTING, ids=name_of)
@pytest.mark.parametrize("frozen", [False, True])
def test_recognise_gives_the_densities_of_the_draws(config: ModelConfig, frozen: bool) -> None:
    model = machine(config, (1, 4, 2), generator=seeded(1))
    x = torch.rand(3, 8, generator=seeded(2))
    inference = model.infer(x, 5, generator=seeded(3))
    h = tuple(draw.detach() for draw in inference.h)
    again = model.recognise(x, h, frozen=frozen)
    assert [type(q) for q in again] == [type(q) for q in inference.q]
    for q, seen in zip(inference.q, again, strict=True):
        for ours, theirs in zip(
            tree_leaves(list(vars(q).values())), tree_leaves(list(vars(seen).values())), strict=True
        ):
            assert torch.equal(ours, theirs)
    value = total_log_prob(again, tuple(draw.requires_grad_() for draw in h)).sum()
    if config.posterior != "deterministic":
        slopes = torch.autograd.grad(value, list(model.recognition[0].parameters()), allow_unused=True)
        assert all(slope is None for slope in slopes) is frozen


@pytest.mark.parametrize("config", FITTING, ids=name_of)
def test_draws_let_gradients_through_or_not(config: ModelConfig) -> None:
    model = machine(config, (1, 4, 2), generator=seeded(1))
    x = torch.rand(3, 8, generator=seeded(2))
    through, stopped = (model.infer(x, 5, generator=seeded(3), through=through) for through in (True, False))
    reparameterised = POSTERIORS[config.posterior].density.reparameterised
    for ours, theirs in zip(through.h, stopped.h, strict=True):
        assert torch.equal(ours, theirs)
        assert ours.requires_grad is reparameterised
        assert not theirs.requires_grad
    for q in stopped.q:
        assert any(parameter.requires_grad for parameter in tree_leaves(list(vars(q).values())))


GAUSSIAN = ModelConfig(widths=(5,), activation="tanh", likelihood="gaussian_per_pixel", inner_widths=(4,))
BINARY = ModelConfig(widths=(5,), activation="tanh", posterior="bernoulli", prior="bernoulli", inner_widths=(4,))
BELOW = [(), (3,), (4, 3)]


@pytest.mark.parametrize("below", BELOW, ids=len)
@pytest.mark.parametrize(("config", "kind"), [(GAUSSIAN, diagonal), (BINARY, bernoulli)], ids=["Gaussian", "Bernoulli"])
def test_terms_by_hand(config: ModelConfig, kind: Callable[[Tensor], td.Distribution], below: tuple[int, ...]) -> None:
    model = machine(replace(config, below=below), (1, 3, 2), generator=seeded(1)).double()
    x = small_images()
    inference = model.infer(x, 5, generator=seeded(2))
    h = inference.h
    terms = model.terms(x, inference)
    seen, caused = (x, *h[:-1]), h[:-1]
    log_q = sum(kind(net.trunk(v)).log_prob(d) for net, v, d in zip(model.recognition, seen, h, strict=True))
    top = bernoulli(model.prior.logits) if kind is bernoulli else td.Independent(td.Normal(torch.zeros(2), 1.0), 1)
    log_prior = top.log_prob(h[-1])
    for net, above, value in zip(list(model.generative)[1:], h[1:], caused, strict=True):
        log_prior = log_prior + kind(net.trunk(above)).log_prob(value)
    values = [kind(model.generative[0].trunk(h[0])).log_prob(x), log_prior, log_q]
    assert len(h) == len(below) + 1
    parameters = list(model.parameters())
    for ours, theirs in zip(vars(terms).values(), values, strict=True):
        torch.testing.assert_close(ours, theirs)
        if ours.requires_grad:
            torch.testing.assert_close(slopes_of(ours, parameters), slopes_of(theirs, parameters))
    torch.testing.assert_close(model.log_prior(h), log_prior)
    torch.testing.assert_close(model.log_lik(x, h), values[0])


def slopes_of(value: Tensor, parameters: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(value.sum(), parameters, allow_unused=True, materialize_grads=True, retain_graph=True)


def test_centre_goes_down_layer_by_layer() -> None:
    model = machine(replace(GAUSSIAN, below=(4, 3)), (1, 3, 2), generator=seeded(1)).double()
    h = torch.zeros(2).double()
    for net in (model.generative[2], model.generative[1]):
        h = diagonal(net.trunk(h)).mean
    torch.testing.assert_close(model.centre(), h)
    given = ModelConfig(widths=(5,), prior="gaussian", prior_mean=(1.0, -2.0))
    assert machine(given, (1, 3, 2), generator=seeded(1)).centre().tolist() == [1.0, -2.0]


@pytest.mark.parametrize("posterior", ["diagonal_gaussian", "bernoulli"])
def test_inner_networks_mirror_each_other(posterior: str) -> None:
    prior = "bernoulli" if posterior == "bernoulli" else "standard_normal"
    config = ModelConfig(widths=(8,), latent=2, below=(5, 3), inner_widths=(7, 6), posterior=posterior, prior=prior)
    model = machine(config, (1, 2, 2), generator=seeded(1))
    twice = 1 if posterior == "bernoulli" else 2
    assert [sizes(net.trunk) for net in model.recognition] == [
        [(4, 8), (8, 5 * twice)],
        [(5, 7), (7, 6), (6, 3 * twice)],
        [(3, 7), (7, 6), (6, 2 * twice)],
    ]
    assert [sizes(net.trunk) for net in model.generative] == [
        [(5, 8), (8, 4)],
        [(3, 6), (6, 7), (7, 5 * twice)],
        [(2, 6), (6, 7), (7, 3 * twice)],
    ]


def train_on_all(model: HelmholtzMachine, x: Tensor, steps: int) -> None:
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    generator = seeded(9)
    for _ in range(steps):
        estimate = ESTIMATORS["pathwise_analytic"].estimate(model, x, Objective(), 16, generator=generator)
        optimiser.zero_grad()
        (-estimate.objective.mean()).backward()
        optimiser.step()
        schedule.step()


def test_linear_vae_finds_probabilistic_pca() -> None:
    """The optimum of a linear VAE is the maximum marginal likelihood (Lucas et al. 2019, theorem 1)."""
    scales = torch.tensor([2.0, 1.2, 0.4, 0.4, 0.4], dtype=torch.float64)
    mixing = torch.linalg.qr(torch.randn(5, 5, generator=seeded(1), dtype=torch.float64))[0]
    x = torch.randn(300, 5, generator=seeded(2), dtype=torch.float64) * scales @ mixing + 0.5
    best = exact.principal_components(x, 2)
    model = linear_vae(5, 2)
    train_on_all(model, x, 800)
    with torch.no_grad():
        q = model.encode(x)
        grid, weights = exact.hermite(3, 2)  # the reconstruction is quadratic in z: three nodes are exact
        reconstruction = (weights[:, None] * model.decode(q.loc + q.scale * grid[:, None]).log_prob(x)).sum(0)
        found = (reconstruction - kl(q, model.prior())).mean().item()
        noise = model.decode(q.loc).scale.square().item()
    assert found <= best.log_likelihood + 1e-9
    assert found == pytest.approx(best.log_likelihood, abs=5e-4)
    assert noise == pytest.approx(best.noise_variance, rel=2e-3)
