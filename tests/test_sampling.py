"""Estimates of log p(x) against closed form, enumeration and quadrature; what they cost in memory; moves that must
leave their density as it is."""

import math

import pytest
import torch
from torch import Tensor

from tests import exact
from tests.small import (
    SIZE,
    belief_net,
    conditioned,
    gaussian_machine,
    linear_machine,
    mislead,
    seeded,
    small_images,
    small_machine,
    small_vae,
)
from vae_core import sampling
from vae_core.closed_form import enumerated_log_evidence
from vae_core.model import HelmholtzMachine
from vae_core.quadrature import log_evidence
from vae_core.sampling import Annealing, annealed_log_likelihood, importance_log_likelihood

QUICK = Annealing(temperatures=60, leapfrog=5, chains=8, step_size=0.3)


def wrong_encoder(mean: float = 0.5, scale: float = 1.0) -> tuple[HelmholtzMachine, Tensor, Tensor]:
    """A linear model, twenty images of its own and their log p(x)."""
    model = linear_machine(2, posterior="diagonal_gaussian", noise=1.5)
    x = model.dream(20, generator=seeded(2))[0]
    mislead(model, mean, scale)
    return model, x, conditioned(model, x)[0].log_prob(x).detach()


def test_an_encoder_that_is_right_needs_one_draw() -> None:
    model = linear_machine(2)
    x = model.dream(20, generator=seeded(2))[0]
    found = importance_log_likelihood(model, x, 1, generator=seeded(1))
    torch.testing.assert_close(found.log_p, conditioned(model, x)[0].log_prob(x).detach(), rtol=0, atol=1e-9)
    more = importance_log_likelihood(model, x, 50, generator=seeded(1))
    assert more.error.max() < 1e-6


def test_importance_weights_are_unbiased() -> None:
    """Of p(x), not of its log: over repeated runs."""
    model, x, log_p = wrong_encoder()
    generator = seeded(1)
    runs = torch.stack([importance_log_likelihood(model, x, 20, generator=generator).log_p for _ in range(300)])
    assert exact.z_scores((runs - log_p).exp(), 1.0).abs().max() < 4
    assert exact.z_scores(runs, log_p).max() < 0  # the log of it is a lower bound


def test_the_stated_error_of_importance_sampling_is_the_spread_of_runs() -> None:
    model, x, log_p = wrong_encoder()
    generator = seeded(1)
    runs = [importance_log_likelihood(model, x, 2_000, generator=generator) for _ in range(60)]
    deviations = torch.stack([(run.log_p - log_p) / run.error for run in runs])
    # standard normal: the mean square of so many has a deviation of sqrt(2 / n)
    assert abs(deviations.mean().item()) < 4 / deviations.numel() ** 0.5 + 0.05
    assert deviations.square().mean().item() == pytest.approx(1, abs=5 * (2 / deviations.numel()) ** 0.5 + 0.05)


def test_importance_sampling_of_several_layers() -> None:
    model, x = belief_net(), small_images(4)
    found = importance_log_likelihood(model, x, 20_000, generator=seeded(1))
    assert ((found.log_p - enumerated_log_evidence(model, x)) / found.error).abs().max() < 4


@pytest.mark.parametrize("posterior", ["full_gaussian", "flow"])
def test_importance_sampling_agrees_with_quadrature(posterior: str) -> None:
    model, x = small_machine(posterior=posterior, gain=1.0), small_images(4)
    found = importance_log_likelihood(model, x, 20_000, generator=seeded(1))
    assert ((found.log_p - log_evidence(model, x).log_p) / found.error).abs().max() < 4
    assert found.error.max() < 0.2


def test_memory_is_bounded_and_the_parts_are_one_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, log_p = wrong_encoder()
    shapes: list[tuple[int, ...]] = []
    original = HelmholtzMachine.infer

    def recorded(self: HelmholtzMachine, x: Tensor, draws: int, *, generator: torch.Generator) -> object:
        shapes.append((draws, len(x)))
        return original(self, x, draws, generator=generator)

    monkeypatch.setattr(HelmholtzMachine, "infer", recorded)
    monkeypatch.setattr(sampling, "VALUES", 4 * 500)
    found = importance_log_likelihood(model, x, 2_000, generator=seeded(1))
    assert max(draws * batch for draws, batch in shapes) <= 500
    assert sum(draws * batch for draws, batch in shapes) == 2_000 * 20
    assert ((found.log_p - log_p) / found.error).abs().max() < 4.5
    monkeypatch.setattr(sampling, "VALUES", 4 * 15)  # fewer than there are examples
    found = importance_log_likelihood(model, x, 300, generator=seeded(1))
    assert ((found.log_p - log_p) / found.error).abs().max() < 4.5


def test_parts_of_draws_give_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """One example: the stream of random numbers is the same however it is cut."""
    model, x, _ = wrong_encoder()
    whole = importance_log_likelihood(model, x[:1], 1_000, generator=seeded(1))
    monkeypatch.setattr(sampling, "VALUES", 4 * 8)
    parts = importance_log_likelihood(model, x[:1], 1_000, generator=seeded(1))
    # normal numbers are drawn in blocks of 16 at least, else one by one: another stream
    assert ((parts.log_p - whole.log_p) / whole.error).abs() < 6
    monkeypatch.setattr(sampling, "VALUES", 4 * 200)
    parts = importance_log_likelihood(model, x[:1], 1_000, generator=seeded(1))
    torch.testing.assert_close((parts.log_p, parts.error), (whole.log_p, whole.error), rtol=1e-12, atol=1e-12)


def test_weights_that_overflow_do_no_harm() -> None:
    model, x, _ = wrong_encoder()
    found = importance_log_likelihood(model, 1e4 + x, 100, generator=seeded(1))
    assert found.log_p.isfinite().all()
    assert found.error.isfinite().all()


@pytest.mark.parametrize("prior", ["standard_normal", "gaussian", "learned_gaussian"])
def test_annealed_sampling_of_linear_models(prior: str) -> None:
    """p(x) is hit without bias, and the stated error is the spread."""
    model = linear_machine(2, prior=prior, noise=0.7)
    x = model.dream(100, generator=seeded(2))[0]
    mislead(model, -20.0, 0.01)  # the encoder plays no part
    found = annealed_log_likelihood(model, x, QUICK, generator=seeded(1))
    log_p = conditioned(model, x)[0].log_prob(x).detach()
    assert exact.z_scores((found.log_p - log_p).exp(), 1.0).abs() < 4
    deviations = (found.log_p - log_p) / found.error.clamp_min(1e-3)
    assert 0.5 < deviations.square().mean() < 3  # eight chains: heavier tails than a normal
    assert found.error.max() < 0.5


def test_more_temperatures_are_better() -> None:
    model = linear_machine(2, noise=0.3)
    x = model.dream(50, generator=seeded(2))[0]
    log_p = conditioned(model, x)[0].log_prob(x).detach()
    errors = [
        (annealed_log_likelihood(model, x, Annealing(steps, 5, 4, 0.2), generator=seeded(1)).log_p - log_p)
        .square()
        .mean()
        for steps in (5, 40, 160)
    ]
    assert errors[0] > 3 * errors[1] > 6 * errors[2]


def test_annealed_sampling_finds_what_importance_sampling_misses() -> None:
    model, x, log_p = wrong_encoder(mean=6.0, scale=0.05)
    annealed = annealed_log_likelihood(model, x, QUICK, generator=seeded(1)).log_p
    missed = importance_log_likelihood(model, x, 1_000, generator=seeded(1)).log_p
    assert (annealed - log_p).abs().mean() < 0.1
    assert (log_p - missed).mean() > 3


@pytest.mark.parametrize("settings", [{"prior": "mixture"}, {"prior": "vamp"}, {"posterior": "flow"}], ids=str)
def test_annealed_sampling_agrees_with_quadrature(settings: dict[str, str]) -> None:
    model, x = small_machine(**settings), small_images(8)
    runs = annealed_log_likelihood(model, x, Annealing(100, 5, 60, 0.2), generator=seeded(1))
    difference = runs.log_p - log_evidence(model, x).log_p
    assert (difference / runs.error.clamp_min(0.01)).abs().max() < 4.5
    assert runs.error.max() < 0.3


def test_annealed_chunks_are_independent_of_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, log_p = wrong_encoder()
    monkeypatch.setattr(sampling, "VALUES", 4 * 8 * 9)
    found = annealed_log_likelihood(model, x, QUICK, generator=seeded(1))
    assert found.log_p.shape == found.error.shape == (20,)
    assert (found.log_p - log_p).abs().max() < 0.5
    assert not found.log_p.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_moves_leave_their_density_as_it_is(beta: float) -> None:
    """Draws of the Gaussian proportional to p(z) p(x|z)^beta stay draws of it, steps too long for all to be accepted
    included: first and second moments."""
    model = linear_machine(2, noise=1.0)
    x = model.dream(1, generator=seeded(2))[0]
    tempered = linear_machine(2, noise=beta**-0.5) if beta else None  # p(x|z)^beta is wider noise
    count = 40_000
    z = torch.randn(count, 2, generator=seeded(3), dtype=torch.float64)
    mean, tril = torch.zeros(2).double(), torch.eye(2).double()
    if tempered:
        posterior = conditioned(tempered, x)[1]
        mean, tril = posterior.mean[0].detach(), posterior.scale_tril[0].detach()
        z = mean + z @ tril.mT
    places, generator = z.unsqueeze(1), seeded(4)
    shares = []
    for _ in range(3):
        step = torch.full((count, 1), 0.9 * tril.diagonal().min().item()).double()
        places, accepted = sampling._hamiltonian_move(model, x, places, beta, step, 4, generator)
        shares.append(accepted.double().mean().item())
    assert all(0.3 < share < 0.995 for share in shares)
    moved = torch.linalg.solve_triangular(tril, (places.squeeze(1) - mean).mT, upper=False).mT
    products = moved.unsqueeze(-1) * moved.unsqueeze(-2)
    assert exact.z_scores(moved, 0.0).abs().max() < 4
    assert exact.z_scores(products.flatten(1), torch.eye(2).double().flatten()).abs().max() < 4
    assert (moved - torch.linalg.solve_triangular(tril, (z - mean).mT, upper=False).mT).norm(dim=-1).mean() > 0.5


def test_step_sizes_adapt_to_the_wanted_share(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    original = sampling._hamiltonian_move

    def recorded(*arguments: object) -> tuple[Tensor, Tensor]:
        moved, accepted = original(*arguments)
        shares.append(accepted.double().mean().item())
        return moved, accepted

    monkeypatch.setattr(sampling, "_hamiltonian_move", recorded)
    model, x, _ = wrong_encoder()
    annealed_log_likelihood(model, x, Annealing(250, 2, 4, 5.0), generator=seeded(1))
    assert sum(shares[:20]) / 20 < 0.5
    assert sum(shares[-80:]) / 80 == pytest.approx(sampling.ACCEPTANCE, abs=0.08)


@pytest.mark.parametrize(
    "model",
    [belief_net(), gaussian_machine(), small_machine(posterior="bernoulli", prior="bernoulli")],
    ids=["two binary layers", "two Gaussian layers", "binary"],
)
def test_annealing_is_refused_where_nothing_flows(model: HelmholtzMachine) -> None:
    x = torch.zeros(2, model.decode(model.centre()).mean.shape[-1]).double()
    with pytest.raises(ValueError, match="annealed sampling needs one layer of continuous units; use importance"):
        annealed_log_likelihood(model, x, QUICK, generator=seeded(1))


def test_a_plain_autoencoder_has_nothing_to_anneal_from() -> None:
    model = small_machine(posterior="deterministic", prior="none")
    with pytest.raises(ValueError, match="a plain autoencoder has no prior to draw codes from"):
        annealed_log_likelihood(model, small_images(2), QUICK, generator=seeded(1))


def test_values_outside_the_support_are_refused() -> None:
    x = torch.full((1, SIZE), 0.5).double()
    for estimate in (
        lambda: importance_log_likelihood(small_vae(), x, 5, generator=seeded(1)),
        lambda: annealed_log_likelihood(small_vae(), x, QUICK, generator=seeded(1)),
    ):
        with pytest.raises(ValueError, match=r"x must be 0 or 1 for Bernoulli; got 0\.5"):
            estimate()


def test_the_error_by_hand() -> None:
    """Weights 1 and 3: mean 2, their deviations 1 either way; the error of log p is 1 / 2 / sqrt 2."""
    weights = torch.tensor([[1.0], [3.0]]).double().log()
    found = sampling._from_sums(torch.logsumexp(weights, 0), torch.logsumexp(2 * weights, 0), 2)
    assert found.log_p.item() == pytest.approx(math.log(2))
    assert found.error.item() == pytest.approx(0.5 / 2**0.5)
