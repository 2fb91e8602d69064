"""Oracles: what the tests compare with, from other libraries, closed forms and quadrature, all in float64."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch import distributions as td

from vae_core.distributions import Bernoulli, ContinuousBernoulli, Density, Normal
from vae_core.model import HelmholtzMachine


def z_scores(samples: Tensor, expected: Tensor | float) -> Tensor:
    """Deviations of the mean over the first axis in standard errors."""
    error = samples.std(0) / len(samples) ** 0.5
    return (samples.mean(0) - expected) / error.clamp_min(1e-12)


def legendre(count: int, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Nodes and weights of an integral over [low, high]."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    half = (high - low) / 2
    return torch.from_numpy(low + half * (nodes + 1)), torch.from_numpy(half * weights)


def hermite(count: int, dimensions: int) -> tuple[Tensor, Tensor]:
    """Nodes [N, dimensions] and weights [N] of an expectation under N(0, I)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    weights = weights / weights.sum()
    grid = torch.tensor(list(product(nodes, repeat=dimensions)))
    return grid, torch.tensor([np.prod(w) for w in product(weights, repeat=dimensions)])


def binary_words(size: int) -> Tensor:
    """All 2^size vectors of zeros and ones."""
    return torch.tensor(list(product((0.0, 1.0), repeat=size)), dtype=torch.float64)


@dataclass(frozen=True)
class Reference:
    """A density as torch.distributions has it; parameters and values to try; nodes and weights of its support."""

    build: Callable[..., td.Distribution]
    parameters: Callable[[tuple[int, ...], torch.Generator], tuple[Tensor, ...]]
    values: Callable[[tuple[int, ...], torch.Generator], Tensor]
    support: tuple[Tensor, Tensor]


def _normals(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _uniforms(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=torch.float64)


REFERENCES: dict[type[Density], Reference] = {
    Normal: Reference(
        lambda loc, scale: td.Independent(td.Normal(loc, scale), 1),
        lambda shape, generator: (2 * _normals(shape, generator), (0.5 * _normals(shape, generator)).exp()),
        lambda shape, generator: 3 * _normals(shape, generator),
        legendre(2000, -40, 40),
    ),
    Bernoulli: Reference(
        lambda logits: td.Independent(td.Bernoulli(logits=logits), 1, validate_args=False),
        lambda shape, generator: (3 * _normals(shape, generator),),
        lambda shape, generator: (_uniforms(shape, generator) < 0.5).double(),
        (torch.tensor([0.0, 1.0], dtype=torch.float64), torch.ones(2, dtype=torch.float64)),
    ),
    ContinuousBernoulli: Reference(
        lambda logits: td.Independent(td.ContinuousBernoulli(logits=logits), 1),
        lambda shape, generator: (3 * _normals(shape, generator),),
        _uniforms,
        legendre(200, 0, 1),
    ),
}


def reference(density: Density) -> td.Distribution:
    """The same density in torch.distributions."""
    return REFERENCES[type(density)].build(*vars(density).values())


def continuous_bernoulli_moments(logit: float) -> tuple[float, float]:
    """Log normaliser and mean of the density e^(l x) / Z on [0, 1], by quadrature."""
    x, weights = legendre(200, 0, 1)
    mass = weights * (logit * x - max(logit, 0)).exp()
    return (mass.sum().log() + max(logit, 0)).item(), ((mass * x).sum() / mass.sum()).item()


@dataclass(frozen=True)
class Exact:
    """Per example, nats; `variance` is that of log p(x|z) under q."""

    reconstruction: Tensor
    variance: Tensor
    kl: Tensor

    def elbo(self, beta: float = 1.0) -> Tensor:
        return self.reconstruction - beta * self.kl


def vae_terms(model: HelmholtzMachine, x: Tensor, nodes: int = 40) -> Exact:
    """The terms of a Bernoulli VAE with a diagonal Gaussian posterior and a standard normal prior, by quadrature."""
    loc, raw = model.recognition[0].trunk(x).chunk(2, dim=-1)
    q = td.Normal(loc, (7 * (raw / 7).tanh()).exp())
    grid, weights = hermite(nodes, loc.shape[-1])
    z = q.loc + q.scale * grid[:, None, :]
    logits = model.generative[0].trunk(z)
    log_lik = -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)
    reconstruction = (weights[:, None] * log_lik).sum(0)
    variance = (weights[:, None] * (log_lik - reconstruction).square()).sum(0)
    return Exact(reconstruction, variance, td.kl_divergence(q, td.Normal(0.0, 1.0)).sum(-1))


BOUNDS: dict[str, Callable[[Exact, float], Tensor]] = {"elbo": Exact.elbo}
"""What the mean of each bound of the table must be."""


def vae_log_evidence(model: HelmholtzMachine, x: Tensor) -> Tensor:
    """log p(x) of a Bernoulli VAE with two latent dimensions, on a grid over the prior."""
    axis, weights = legendre(160, -8, 8)
    z = torch.cartesian_prod(axis, axis)
    log_prior = td.Normal(0.0, 1.0).log_prob(z).sum(-1) + torch.cartesian_prod(weights, weights).log().sum(-1)
    logits = model.generative[0].trunk(z)
    log_lik = td.Bernoulli(logits=logits[:, None]).log_prob(x).sum(-1)
    return torch.logsumexp(log_lik + log_prior[:, None], dim=0)


@dataclass(frozen=True)
class PrincipalComponents:
    """The maximum-likelihood fit of probabilistic PCA (Tipping & Bishop 1999, eq. 7 and 8), nats per example."""

    log_likelihood: float
    noise_variance: float


def principal_components(x: Tensor, latent: int) -> PrincipalComponents:
    values, vectors = torch.linalg.eigh(torch.cov(x.T, correction=0))
    noise = values[:-latent].mean()
    weights = vectors[:, -latent:] * (values[-latent:] - noise).sqrt()
    covariance = weights @ weights.T + noise * torch.eye(x.shape[1], dtype=x.dtype)
    fitted = td.MultivariateNormal(x.mean(0), covariance)
    return PrincipalComponents(fitted.log_prob(x).mean().item(), noise.item())
