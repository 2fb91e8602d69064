import pytest
import torch
from torch import Tensor, nn
from torch import distributions as td

from tests import exact
from tests.small import SIZE, belief_net, layer, seeded, small_images, small_vae
from tests.test_model import belief_net_bound
from vae_core import evaluation
from vae_core.distributions import Bernoulli, Normal
from vae_core.evaluation import evaluate, example_terms, posterior_means, rate_by_dimension
from vae_core.families import DiagonalGaussianFamily, FromLogits
from vae_core.likelihoods import binarise, grey
from vae_core.model import Conditional, HelmholtzMachine
from vae_core.priors import StandardNormalPrior

DRAWS = 20_000


def greys(count: int) -> Tensor:
    return torch.randint(0, 256, (count, SIZE), generator=seeded(1)).to(torch.uint8)


def test_example_terms_against_quadrature() -> None:
    model, x = small_vae(), small_images(7)
    terms = example_terms(model, x, DRAWS, generator=seeded(2))
    with torch.no_grad():
        expected = exact.vae_terms(model, x)
    torch.testing.assert_close(terms.rate, expected.kl, rtol=1e-10, atol=1e-10)
    z = (terms.reconstruction - expected.reconstruction) / (expected.variance / DRAWS).sqrt()
    assert z.abs().max() < 4
    torch.testing.assert_close(terms.elbo, terms.reconstruction - terms.rate)


def test_example_terms_without_a_closed_form() -> None:
    """Independent estimates of a machine of two binary layers, against the sum over all its states."""
    model, x = belief_net(), small_images()
    generator = seeded(2)
    estimates = torch.stack([example_terms(model, x, 200, generator=generator).elbo for _ in range(200)])
    with torch.no_grad():
        expected = belief_net_bound(model, x)
    assert exact.z_scores(estimates, expected).abs().max() < 4


def test_evaluation_is_the_mean_over_examples() -> None:
    model, x = small_vae().float(), greys(300)
    result = evaluate(model, binarise, x, generator=seeded(3), draws=5)
    generator = seeded(3)
    terms = example_terms(model, binarise(x, generator=generator), 5, generator=generator)
    elbos = terms.elbo.double()
    assert result.elbo == pytest.approx(elbos.mean().item(), rel=1e-5)
    assert result.elbo_se == pytest.approx((elbos.var().item() / 300) ** 0.5, rel=1e-4)
    assert result.rate == pytest.approx(terms.rate.mean().item(), rel=1e-5)
    assert result.elbo == pytest.approx(-result.distortion - result.rate, rel=1e-5)


def test_evaluation_estimates_the_exact_bound() -> None:
    """Over all visits: fresh binarisations included, so the standard error covers both."""
    model, x = small_vae().float(), greys(4_000)
    result = evaluate(model, binarise, x, generator=seeded(4))
    words = exact.binary_words(SIZE)
    with torch.no_grad():
        elbo_of_word = exact.vae_terms(model.double(), words).elbo()
    probability = td.Bernoulli(x[:, None].double() / 255, validate_args=False).log_prob(words).sum(-1).exp()
    expected = (probability @ elbo_of_word).mean().item()
    assert abs(result.elbo - expected) < 4 * result.elbo_se
    assert result.elbo_se < 0.05


def test_standard_error_is_the_spread_of_repeated_evaluations() -> None:
    model, x = small_vae().float(), greys(20_000)
    generator = seeded(5)
    results = [evaluate(model, binarise, part, generator=generator) for part in x.split(100)]
    spread = torch.tensor([result.elbo for result in results]).std().item()
    claimed = sum(result.elbo_se for result in results) / len(results)
    assert spread == pytest.approx(claimed, rel=3.5 / (2 * len(results)) ** 0.5)


class Decoder(nn.Module):
    """Fair coins for every pixel."""

    def forward(self, z: Tensor) -> Tensor:
        return torch.zeros(*z.shape[:-1], SIZE)


def machine_with_means(scales: list[float]) -> HelmholtzMachine:
    """Posterior mean m is scales[m] times the first pixel."""
    encoder = layer(SIZE, DiagonalGaussianFamily(len(scales)))
    with torch.no_grad():
        encoder.trunk[0].weight.zero_()
        encoder.trunk[0].bias.zero_()
        encoder.trunk[0].weight[: len(scales), 0] = torch.tensor(scales)
    decoder = Conditional(Decoder(), FromLogits(SIZE, Bernoulli))
    return HelmholtzMachine([encoder], [decoder], StandardNormalPrior(len(scales)))


def test_active_units_are_those_whose_mean_varies_by_more_than_a_hundredth() -> None:
    """The first pixel is 0 or 1 in equal shares: a unit's variance is scale^2 / 4 x 1000/999."""
    x = greys(1_000)
    x[:, 0] = torch.tensor([0, 255], dtype=torch.uint8).repeat(500)
    model = machine_with_means([1.0, 0.0, 0.1998, 0.2002, -0.5])
    assert evaluate(model, grey, x, generator=seeded(1)).active_units == 3


def test_chunks_do_not_change_what_is_not_random(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = small_vae().float(), greys(50)

    def results() -> tuple[Tensor, Tensor, int]:
        means = posterior_means(model, grey, x, generator=seeded(1))
        rate = example_terms(model, grey(x, generator=seeded(1)), 1, generator=seeded(2)).rate
        return means, rate, evaluate(model, grey, x, generator=seeded(3)).active_units

    whole = results()
    monkeypatch.setattr(evaluation, "CHUNK", 7)
    means, rate, active = results()
    torch.testing.assert_close(means, whole[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(rate, whole[1], rtol=1e-5, atol=1e-6)
    assert active == whole[2]


def test_posterior_means_are_those_of_the_encoder() -> None:
    model, x = small_vae().float(), greys(20)
    expected = model.recognition[0].trunk(x / 255)[:, :2].detach()
    torch.testing.assert_close(posterior_means(model, grey, x, generator=seeded(1)), expected)


def test_nothing_evaluated_carries_gradients() -> None:
    model, x = small_vae().float(), greys(20)
    terms = example_terms(model, x / 255, 1, generator=seeded(1))
    assert not terms.elbo.requires_grad
    assert not posterior_means(model, grey, x, generator=seeded(1)).requires_grad
    assert not rate_by_dimension(model.encode(x / 255), model.prior()).requires_grad


def test_rate_by_dimension() -> None:
    loc, scale = torch.randn(2, 30, 4, generator=seeded(1))
    rates = rate_by_dimension(Normal(loc, scale.exp()), Normal(torch.zeros(4), torch.ones(4)))
    expected = td.kl_divergence(td.Normal(loc, scale.exp()), td.Normal(0.0, 1.0)).mean(0)
    torch.testing.assert_close(rates, expected, rtol=1e-4, atol=1e-5)


def test_rate_by_dimension_of_other_densities() -> None:
    prior = Normal(torch.zeros(4), torch.ones(4))
    with pytest.raises(TypeError, match="KL of Bernoulli to Normal has no terms by dimension"):
        rate_by_dimension(Bernoulli(torch.zeros(2, 4)), prior)
