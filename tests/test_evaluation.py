import math

import pytest
import torch
from torch import Tensor, nn
from torch import distributions as td

from tests import exact
from tests.small import (
    SIZE,
    belief_net,
    gaussian_machine,
    layer,
    linear_machine,
    mislead,
    seeded,
    small_images,
    small_machine,
    small_vae,
)
from tests.test_model import belief_net_bound
from vae_core import evaluation
from vae_core.distributions import Bernoulli, ContinuousBernoulli, Normal
from vae_core.evaluation import (
    active_units,
    evaluate,
    example_terms,
    mean_and_error,
    posterior_means,
    rate_by_dimension,
    require_support,
    use_of_code,
    weight_of_dimensions,
)
from vae_core.families import DiagonalGaussianFamily, FromLogits
from vae_core.gaussians import FullNormal
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
    assert result.rate_se == pytest.approx((terms.rate.double().var().item() / 300) ** 0.5, rel=1e-4)
    assert result.distortion_se == pytest.approx((terms.reconstruction.double().var().item() / 300) ** 0.5, rel=1e-4)
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
    decoder = Conditional(Decoder(), FromLogits(SIZE, ContinuousBernoulli))
    return HelmholtzMachine([encoder], [decoder], StandardNormalPrior(len(scales)))


def test_active_units_are_those_whose_mean_varies_by_more_than_a_hundredth() -> None:
    """The first pixel is 0 or 1 in equal shares: a unit's variance is scale^2 / 4 x 1000/999."""
    x = greys(1_000)
    x[:, 0] = torch.tensor([0, 255], dtype=torch.uint8).repeat(500)
    model = machine_with_means([1.0, 0.0, 0.1998, 0.2002, -0.5])
    assert evaluate(model, grey, x, generator=seeded(1)).active_units == 3


def test_chunks_do_not_change_what_is_not_random(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = small_machine(likelihood="continuous_bernoulli").float(), greys(50)

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
    model, x = small_machine(likelihood="continuous_bernoulli").float(), greys(20)
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


def test_mean_and_error_by_hand() -> None:
    assert mean_and_error(torch.tensor([1.0, 2.0, 6.0])) == pytest.approx((3.0, (7 / 3) ** 0.5))


@pytest.mark.parametrize("model", [small_vae(), belief_net(), small_machine(prior="vamp")], ids=["one", "two", "vamp"])
def test_data_outside_the_support_are_refused_by_name(model: HelmholtzMachine) -> None:
    require_support(model, small_images(3))
    wrong = small_images(3)
    wrong[1, 2] = 0.25
    with pytest.raises(ValueError, match=r"^x must be 0 or 1 for Bernoulli; got 0\.25: binarise grey values first"):
        require_support(model, wrong)
    with pytest.raises(ValueError, match=r"got 0\.25"):
        example_terms(model, wrong, 1, generator=seeded(1))


def test_a_code_that_says_nothing() -> None:
    """Every posterior is the prior: no information, no distance."""
    model = linear_machine(2, posterior="diagonal_gaussian")
    mislead(model, 0.0, 1.0)
    use = use_of_code(model, model.dream(100, generator=seeded(1))[0], generator=seeded(2))
    assert vars(use) == pytest.approx(dict.fromkeys(vars(use), 0.0), abs=1e-9)


def first_pixel_code(scale: float, mean: float = 0.0) -> HelmholtzMachine:
    """q(z|x) = N(mean + x_1, scale^2), prior N(0, 1)."""
    model = linear_machine(1, posterior="diagonal_gaussian")
    mislead(model, mean, scale)
    with torch.no_grad():
        model.recognition[0].trunk[0].weight[0, 0] = 1.0
    return model


def first_pixels(values: Tensor) -> Tensor:
    return torch.cat([values.unsqueeze(1), torch.zeros(len(values), 3)], dim=1).double()


def test_a_code_that_tells_all_examples_apart() -> None:
    """Posteriors far from each other: log N nats, and the rest of the rate is distance."""
    x = first_pixels(torch.arange(50.0))
    use = use_of_code(first_pixel_code(0.01), x, generator=seeded(2))
    assert use.information == pytest.approx(math.log(50), abs=1e-9)
    rate = td.kl_divergence(td.Normal(x[:, 0], 0.01), td.Normal(0.0, 1.0)).mean().item()
    assert abs(use.information + use.distance - rate) < 0.2  # one draw each


def test_information_and_distance_of_a_gaussian_code() -> None:
    """Gaussian noise on Gaussian values: information 1/2 log(1 + signal / noise), distance a KL of two Gaussians."""
    scale, mean = 0.5, 0.3
    values = torch.randn(4_000, generator=seeded(3), dtype=torch.float64)
    use = use_of_code(first_pixel_code(scale, mean), first_pixels(values), generator=seeded(4))
    aggregate = td.Normal(mean + values.mean(), (values.var() + scale**2).sqrt())
    distance = td.kl_divergence(aggregate, td.Normal(0.0, 1.0)).item()
    assert abs(use.information - 0.5 * math.log(1 + values.var().item() / scale**2)) < 4 * use.information_se
    assert abs(use.distance - distance) < 4 * use.distance_se
    assert use.information_se < 0.02


SETTINGS = [{"posterior": "full_gaussian"}, {"posterior": "flow"}, {"prior": "mixture"}]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_information_and_distance_are_the_rate(settings: dict[str, str]) -> None:
    model, x = small_machine(**settings), exact.binary_words(SIZE)
    uses = [use_of_code(model, x, generator=seeded(seed)) for seed in range(40)]
    sums = torch.tensor([use.information + use.distance for use in uses], dtype=torch.float64)
    with torch.no_grad():
        q = model.encode(x)
        z = q.sample(1_000, generator=seeded(200))
        rate = (q.log_prob(z) - model.prior().log_prob(z)).mean(1)
    error = (sums.var() / len(sums) + rate.var() / len(rate)).sqrt()
    assert abs(sums.mean() - rate.mean()) < 4 * error
    assert all(0 < use.information <= math.log(64) + 1e-9 for use in uses)


def test_use_of_binary_codes_of_several_layers() -> None:
    """Against the sum over all codes; the distance to a prior without a density is not a number."""
    model, x = belief_net(), exact.binary_words(SIZE)
    q = td.Independent(td.Bernoulli(logits=model.recognition[0].trunk(x)), 1)
    log_q = q.log_prob(exact.binary_words(3)[:, None]).detach()
    mixture = torch.logsumexp(log_q, 1) - math.log(64)
    expected = (log_q.exp() * (log_q - mixture[:, None])).sum(0).mean().item()
    uses = [use_of_code(model, x, generator=seeded(seed)) for seed in range(200)]
    information = torch.tensor([use.information for use in uses], dtype=torch.float64)
    assert abs(exact.z_scores(information, expected)) < 4
    assert all(math.isnan(use.distance) and math.isnan(use.distance_se) for use in uses)


def test_parts_change_nothing_of_the_use(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = small_machine(posterior="flow"), small_images(30)
    whole = use_of_code(model, x, generator=seeded(1))
    monkeypatch.setattr(evaluation, "ROWS", 7)
    assert vars(use_of_code(model, x, generator=seeded(1))) == pytest.approx(vars(whole), abs=1e-12)


def test_active_units_and_the_error_of_their_count() -> None:
    """Two units far above the threshold, one far below, one at it, which about every other bootstrap sample has active:
    a coin, whose standard deviation is one half."""
    means = torch.randn(2_000, 4, generator=seeded(1), dtype=torch.float64)
    means = (means - means.mean(0)) / means.std(0) * torch.tensor([1.0, 0.5, 0.01, 0.1])
    count, error = active_units(means * 1.0001, generator=seeded(2))
    assert count == 3
    assert error == pytest.approx(0.5, abs=0.05)
    assert active_units(means * 0.9999, generator=seeded(2))[0] == 2
    assert active_units(means[:, :3], generator=seeded(2)) == (2, 0.0)


def test_weight_of_dimensions() -> None:
    """The KL where it splits over dimensions, else the spread of the means."""
    vae, full, two = small_vae(), small_machine(posterior="full_gaussian"), gaussian_machine()
    x, pixels = small_images(20), torch.randn(20, 4, generator=seeded(1), dtype=torch.float64)
    q = vae.encode(x)
    assert torch.equal(weight_of_dimensions(vae, q), rate_by_dimension(q, vae.prior()))
    for model, given in ((full, x), (two, pixels), (small_machine(prior="mixture"), x)):
        q = model.encode(given)
        torch.testing.assert_close(weight_of_dimensions(model, q), q.mean.detach().var(0))


def test_rate_by_dimension_is_refused_for_correlated_posteriors() -> None:
    q = FullNormal(torch.zeros(3, 2), torch.eye(2).expand(3, 2, 2))
    with pytest.raises(TypeError, match="KL of FullNormal to Normal has no terms by dimension"):
        rate_by_dimension(q, Normal(torch.zeros(2), torch.ones(2)))
