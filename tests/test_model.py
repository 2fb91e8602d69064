import math

import pytest
import torch
from torch import Tensor
from torch import distributions as td

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
from vae_core.bounds import elbo
from vae_core.config import ModelConfig
from vae_core.distributions import kl
from vae_core.estimators import ESTIMATORS
from vae_core.families import DiagonalGaussianFamily, SharedScaleGaussianFamily, StandardNormalPrior
from vae_core.model import HelmholtzMachine, vae


def diagonal(raw: Tensor) -> td.Normal:
    loc, log_scale = raw.chunk(2, dim=-1)
    return td.Normal(loc, (7 * (log_scale / 7).tanh()).exp())


SHARED_SCALE = math.exp(7 * math.tanh(math.log(0.3) / 7))


def test_one_layer_terms_by_hand() -> None:
    model, x = small_vae(), small_images()
    inference = model.infer(x, 5, generator=seeded(1))
    (z,) = inference.h
    terms = model.terms(x, inference)
    q = diagonal(model.recognition[0].trunk(x))
    likelihood = td.Bernoulli(logits=model.generative[0].trunk(z))
    torch.testing.assert_close(terms.log_lik, likelihood.log_prob(x.expand(5, -1, -1)).sum(-1))
    torch.testing.assert_close(terms.log_prior, td.Normal(0.0, 1.0).log_prob(z).sum(-1))
    torch.testing.assert_close(terms.log_q, q.log_prob(z).sum(-1))


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
    torch.testing.assert_close(terms.log_q, q1.log_prob(h1).sum(-1) + q2.log_prob(h2).sum(-1))


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
        return td.Bernoulli(logits=trunk(given), validate_args=False).log_prob(value).sum(-1)

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


def test_generate_marginalises_over_the_prior() -> None:
    model = small_vae()
    grid, weights = exact.hermite(40, 2)
    with torch.no_grad():
        expected = (weights[:, None] * model.generative[0].trunk(grid).sigmoid()).sum(0)
        pixels = model.generate(50_000, generator=seeded(1)).mean
    assert pixels.shape == (50_000, 6)
    assert exact.z_scores(pixels, expected).abs().max() < 4.5


def test_generate_passes_through_every_layer() -> None:
    """x = W (A h + a + s e) + b: mean and covariance in closed form."""
    model = gaussian_machine()
    outer, inner = model.generative[0].trunk[0], model.generative[1].trunk[0]
    with torch.no_grad():
        pixels = model.generate(100_000, generator=seeded(1)).mean
        spread = inner.weight @ inner.weight.T + SHARED_SCALE**2 * torch.eye(3)
        covariance = outer.weight @ spread @ outer.weight.T
        centred = pixels - outer(inner.bias)
    assert exact.z_scores(centred, 0.0).abs().max() < 4.5
    products = (centred[:, :, None] * centred[:, None, :]).flatten(1)
    assert exact.z_scores(products, covariance.flatten()).abs().max() < 4.5


def test_one_network_per_layer() -> None:
    recognition = [layer(4, DiagonalGaussianFamily(3)), layer(3, DiagonalGaussianFamily(2))]
    with pytest.raises(ValueError, match="one network per layer; got 2 and 1"):
        HelmholtzMachine(recognition, [layer(3, SharedScaleGaussianFamily(4))], StandardNormalPrior(2))


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_vae_has_the_asked_sizes(network: str) -> None:
    config = ModelConfig(network=network, widths=(8, 5), latent=3)
    model = vae(config, (1, 8, 4), generator=seeded(1))
    assert model.encode(torch.zeros(2, 32)).mean.shape == (2, 3)
    assert model.decode(torch.zeros(7, 2, 3)).mean.shape == (7, 2, 32)
    assert model.prior().mean.shape == (3,)
    assert model.device == torch.device("cpu")


def test_decoder_mirrors_the_encoder() -> None:
    model = vae(ModelConfig(widths=(8, 5), latent=3), (1, 2, 2), generator=seeded(1))

    def sizes(trunk: torch.nn.Module) -> list[tuple[int, int]]:
        return [(part.in_features, part.out_features) for part in trunk if isinstance(part, torch.nn.Linear)]

    assert sizes(model.recognition[0].trunk) == [(4, 8), (8, 5), (5, 6)]
    assert sizes(model.generative[0].trunk) == [(3, 5), (5, 8), (8, 4)]


def test_vae_depends_on_the_generator_only() -> None:
    def parameters(seed: int, global_seed: int) -> Tensor:
        torch.manual_seed(global_seed)
        return torch.cat([p.flatten() for p in vae(ModelConfig(), (1, 8, 8), generator=seeded(seed)).parameters()])

    assert torch.equal(parameters(1, 2), parameters(1, 3))
    assert not torch.equal(parameters(1, 2), parameters(4, 2))


def train_on_all(model: HelmholtzMachine, x: Tensor, steps: int) -> None:
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    generator = seeded(9)
    for _ in range(steps):
        estimate = ESTIMATORS["pathwise_analytic"].estimate(model, x, elbo, 16, generator=generator)
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
