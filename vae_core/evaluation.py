"""What a trained model is worth on held-out data: bound, rate, distortion, active units, each per example in nats."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vae_core.distributions import Density, Normal, normal_kl_by_dimension
from vae_core.gaussians import has_closed_form_kl, kl
from vae_core.likelihoods import Observe
from vae_core.model import HelmholtzMachine

ACTIVE_VARIANCE = 0.01
CHUNK = 1_000


@dataclass(frozen=True)
class Evaluation:
    """Means over examples in nats, with the standard error of the ELBO; units are active when the variance of their
    posterior means over the data exceeds 0.01 (Burda et al. 2016, section 5.2)."""

    elbo: float
    elbo_se: float
    rate: float
    distortion: float
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


@torch.no_grad()
def example_terms(
    model: HelmholtzMachine, x: Float[Tensor, "N D"], draws: int, *, generator: torch.Generator
) -> ExampleTerms:
    """The ELBO's terms for each example, averaged over `draws`; the KL in closed form where there is one."""
    reconstruction, rate = [], []
    for chunk in _chunks(x):
        inference = model.infer(chunk, draws, generator=generator)
        prior = model.prior()
        if len(inference.q) == 1 and has_closed_form_kl(inference.q[0], prior):
            reconstruction.append(model.log_lik(chunk, inference.h).mean(0))
            rate.append(kl(inference.q[0], prior))
        else:
            terms = model.terms(chunk, inference)
            reconstruction.append(terms.log_lik.mean(0))
            rate.append(terms.kl.mean(0))
    return ExampleTerms(torch.cat(reconstruction), torch.cat(rate))


@torch.no_grad()
def posterior_means(
    model: HelmholtzMachine, observe: Observe, x: UInt8[Tensor, "N D"], *, generator: torch.Generator
) -> Float[Tensor, "N H"]:
    """Means of q(h_1 | x)."""
    return torch.cat([model.encode(observe(chunk, generator=generator)).mean for chunk in _chunks(x)])


@torch.no_grad()
def evaluate(
    model: HelmholtzMachine, observe: Observe, x: UInt8[Tensor, "N D"], *, generator: torch.Generator, draws: int = 1
) -> Evaluation:
    """Held-out ELBO and its parts. `observe` turns grey levels into what the likelihood sees, once per example."""
    seen = observe(x, generator=generator)
    terms = example_terms(model, seen, draws, generator=generator)
    means = torch.cat([model.encode(chunk).mean for chunk in _chunks(seen)])
    return Evaluation(
        elbo=terms.elbo.mean().item(),
        elbo_se=(terms.elbo.std() / len(x) ** 0.5).item(),
        rate=terms.rate.mean().item(),
        distortion=-terms.reconstruction.mean().item(),
        active_units=int((means.var(0) > ACTIVE_VARIANCE).sum()),
    )


@torch.no_grad()
def rate_by_dimension(posterior: Density, prior: Density) -> Float[Tensor, "H"]:
    """Mean KL of every latent dimension over the batch of `posterior`, nats. Raises TypeError for densities whose KL
    does not split over dimensions: here all but diagonal Gaussians."""
    if not (isinstance(posterior, Normal) and isinstance(prior, Normal)):
        raise TypeError(f"the KL of {type(posterior).__name__} to {type(prior).__name__} has no terms by dimension")
    return normal_kl_by_dimension(posterior, prior).mean(0)
