"""Bounds on log p(x) as pure functions of the three terms: `Terms -> [B]`, nats per example."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from vae_core.config import ObjectiveConfig


@dataclass(frozen=True)
class Terms:
    """The waist: log p(x|h_1), log p(h) and log q(h|x) at K draws h ~ q(h|x) for B examples, in nats.

    With the analytic KL, log_prior - log_q is replaced at every draw by its expectation, -KL(q || p).
    """

    log_lik: Float[Tensor, "K B"]
    log_prior: Float[Tensor, "K B"]
    log_q: Float[Tensor, "K B"]

    @property
    def kl(self) -> Float[Tensor, "K B"]:
        """The rate: log q - log p, whose mean over draws is (an estimate of) the KL term."""
        return self.log_q - self.log_prior

    @property
    def log_weights(self) -> Float[Tensor, "K B"]:
        """log w = log p(x, h) - log q(h|x)."""
        return self.log_lik - self.kl


def elbo(terms: Terms, beta: float = 1.0) -> Float[Tensor, "B"]:
    """Evidence lower bound (Kingma & Welling 2014, eq. 2 and 3), averaged over the K draws.

    With `beta` other than 1 it is the beta-VAE objective (Higgins et al. 2017, eq. 4): for beta > 1 still a lower
    bound on log p(x), though a loose one; for beta < 1 no bound at all.
    """
    return (terms.log_lik - beta * terms.kl).mean(0)


def free_bits(terms: Terms, beta: float = 1.0, nats: float = 0.0) -> Float[Tensor, "B"]:
    """The ELBO with the first `nats` of an example's KL free of charge: reconstruction - beta max(KL, nats)
    (Kingma et al. 2016, section 3, with one group, and the KL of the example instead of the minibatch).

    Still a lower bound for beta >= 1; its gradient to the KL vanishes below `nats`.
    """
    return terms.log_lik.mean(0) - beta * terms.kl.mean(0).clamp_min(nats)


def iwae(terms: Terms) -> Float[Tensor, "B"]:
    """Importance-weighted bound, the log of the mean weight of K draws (Burda et al. 2016, eq. 8)."""
    return torch.logsumexp(terms.log_weights, dim=0) - math.log(len(terms.log_weights))


def renyi(terms: Terms, alpha: float) -> Float[Tensor, "B"]:
    """Variational Renyi bound 1/(1 - alpha) log mean w^(1 - alpha) (Li & Turner 2016, eq. 7 with K draws).

    alpha = 0 is IWAE, alpha -> 1 the ELBO; for 0 <= alpha <= 1 a lower bound.
    """
    if alpha == 1:
        return elbo(terms)
    powers = (1 - alpha) * terms.log_weights
    return (torch.logsumexp(powers, dim=0) - math.log(len(powers))) / (1 - alpha)


@dataclass(frozen=True)
class Bound:
    """One entry. `analytic`: the expected KL may stand in for draws. `weighted`: it takes a beta.

    `alpha` is the order for which d bound / d log w = softmax((1 - alpha) log w), where there is one.
    """

    label: str
    help: str
    value: Callable[[Terms, ObjectiveConfig], Tensor]
    analytic: bool
    weighted: bool
    alpha: Callable[[ObjectiveConfig], float] | None


BOUNDS = {
    "elbo": Bound(
        "ELBO",
        "Evidence lower bound: reconstruction minus β times KL.",
        lambda terms, settings: elbo(terms, settings.beta),
        analytic=True,
        weighted=True,
        alpha=lambda settings: 1.0,
    ),
    "free_bits": Bound(
        "ELBO with free bits",
        "The first nats of KL cost nothing, so that the code is used from the start. Below them no ELBO.",
        lambda terms, settings: free_bits(terms, settings.beta, settings.free_nats),
        analytic=True,
        weighted=True,
        alpha=None,
    ),
    "iwae": Bound(
        "IWAE-K",
        "Importance-weighted bound: the log of the mean weight of K draws. Tighter with every draw.",
        lambda terms, settings: iwae(terms),
        analytic=False,
        weighted=False,
        alpha=lambda settings: 0.0,
    ),
    "renyi": Bound(
        "Rényi-α",
        "Between IWAE (α = 0) and the ELBO (α = 1), for K draws.",
        lambda terms, settings: renyi(terms, settings.alpha),
        analytic=False,
        weighted=False,
        alpha=lambda settings: settings.alpha,
    ),
}


@dataclass(frozen=True)
class Objective:
    """A bound with its settings: what an estimator is given."""

    settings: ObjectiveConfig = field(default_factory=ObjectiveConfig)

    @property
    def bound(self) -> Bound:
        return BOUNDS[self.settings.bound]

    def __call__(self, terms: Terms) -> Float[Tensor, "B"]:
        return self.bound.value(terms, self.settings)

    def with_beta(self, beta: float) -> "Objective":
        return Objective(replace(self.settings, beta=beta))
