"""How far the bound is from the truth, and why: log p(x) - ELBO = approximation gap + amortisation gap (Cremer et al.
2018, section 2)."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vae_core.closed_form import enumerated_log_evidence, is_binary, is_linear_gaussian, linear_gaussian
from vae_core.distributions import Density, Pushed
from vae_core.model import HelmholtzMachine
from vae_core.quadrature import Evidence, log_evidence

STEPS = 200
LEARNING_RATE = 0.05
COARSE, FINE = 10, 24
"""Gauss-Hermite nodes in each direction, while optimising and for the result."""
EXAMPLES = 50


def exact_log_evidence(model: HelmholtzMachine, x: Float[Tensor, "B D"], tolerance: float = 1e-3) -> Evidence:
    """Exact log p(x), nats per example, by whatever serves: closed form, enumeration or quadrature.

    Raises ValueError where none does, saying what to use instead.
    """
    if is_linear_gaussian(model):
        log_p = linear_gaussian(model, x)[0]
        return Evidence(log_p, torch.zeros_like(log_p), 0)
    if is_binary(model):
        log_p = enumerated_log_evidence(model, x)
        return Evidence(log_p, torch.zeros_like(log_p), 0)
    return log_evidence(model, x, tolerance)


@torch.no_grad()
def can_measure_gaps(model: HelmholtzMachine) -> bool:
    """Whether `gaps` serves: one layer of one or two latent dimensions, whose posterior pushes noise through a map."""
    centre = model.prior().mean
    q = model.encoder.family(centre.new_zeros(1, model.encoder.family.inputs))
    return len(model.recognition) == 1 and len(centre) <= 2 and isinstance(q, Pushed)


@dataclass(frozen=True)
class Gaps:
    """Nats per example. `elbo` is the encoder's, `best_elbo` that of the best posterior of the same family for each x,
    both by quadrature: KL(q || p(z|x)) = `total` = `approximation` + `amortisation`."""

    log_p: Float[Tensor, "B"]
    error: Float[Tensor, "B"]
    elbo: Float[Tensor, "B"]
    best_elbo: Float[Tensor, "B"]

    @property
    def total(self) -> Float[Tensor, "B"]:
        return self.log_p - self.elbo

    @property
    def approximation(self) -> Float[Tensor, "B"]:
        return self.log_p - self.best_elbo

    @property
    def amortisation(self) -> Float[Tensor, "B"]:
        return self.best_elbo - self.elbo


def hermite(count: int, dimensions: int) -> tuple[Float[Tensor, "G D"], Float[Tensor, "G"]]:
    """Nodes and weights of an expectation under N(0, I)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    grid = torch.tensor(list(product(nodes, repeat=dimensions)))
    return grid, torch.tensor([np.prod(w) for w in product(weights / weights.sum(), repeat=dimensions)])


def elbo_by_quadrature(
    model: HelmholtzMachine, x: Float[Tensor, "B D"], q: Density, nodes: int = FINE
) -> Float[Tensor, "B"]:
    """The ELBO of one layer with posterior q (batch shape [B]), nats per example: Gauss-Hermite over q's noise.

    Raises ValueError for a q that is not noise pushed through a map.
    """
    if not isinstance(q, Pushed):
        raise ValueError(f"quadrature needs a Gaussian posterior or a flow; got {type(q).__name__}")
    grid, weights = hermite(nodes, q.loc.shape[-1])
    z = q.push(grid.to(x).unsqueeze(1).expand(-1, *q.loc.shape))
    log_w = model.log_lik(x, (z,)) + model.log_prior((z,)) - q.log_prob(z)
    return (weights.to(x).unsqueeze(-1) * log_w).sum(0)


def best_posterior(model: HelmholtzMachine, x: Float[Tensor, "B D"]) -> Density:
    """The posterior of the model's family with the highest ELBO for each x, found from the encoder's on by Adam on the
    ELBO by quadrature; never worse than the encoder's."""
    encoder = model.encoder
    with torch.no_grad():
        best = encoder.trunk(x)
        highest = elbo_by_quadrature(model, x, encoder.family(best), COARSE)
    raw = best.clone().requires_grad_()
    optimiser = torch.optim.Adam([raw], LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        value = elbo_by_quadrature(model, x, encoder.family(raw), COARSE)
        better = (value > highest).detach()
        best = torch.where(better.unsqueeze(-1), raw.detach(), best)
        highest = torch.where(better, value.detach(), highest)
        (raw.grad,) = torch.autograd.grad(-value.sum(), raw)
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        return encoder.family(best)


def gaps(model: HelmholtzMachine, x: Float[Tensor, "N D"], tolerance: float = 1e-3) -> Gaps:
    """log p(x), the encoder's ELBO and the best of its family, for one or two latent dimensions. Raises ValueError."""
    evidence = exact_log_evidence(model, x, tolerance)
    elbos, best = [], []
    for chunk in x.split(EXAMPLES):
        found = best_posterior(model, chunk)
        with torch.no_grad():
            elbos.append(elbo_by_quadrature(model, chunk, model.encode(chunk)))
            best.append(torch.maximum(elbo_by_quadrature(model, chunk, found), elbos[-1]))
    return Gaps(evidence.log_p, evidence.error, torch.cat(elbos), torch.cat(best))
