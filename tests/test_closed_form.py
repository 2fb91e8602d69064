"""Against the joint Gaussian conditioned, quadrature, and sums over all codes with torch.distributions."""

import re
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor
from torch import distributions as td

from tests.small import (
    SIZE,
    belief_net,
    conditioned,
    gaussian_machine,
    linear_machine,
    seeded,
    small_images,
    small_machine,
    small_vae,
)
from vae_core.closed_form import (
    codes,
    enumerated_log_evidence,
    is_binary,
    is_linear_gaussian,
    layer_sizes,
    linear_gaussian,
)
from vae_core.model import HelmholtzMachine
from vae_core.quadrature import log_evidence, log_posterior

PRIORS = ["standard_normal", "gaussian", "learned_gaussian"]


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("latent", [1, 2])
@pytest.mark.parametrize("noise", [2.0, 0.1])
def test_linear_gaussian_is_the_conditioned_joint(prior: str, latent: int, noise: float) -> None:
    model = linear_machine(latent, prior=prior, noise=noise)
    x = model.dream(20, generator=seeded(2))[0] + 1
    log_p, posterior = linear_gaussian(model, x)
    evidence, expected = conditioned(model, x)
    torch.testing.assert_close(log_p, evidence.log_prob(x).detach(), rtol=1e-10, atol=1e-10)
    covariance = posterior.scale_tril @ posterior.scale_tril.mT
    torch.testing.assert_close(posterior.loc, expected.mean.detach(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(covariance, expected.covariance_matrix.detach(), rtol=1e-10, atol=1e-10)
    z = torch.randn(7, 20, latent, generator=seeded(3), dtype=torch.float64)
    torch.testing.assert_close(posterior.log_prob(z), expected.log_prob(z).detach(), rtol=1e-9, atol=1e-9)
    assert not log_p.requires_grad


@pytest.mark.parametrize("latent", [1, 2])
def test_linear_gaussian_agrees_with_quadrature(latent: int) -> None:
    model = linear_machine(latent, prior="learned_gaussian")
    x, z = model.dream(5, generator=seeded(2))[0], torch.randn(6, latent, generator=seeded(3)).double()
    log_p, posterior = linear_gaussian(model, x)
    by_grid = log_evidence(model, x, 1e-7)
    torch.testing.assert_close(log_p, by_grid.log_p, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        posterior.log_prob(z.unsqueeze(1)), log_posterior(model, x, z, by_grid.log_p), rtol=0, atol=1e-6
    )


def test_more_dimensions_than_quadrature_serves() -> None:
    model = small_machine(shape=(1, 3, 3), widths=(), latent=6, likelihood="gaussian_fixed", sigma=0.7)
    x = model.dream(8, generator=seeded(2))[0]
    log_p, posterior = linear_gaussian(model, x)
    z = posterior.sample(5, generator=seeded(3))
    log_joint = model.log_lik(x, (z,)) + model.log_prior((z,))
    torch.testing.assert_close(log_joint - posterior.log_prob(z), log_p.expand(5, 8), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "model",
    [
        small_vae(),
        small_machine(likelihood="gaussian"),
        small_machine(likelihood="gaussian_per_pixel", widths=()),
        small_machine(likelihood="laplace", widths=()),
        small_machine(likelihood="gaussian", widths=(), prior="mixture"),
        gaussian_machine(),
        belief_net(),
    ],
    ids=["Bernoulli", "hidden layer", "scale of z", "Laplace", "mixture", "two layers", "binary"],
)
def test_other_models_have_no_closed_form(model: HelmholtzMachine) -> None:
    assert not is_linear_gaussian(model)
    with pytest.raises(ValueError, match=r"the closed form needs .* linear decoder .*; use quadrature for 1 or 2"):
        linear_gaussian(model, torch.zeros(1, 4).double())


def words(size: int) -> Tensor:
    return torch.tensor(list(product([0.0, 1.0], repeat=size))).double()


def brute_force(model: HelmholtzMachine, x: Tensor, sizes: list[int]) -> Tensor:
    """The sum over all codes of all layers at once."""
    log_p = []
    for code in words(sum(sizes)):
        h = code.split(sizes)
        terms = td.Bernoulli(logits=model.prior.logits).log_prob(h[-1]).sum()
        for layer, above, below in zip(list(model.generative)[1:], h[1:], h[:-1], strict=True):
            terms = terms + td.Bernoulli(logits=layer.trunk(above)).log_prob(below).sum()
        log_p.append(terms + td.Bernoulli(logits=model.generative[0].trunk(h[0])).log_prob(x).sum(-1))
    return torch.logsumexp(torch.stack(log_p), 0).detach()


def binary(*sizes: int) -> HelmholtzMachine:
    model = small_machine(
        posterior="bernoulli", prior="bernoulli", latent=sizes[-1], below=sizes[:-1], inner_widths=(3,)
    )
    with torch.no_grad():
        model.prior.logits.copy_(torch.randn(sizes[-1], generator=seeded(4)))
    return model


@pytest.mark.parametrize("sizes", [(1,), (5,), (3, 2), (3, 4), (2, 4, 3)], ids=str)
def test_enumeration_is_the_sum_over_all_codes(sizes: tuple[int, ...]) -> None:
    model, x = binary(*sizes), small_images(5)
    assert layer_sizes(model) == list(sizes)
    found = enumerated_log_evidence(model, x)
    torch.testing.assert_close(found, brute_force(model, x, list(sizes)), rtol=1e-11, atol=1e-11)
    assert not found.requires_grad


def test_enumeration_of_all_images_sums_to_one() -> None:
    total = torch.logsumexp(enumerated_log_evidence(binary(3, 4), words(SIZE)), 0)
    assert abs(total.item()) < 1e-11


def test_enumeration_of_a_belief_net_with_fair_coins() -> None:
    model, x = belief_net(), small_images(4)
    torch.testing.assert_close(enumerated_log_evidence(model, x), brute_force(model, x, [3, 2]), rtol=0, atol=1e-11)


def test_sixteen_units_are_enumerated() -> None:
    """Units that the decoder does not see change nothing."""
    model, x = binary(16), small_images(3)
    with torch.no_grad():
        model.generative[0].trunk[0].weight[:, 3:] = 0
    small = binary(3)
    for name in ("weight", "bias"):
        for ours, theirs in ((small.generative[0].trunk[i], model.generative[0].trunk[i]) for i in (0, 2)):
            given = getattr(theirs, name).detach()
            getattr(ours, name).data = given[:, :3] if ours.in_features == 3 and name == "weight" else given
    small.prior.logits.data = model.prior.logits.detach()[:3]
    expected = brute_force(small, x, [3])
    torch.testing.assert_close(enumerated_log_evidence(model, x), expected, rtol=0, atol=1e-10)


def test_codes_are_all_words() -> None:
    assert torch.equal(codes(4).double(), words(4))


REFUSED: dict[str, tuple[Callable[[], HelmholtzMachine], str]] = {
    "17 units": (lambda: binary(17), "Bernoulli layers with at most 16 units in all; got layers of [17]"),
    "17 units in two layers": (lambda: binary(12, 5), "got layers of [12, 5]"),
    "Gaussian": (small_vae, "enumeration needs Bernoulli layers"),
    "two Gaussian layers": (gaussian_machine, "enumeration needs Bernoulli layers"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_enumerated_is_refused(name: str) -> None:
    build, sentence = REFUSED[name]
    assert not is_binary(build())
    with pytest.raises(ValueError, match=re.escape(sentence)):
        enumerated_log_evidence(build(), small_images(2))


def test_values_outside_the_support_are_refused() -> None:
    with pytest.raises(ValueError, match=r"x must be 0 or 1 for Bernoulli; got 0\.5"):
        enumerated_log_evidence(binary(3), torch.full((1, SIZE), 0.5).double())
