"""What a trained model is worth on held-out data: bound, rate, distortion, active units, each per example in nats."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Real
from torch import Tensor

from vae_core.distributions import Density, Normal, normal_kl_by_dimension
from vae_core.gaussians import has_closed_form_kl, kl
from vae_core.likelihoods import Observe
from vae_core.model import HelmholtzMachine

ACTIVE_VARIANCE = 0.01
CHUNK = 1_000
ROWS = 200


@dataclass(frozen=True)
class Evaluation:
    """Means over examples in nats, with standard errors; units are active when the variance of their posterior means
    over the data exceeds 0.01 (Burda et al. 2016, section 5.2)."""

    elbo: float
    elbo_se: float
    rate: float
    rate_se: float
    distortion: float
    distortion_se: float
    active_units: int


@dataclass(frozen=True)
class ExampleTerms:
    """Per example, nats: reconstruction = E log p(x|z), rate = KL; their difference is the ELBO."""

    reconstruction: Float[Tensor, "N"]
    rate: Float[Tensor, "N"]

    @property
    def elbo(self) -> Float[Tensor, "N"]:
        return self.reconstruction - self.rate


def _chunks(x: Tensor) -> Iterator[Tensor]:
    yield from x.split(CHUNK)


def require_support(model: HelmholtzMachine, x: Float[Tensor, "N D"]) -> None:
    """Raises ValueError, naming rule and value, for data that the likelihood gives no probability to."""
    density = model.decode(model.centre().unsqueeze(0))
    density.support.require(x, type(density).__name__)


@torch.no_grad()
def example_terms(
    model: HelmholtzMachine, x: Float[Tensor, "N D"], draws: int, *, generator: torch.Generator
) -> ExampleTerms:
    """The ELBO's terms for each example, averaged over `draws`; the KL in closed form where there is one.

    Raises ValueError for data outside the likelihood's support.
    """
    return _terms_and_means(model, x, draws, generator)[0]


def _terms_and_means(
    model: HelmholtzMachine, x: Float[Tensor, "N D"], draws: int, generator: torch.Generator
) -> tuple[ExampleTerms, Float[Tensor, "N H"]]:
    """The ELBO's terms for each example, and the mean of its q(h_1 | x), on which they rest."""
    require_support(model, x)
    reconstruction, rate, means = [], [], []
    for chunk in _chunks(x):
        inference = model.infer(chunk, draws, generator=generator)
        prior, first = model.prior(), inference.q[0]
        if len(inference.q) == 1 and has_closed_form_kl(first, prior):
            reconstruction.append(model.log_lik(chunk, inference.h).mean(0))
            rate.append(kl(first, prior))
        else:
            terms = model.terms(chunk, inference)
            reconstruction.append(terms.log_lik.mean(0))
            rate.append(terms.kl.mean(0))
        means.append(first.mean)
    return ExampleTerms(torch.cat(reconstruction), torch.cat(rate)), torch.cat(means)


@torch.no_grad()
def code_means(model: HelmholtzMachine, seen: Float[Tensor, "N D"]) -> Float[Tensor, "N H"]:
    """Means of q(h_1 | x) of values as the likelihood sees them."""
    return torch.cat([model.encode(chunk).mean for chunk in _chunks(seen)])


def count_active(means: Float[Tensor, "N H"]) -> Int[Tensor, ""]:
    """How many units are active."""
    return (means.var(0) > ACTIVE_VARIANCE).sum()


@torch.no_grad()
def posterior_means(
    model: HelmholtzMachine, observe: Observe, x: Real[Tensor, "N D"], *, generator: torch.Generator
) -> Float[Tensor, "N H"]:
    """Means of q(h_1 | x)."""
    return torch.cat([model.encode(observe(chunk, generator=generator)).mean for chunk in _chunks(x)])


@torch.no_grad()
def evaluate(
    model: HelmholtzMachine, observe: Observe, x: Real[Tensor, "N D"], *, generator: torch.Generator, draws: int = 1
) -> Evaluation:
    """Held-out ELBO and its parts. `observe` turns stored values into what the likelihood sees, once per example."""
    seen = observe(x, generator=generator)
    terms, means = _terms_and_means(model, seen, draws, generator)
    active = int(count_active(means))
    (elbo, elbo_se), (rate, rate_se), (reconstruction, reconstruction_se) = map(
        mean_and_error, (terms.elbo, terms.rate, terms.reconstruction)
    )
    return Evaluation(elbo, elbo_se, rate, rate_se, -reconstruction, reconstruction_se, active)


def mean_and_error(values: Float[Tensor, "N"]) -> tuple[float, float]:
    """The mean over examples and its standard error."""
    return values.mean().item(), (values.std() / len(values) ** 0.5).item()


@dataclass(frozen=True)
class Use:
    """What the code says about the data, nats per example: mutual information of x and h_1 under the N given examples
    (at most log N), and KL(q(h_1) || p) from the aggregate posterior to the prior (NaN for several layers, whose p(h_1)
    is no density that can be evaluated). For one layer they add up to the rate (Hoffman & Johnson 2016, eq. 6)."""

    information: float
    information_se: float
    distance: float
    distance_se: float


@torch.no_grad()
def use_of_code(model: HelmholtzMachine, x: Float[Tensor, "N D"], *, generator: torch.Generator) -> Use:
    """One draw of q(h_1|x) for every example, judged under the mixture of all N posteriors."""
    q = model.encode(x)
    h = q.sample(1, generator=generator).squeeze(0)
    own = q.log_prob(h)
    # [chunk, N]: every draw under every example's posterior
    mixture = torch.cat([torch.logsumexp(q.log_prob(part.unsqueeze(1)), dim=1) for part in h.split(ROWS)])
    mixture = mixture - math.log(len(x))
    information, information_se = mean_and_error(own - mixture)
    one_layer = len(model.recognition) == 1
    distance, distance_se = mean_and_error(mixture - model.prior().log_prob(h)) if one_layer else (math.nan, math.nan)
    return Use(information, information_se, distance, distance_se)


def active_units(means: Float[Tensor, "N H"], *, generator: torch.Generator) -> tuple[int, float]:
    """How many units are active, with the standard error of the count over 100 bootstrap samples of the examples."""
    counts = []
    for _ in range(100):
        chosen = torch.randint(len(means), (len(means),), generator=generator, device=means.device)
        counts.append(count_active(means[chosen]))
    return int(count_active(means)), torch.stack(counts).double().std().item()


@torch.no_grad()
def rate_by_dimension(posterior: Density, prior: Density) -> Float[Tensor, "H"]:
    """Mean KL of every latent dimension over the batch of `posterior`, nats. Raises TypeError for densities whose KL
    does not split over dimensions: here all but diagonal Gaussians."""
    if not (isinstance(posterior, Normal) and isinstance(prior, Normal)):
        raise TypeError(f"the KL of {type(posterior).__name__} to {type(prior).__name__} has no terms by dimension")
    return normal_kl_by_dimension(posterior, prior).mean(0)


def rate_splits(model: HelmholtzMachine, posterior: Density) -> bool:
    """Whether the rate is a sum over the dimensions of h_1: for one layer and diagonal Gaussians."""
    return len(model.recognition) == 1 and isinstance(posterior, Normal) and isinstance(model.prior(), Normal)


@torch.no_grad()
def weight_of_dimensions(model: HelmholtzMachine, posterior: Density) -> Float[Tensor, "H"]:
    """How much every dimension of h_1 carries: its KL in nats where the KL splits over dimensions, else the variance
    of its posterior means over the batch."""
    if rate_splits(model, posterior):
        return rate_by_dimension(posterior, model.prior())
    return posterior.mean.var(0)


if __name__ == "__main__":
    from vae_core.evaluation_command import main

    raise SystemExit(main())
