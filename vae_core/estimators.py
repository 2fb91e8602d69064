"""How gradients reach the parameters, and nothing else.

An estimator draws from q, and returns the terms together with `objective` [B], whose gradient is the ascent
direction. For pathwise estimators that is the bound itself.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vae_core.bounds import Terms
from vae_core.distributions import kl
from vae_core.model import HelmholtzMachine, Inference

BoundOfTerms = Callable[[Terms], Tensor]


@dataclass(frozen=True)
class Estimate:
    terms: Terms
    objective: Float[Tensor, "B"]


def _require_reparameterised(inference: Inference) -> None:
    for layer, q in enumerate(inference.q, start=1):
        if not q.reparameterised:
            raise ValueError(
                f"a pathwise estimator needs reparameterised layers, but layer {layer} is {type(q).__name__}"
            )


def pathwise(
    model: HelmholtzMachine, x: Float[Tensor, "B D"], bound: BoundOfTerms, draws: int, *, generator: torch.Generator
) -> Estimate:
    """Reparameterised gradients, every term by Monte Carlo (SGVB estimator A, Kingma & Welling 2014, eq. 6)."""
    inference = model.infer(x, draws, generator=generator)
    _require_reparameterised(inference)
    terms = model.terms(x, inference)
    return Estimate(terms, bound(terms))


def pathwise_analytic(
    model: HelmholtzMachine, x: Float[Tensor, "B D"], bound: BoundOfTerms, draws: int, *, generator: torch.Generator
) -> Estimate:
    """Reparameterised gradients with the KL in closed form (SGVB estimator B, Kingma & Welling 2014, eq. 7).

    Raises ValueError for a machine of several layers or where no closed form is known; `pathwise` serves there.
    """
    inference = model.infer(x, draws, generator=generator)
    _require_reparameterised(inference)
    if len(inference.q) != 1:
        raise ValueError("the analytic KL needs one stochastic layer; use the estimator 'pathwise' for several")
    (posterior,) = inference.q
    log_lik = model.log_lik(x, inference)
    minus_kl = -kl(posterior, model.prior()).expand_as(log_lik)
    terms = Terms(log_lik, minus_kl, log_lik.new_zeros(()).expand_as(log_lik))
    return Estimate(terms, bound(terms))


@dataclass(frozen=True)
class Estimator:
    """One entry: `analytic_kl` estimators serve only bounds that are linear in the log weights."""

    label: str
    help: str
    estimate: Callable[..., Estimate]
    analytic_kl: bool


ESTIMATORS = {
    "pathwise_analytic": Estimator(
        "Pathwise, analytic KL (SGVB-B)",
        "Noise enters through z = μ + σε; the KL term is exact. Lowest variance where it applies.",
        pathwise_analytic,
        analytic_kl=True,
    ),
    "pathwise": Estimator(
        "Pathwise, Monte Carlo KL (SGVB-A)",
        "Noise enters through z = μ + σε; the KL term is estimated from the same draws.",
        pathwise,
        analytic_kl=False,
    ),
}
