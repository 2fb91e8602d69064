"""Oracles: what the tests compare with, from other libraries, closed forms and quadrature, all in float64."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch import distributions as td

from vae_core.config import ObjectiveConfig
from vae_core.distributions import Bernoulli, ContinuousBernoulli, Density, Normal
from vae_core.gaussians import FullNormal, LowRankNormal, MixtureOfNormals
from vae_core.model import HelmholtzMachine
from vae_core.pixels import Categorical, DiscretisedLogistic, Laplace, StudentT


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
    """A density as torch.distributions has it; parameters and values to try, for a shape (*batch, D); nodes and weights
    of its support."""

    build: Callable[..., td.Distribution]
    parameters: Callable[[tuple[int, ...], torch.Generator], tuple[Tensor, ...]]
    values: Callable[[tuple[int, ...], torch.Generator], Tensor]
    support: tuple[Tensor, Tensor]


class Levels(td.Distribution):
    """Independent grey levels 0, 1/255 … 1 with log-masses `logits` [..., D, 256]."""

    def __init__(self, logits: Tensor) -> None:
        self.level = td.Categorical(logits=logits)
        super().__init__(logits.shape[:-2], logits.shape[-2:-1], validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.level.log_prob((value * 255).round()).sum(-1)

    @property
    def mean(self) -> Tensor:
        return self.level.probs @ GREYS

    @property
    def variance(self) -> Tensor:
        return self.level.probs @ GREYS.square() - self.mean.square()


GREYS = torch.arange(256, dtype=torch.float64) / 255


def logistic_masses(loc: Tensor, scale: Tensor) -> Tensor:
    """The masses [..., 256] of a logistic density between half-levels, each taken from the nearer tail."""
    edges = (torch.arange(255, dtype=torch.float64) + 0.5) / 255
    outer = torch.tensor([1e6], dtype=torch.float64)  # infinity would spoil gradients
    z = (torch.cat([-outer, edges, outer]) - loc.unsqueeze(-1)) / scale.unsqueeze(-1)
    low, high = z[..., :-1], z[..., 1:]
    return torch.where(low < 0, high.sigmoid() - low.sigmoid(), (-low).sigmoid() - (-high).sigmoid())


def panels(low: float, high: float, width: float, count: int) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre on panels side by side: exact for functions with kinks at multiples of `width` only."""
    nodes, weights = legendre(count, 0, width)
    starts = torch.arange(low, high, width, dtype=torch.float64)
    return (starts[:, None] + nodes).flatten(), weights.repeat(len(starts))


def _normals(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _uniforms(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def _scales(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return (0.5 * _normals(shape, generator)).exp()


def _wide(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return 3 * _normals(shape, generator)


def _levels(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(0, 256, shape, generator=generator).double() / 255


def _loc_scale(shape: tuple[int, ...], generator: torch.Generator) -> tuple[Tensor, ...]:
    return 2 * _normals(shape, generator), _scales(shape, generator)


def _tril(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    below = _normals((*shape, shape[-1]), generator).tril(-1)
    return below + torch.diag_embed(_scales(shape, generator))


REAL_LINE = panels(-40, 40, 0.5, 12)
FAR_LINE = panels(-150, 150, 0.5, 12)
ALL_LEVELS = GREYS, torch.ones(256, dtype=torch.float64)

REFERENCES: dict[type[Density], Reference] = {
    Normal: Reference(
        lambda loc, scale: td.Independent(td.Normal(loc, scale), 1),
        _loc_scale,
        _wide,
        REAL_LINE,
    ),
    Bernoulli: Reference(
        lambda logits: td.Independent(td.Bernoulli(logits=logits), 1, validate_args=False),
        lambda shape, generator: (_wide(shape, generator),),
        lambda shape, generator: (_uniforms(shape, generator) < 0.5).double(),
        (torch.tensor([0.0, 1.0], dtype=torch.float64), torch.ones(2, dtype=torch.float64)),
    ),
    ContinuousBernoulli: Reference(
        lambda logits: td.Independent(td.ContinuousBernoulli(logits=logits), 1),
        lambda shape, generator: (_wide(shape, generator),),
        _uniforms,
        legendre(200, 0, 1),
    ),
    FullNormal: Reference(
        lambda loc, scale_tril: td.MultivariateNormal(loc, scale_tril=scale_tril),
        lambda shape, generator: (2 * _normals(shape, generator), _tril(shape, generator)),
        _wide,
        REAL_LINE,
    ),
    LowRankNormal: Reference(
        lambda loc, factor, scale: td.LowRankMultivariateNormal(loc, factor, scale.square()),
        lambda shape, generator: (
            2 * _normals(shape, generator),
            _normals((*shape, 2), generator),
            _scales(shape, generator),
        ),
        _wide,
        REAL_LINE,
    ),
    MixtureOfNormals: Reference(  # three components over D values, no batch
        lambda logits, loc, scale: td.MixtureSameFamily(
            td.Categorical(logits=logits), td.Independent(td.Normal(loc, scale), 1)
        ),
        lambda shape, generator: (_normals((3,), generator), *_loc_scale((3, shape[-1]), generator)),
        _wide,
        REAL_LINE,
    ),
    Categorical: Reference(
        Levels,
        lambda shape, generator: (_normals((*shape, 256), generator),),
        _levels,
        ALL_LEVELS,
    ),
    DiscretisedLogistic: Reference(
        lambda loc, scale: Levels(logistic_masses(loc, scale).log()),
        lambda shape, generator: (_uniforms(shape, generator), 0.2 * _scales(shape, generator)),
        _levels,
        ALL_LEVELS,
    ),
    Laplace: Reference(
        lambda loc, scale: td.Independent(td.Laplace(loc, scale), 1),
        lambda shape, generator: (_wide(shape, generator).round() / 2, _scales(shape, generator)),
        _wide,
        FAR_LINE,  # the kinks are where panels meet
    ),
    StudentT: Reference(
        lambda loc, scale, freedom: td.Independent(td.StudentT(freedom, loc, scale), 1),
        lambda shape, generator: (*_loc_scale(shape, generator), 15 + _scales(shape, generator)),
        _wide,
        FAR_LINE,
    ),
}
"""Every density but the flow, which is checked by its Jacobian."""


def flow_parameters(shape: tuple[int, ...], generator: torch.Generator, layers: int = 3) -> tuple[Any, ...]:
    """Of a coupling flow over (*batch, D): location, scale, context of two values, networks of five hidden units."""
    kept, moved = (shape[-1] + 1) // 2, shape[-1] // 2
    sizes = ((5, kept + 2), (5,), (2 * moved, 5), (2 * moved,))
    networks = tuple(tuple(0.5 * _normals(size, generator) for size in sizes) for _ in range(layers))
    return *_loc_scale(shape, generator), _normals((*shape[:-1], 2), generator), networks


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


def evenly(count: int) -> tuple[Tensor, Tensor]:
    """Nodes [N, 1] and weights [N] of an expectation under N(0, 1): equal steps, which kinks disturb least."""
    nodes = torch.linspace(-8, 8, count, dtype=torch.float64)
    return nodes[:, None], td.Normal(0.0, 1.0).log_prob(nodes).softmax(0)


@dataclass(frozen=True)
class AllDraws:
    """Every draw of q(h|x), N of them: the random numbers behind each layer [N, H_m], the probability [N, B], and
    log p(x|h_1), log p(h) and log q(h|x) there [N, B], all of them differentiable."""

    noise: tuple[Tensor, ...]
    weights: Tensor
    terms: tuple[Tensor, Tensor, Tensor]

    def tuples(self, draws: int) -> tuple[Tensor, Tensor, list[Tensor]]:
        """All P ways to draw so many times: indices [K, P], probabilities [P, B], the three terms [K, P, B]."""
        index = torch.cartesian_prod(*[torch.arange(len(self.weights))] * draws).reshape(-1, draws).T
        return index, self.weights[index].prod(0), [term[index] for term in self.terms]


def all_draws(model: HelmholtzMachine, x: Tensor, nodes: int | tuple[Tensor, Tensor]) -> AllDraws:
    """By enumeration for binary layers, else by quadrature: with that many Gauss-Hermite nodes a dimension, or those
    given. A uniform number below one half stands for a 1."""
    sizes, below, binary = [], x, False
    for recognition in model.recognition:
        density = recognition(below)
        below, binary = density.mean, isinstance(density, Bernoulli)
        sizes.append(below.shape[-1])
    if binary:
        grid, weights = 1 - binary_words(sum(sizes)), torch.empty(0)
    else:
        grid, weights = hermite(nodes, sum(sizes)) if isinstance(nodes, int) else nodes
    noise = grid.split(sizes, dim=-1)
    below, h, log_q = x, [], torch.zeros(len(grid), len(x), dtype=torch.float64)
    for recognition, own in zip(model.recognition, noise, strict=True):
        density, spread = recognition(below), own[:, None].expand(-1, len(x), -1)
        if binary:
            below = (spread < 0.5).double()
        elif hasattr(density, "push"):
            below = density.push(spread[None])[0] if h else density.push(spread)
        else:
            below = density.mean.expand_as(spread)
        log_q = log_q + density.log_prob(below)
        h.append(below)
    above = [layer(higher) for layer, higher in zip(model.generative, h, strict=True)]
    log_prior = model.prior().log_prob(h[-1])
    for density, lower in zip(above[1:], h[:-1], strict=True):
        log_prior = log_prior + density.log_prob(lower)
    probability = log_q.exp() if binary else weights[:, None].expand_as(log_q)
    return AllDraws(noise, probability, (above[0].log_prob(x), log_prior, log_q))


BOUNDS: dict[str, Callable[[Tensor, Tensor, Tensor, ObjectiveConfig], Tensor]] = {
    "elbo": lambda lik, prior, q, given: (lik + given.beta * (prior - q)).mean(0),
    "free_bits": lambda lik, prior, q, given: (
        lik.mean(0) - given.beta * torch.relu((q - prior).mean(0) - given.free_nats) - given.beta * given.free_nats
    ),
    "iwae": lambda lik, prior, q, given: torch.logsumexp(lik + prior - q, 0) - math.log(len(lik)),
    "renyi": lambda lik, prior, q, given: (
        (lik + prior - q).mean(0)
        if given.alpha == 1
        else (torch.logsumexp((1 - given.alpha) * (lik + prior - q), 0) - math.log(len(lik))) / (1 - given.alpha)
    ),
}
"""Every bound of the table as its paper writes it, of the terms log p(x|h), log p(h), log q(h|x) [K, ...]."""


def mean_bound(draws: AllDraws, count: int, given: ObjectiveConfig, *, analytic_kl: bool = False) -> Tensor:
    """The expectation over `count` draws of q, [B]; with the KL's own expectation in place of its draws, or not."""
    _, weights, (lik, prior, q) = draws.tuples(count)
    if analytic_kl:
        _, log_prior, log_q = draws.terms
        prior, q = -(draws.weights * (log_q - log_prior)).sum(0).expand_as(q), torch.zeros_like(q)
    return (weights * BOUNDS[given.bound](lik, prior, q, given)).sum(0)


def wake_sleep(model: HelmholtzMachine, draws: AllDraws, pixels: int) -> Tensor:
    """Its gradient is that of E_q(h|x) log p(x, h) (wake) and of E_p(x, h) log q(h|x) (sleep), of binary machines."""
    lik, prior, _ = draws.terms
    wake = (draws.weights.detach() * (lik + prior)).sum(0).mean()
    lik, prior, q = all_draws(model, binary_words(pixels), 0).terms
    return wake + ((lik + prior).exp().detach() * q).sum()


def reweighted_wake_sleep(draws: AllDraws, count: int) -> Tensor:
    """Its gradient is that of log p(x, h) + log q(h|x), weighted by the importance of each of `count` draws."""
    _, weights, (lik, prior, q) = draws.tuples(count)
    share = (lik + prior - q).softmax(0).detach()
    return (weights.detach() * (share * (lik + prior + q)).sum(0)).sum(0).mean()
