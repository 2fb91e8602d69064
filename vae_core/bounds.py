"""Bounds on log p(x) as pure functions of the three terms: `Terms -> [B]`, nats per example."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


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


def elbo(terms: Terms, beta: float = 1.0) -> Float[Tensor, "B"]:
    """Evidence lower bound (Kingma & Welling 2014, eq. 2 and 3), averaged over the K draws.

    With `beta` other than 1 it is the beta-VAE objective (Higgins et al. 2017, eq. 4): for beta > 1 still a lower
    bound on log p(x), though a loose one; for beta < 1 no bound at all.
    """
    return (terms.log_lik - beta * terms.kl).mean(0)


@dataclass(frozen=True)
class Bound:
    """One entry: `linear` in the log weights says whether expectations may stand in for draws (the analytic KL)."""

    label: str
    help: str
    value: Callable[[Terms, float], Tensor]
    linear: bool


BOUNDS = {
    "elbo": Bound("ELBO", "Evidence lower bound: reconstruction minus β times KL.", elbo, linear=True),
}
