"""log p(x) by sampling, where no exact way serves: importance sampling from q, and annealed importance sampling.

Both average unbiased estimates of p(x), so that their logs are lower bounds on log p(x) in expectation.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from vae_core.distributions import REAL
from vae_core.evaluation import require_support
from vae_core.model import HelmholtzMachine

VALUES = 20_000_000
"""Pixels decoded at once: what bounds the memory."""
ACCEPTANCE = 0.65
"""The share of accepted moves that step sizes are adapted to (Neal 2011, section 4.4.3)."""


@dataclass(frozen=True)
class Sampled:
    """Estimates of log p(x), nats per example, with the standard error that the spread of the weights gives."""

    log_p: Float[Tensor, "B"]
    error: Float[Tensor, "B"]


def _from_sums(log_sum: Tensor, log_squares: Tensor, count: int) -> Sampled:
    """From the log of the sums of weights and of their squares."""
    log_mean = log_sum - math.log(count)
    relative = (log_squares - math.log(count) - 2 * log_mean).exp() - 1
    return Sampled(log_mean, (relative.clamp_min(0) / count).sqrt())


@torch.no_grad()
def importance_log_likelihood(
    model: HelmholtzMachine, x: Float[Tensor, "N D"], draws: int, *, generator: torch.Generator
) -> Sampled:
    """IWAE-K with K = `draws`: the log of the mean importance weight of draws of q (Burda et al. 2016, eq. 8).

    Memory does not grow with `draws`. Raises ValueError for data outside the likelihood's support.
    """
    require_support(model, x)
    rows = max(1, VALUES // x.shape[1])
    sums, squares = [], []
    for chunk in x.split(min(rows, 500)):
        start = torch.full((len(chunk),), -math.inf, dtype=torch.float64, device=x.device)
        total, square = start, start
        for place in range(0, draws, max(1, rows // len(chunk))):
            count = min(max(1, rows // len(chunk)), draws - place)
            log_w = model.terms(chunk, model.infer(chunk, count, generator=generator)).log_weights.double()
            total = torch.logaddexp(total, torch.logsumexp(log_w, 0))
            square = torch.logaddexp(square, torch.logsumexp(2 * log_w, 0))
        sums.append(total)
        squares.append(square)
    return _from_sums(torch.cat(sums), torch.cat(squares), draws)


@dataclass(frozen=True)
class Annealing:
    """How long annealed importance sampling takes: temperatures, leapfrog steps at each, chains for each example."""

    temperatures: int = 500
    leapfrog: int = 10
    chains: int = 16
    step_size: float = 0.1


def annealed_log_likelihood(
    model: HelmholtzMachine, x: Float[Tensor, "N D"], how: Annealing, *, generator: torch.Generator
) -> Sampled:
    """log p(x) by annealed importance sampling from the prior to the posterior with Hamiltonian moves (Wu et al. 2017,
    section 3; Neal 2001). It needs no encoder, so a bad one does not hurt it.

    Raises ValueError unless the machine has one layer of continuous units with a proper prior.
    """
    require_support(model, x)
    prior = model.prior()
    if len(model.generative) != 1 or prior.support is not REAL:
        raise ValueError("annealed sampling needs one layer of continuous units; use importance sampling")
    rows = max(1, VALUES // x.shape[1] // how.chains)
    parts = [_anneal(model, chunk, how, generator) for chunk in x.split(rows)]
    log_w = torch.cat(parts, dim=1)
    return _from_sums(torch.logsumexp(log_w, 0), torch.logsumexp(2 * log_w, 0), how.chains)


def _anneal(model: HelmholtzMachine, x: Tensor, how: Annealing, generator: torch.Generator) -> Float[Tensor, "C B"]:
    """Log-weights of the chains. Temperatures follow a sigmoid, slow at both ends (Wu et al. 2017, section 4.1)."""
    ends = torch.sigmoid(torch.linspace(-4, 4, how.temperatures + 1, dtype=torch.float64))
    betas = ((ends - ends[0]) / (ends[-1] - ends[0])).tolist()
    with torch.no_grad():
        z = model.prior().sample(how.chains * len(x), generator=generator).unflatten(0, (how.chains, len(x)))
    log_w = torch.zeros(how.chains, len(x), dtype=torch.float64, device=x.device)
    step = torch.full_like(log_w, how.step_size).to(z)
    for before, beta in pairwise(betas):
        with torch.no_grad():
            log_w += (beta - before) * model.log_lik(x, (z,)).double()
        z, accepted = _hamiltonian_move(model, x, z, beta, step, how.leapfrog, generator)
        step = step * torch.where(accepted, 1.02, 1.02 ** (-ACCEPTANCE / (1 - ACCEPTANCE)))
    return log_w


def _hamiltonian_move(
    model: HelmholtzMachine, x: Tensor, z: Tensor, beta: float, step: Tensor, leapfrog: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """One move that leaves p(z) p(x|z)^beta as it is; the new places [C, B, H] and which were accepted [C, B]."""

    def energy(place: Tensor) -> tuple[Tensor, Tensor]:
        place = place.detach().requires_grad_()
        log_density = model.log_prior((place,)) + beta * model.log_lik(x, (place,))
        (slope,) = torch.autograd.grad(log_density.sum(), place)
        return -log_density.detach(), -slope

    size = step.unsqueeze(-1)
    momentum = torch.randn(z.shape, generator=generator, device=z.device, dtype=z.dtype)
    start, slope = energy(z)
    kinetic = 0.5 * momentum.square().sum(-1)
    place, end = z, start
    for _ in range(leapfrog):
        momentum = momentum - 0.5 * size * slope
        place = place + size * momentum
        end, slope = energy(place)
        momentum = momentum - 0.5 * size * slope
    gain = start + kinetic - end - 0.5 * momentum.square().sum(-1)
    chance = torch.rand(gain.shape, generator=generator, device=z.device, dtype=z.dtype)
    accepted = chance.log() < gain  # a path that left the finite numbers compares as false
    return torch.where(accepted.unsqueeze(-1), place, z), accepted
