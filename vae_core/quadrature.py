"""Exact log p(x) and p(z|x) for one or two latent dimensions: adaptive quadrature with an error estimate.

Every cell of a grid over latent space is integrated by a Gauss-Legendre rule, and again by its halves in each
direction; where the two differ, the halves take its place. All examples share the decoder's evaluations, and each
example is followed only into cells where its posterior may have mass.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vae_core.distributions import Bernoulli, ContinuousBernoulli, Density, Normal
from vae_core.evaluation import require_support
from vae_core.model import HelmholtzMachine

NODES = 6
"""Of the rule in each direction."""
ROOTS = 10
"""Cells in each direction at first; a ring of one more on every side measures what lies outside."""
REACH = 7.0
"""The box holds so many standard deviations of the prior on both sides; every further look takes twice as many."""
DEEPEST = 16
LOOKS = 3
SUDDEN = 100.0
"""A cell that was so many tolerances off before it was halved has agreed with its halves by chance: look once more."""
HOPELESS = 0.5
"""A relative error above which nothing is known."""
STEEP = 1 / 15
"""A quadratic peak between nodes is higher than the highest node by at most this share of its range in the cell."""
SURPRISE = 2.0
"""A part whose highest peak may hold so many nats more than was integrated is looked at again, finer."""
EXAMPLES, PARENTS, VALUES = 1_000, 16, 20_000_000


@dataclass(frozen=True)
class Evidence:
    """log p(x) with the estimated absolute error, nats per example, infinite where most of the posterior was not found;
    `evaluations` of the decoder, for all of them."""

    log_p: Float[Tensor, "B"]
    error: Float[Tensor, "B"]
    evaluations: int


def require_plane(model: HelmholtzMachine) -> None:
    """Raises ValueError unless the machine has one layer of one or two continuous latent dimensions and a prior."""
    prior = model.prior()
    if len(model.recognition) != 1 or isinstance(prior, Bernoulli):
        raise ValueError(
            "quadrature needs one layer of continuous units; use enumeration for small binary machines, or "
            "importance sampling"
        )
    size = prior.mean.shape[-1]
    if size > 2:
        raise ValueError(f"quadrature needs 1 or 2 latent dimensions; got {size}: use importance or annealed sampling")
    prior.sample(1, generator=torch.Generator(prior.mean.device).manual_seed(0))  # a plain autoencoder says why not


def cross_log_prob(density: Density, x: Float[Tensor, "B D"]) -> Float[Tensor, "G B"]:
    """log p(x_b) under each of the G densities of batch shape [G], nats: matrix products where the family allows."""
    if isinstance(density, (Bernoulli, ContinuousBernoulli)):
        return density.logits @ x.mT - density.log_normaliser().unsqueeze(-1)
    if isinstance(density, Normal):
        # in float64: squares of differences are expanded
        precise = Normal(density.loc.double(), density.scale.double().expand_as(density.loc))
        weight, centred = precise.scale.pow(-2), precise.loc
        far = 2 * (weight * centred) @ x.double().mT - weight @ x.double().square().mT
        at_zero = precise.log_prob(torch.zeros_like(centred))
        return (0.5 * far + at_zero.unsqueeze(-1)).to(x)
    step = max(1, VALUES // (math.prod(_widest(density)) * len(x)))
    pieces = [_piece(density, place, step).log_prob(x) for place in range(0, len(density.mean), step)]
    return torch.cat(pieces)


def _widest(density: Density) -> tuple[int, ...]:
    return max((tuple(value.shape[1:]) for value in vars(density).values()), key=math.prod)


def _piece(density: Density, place: int, step: int) -> Density:
    """Some of the densities with an axis for the examples behind theirs; parameters shared by all stay as they are."""
    count = len(density.mean)
    parts = (
        value[place : place + step].unsqueeze(1) if value.dim() > 1 and len(value) == count else value
        for value in vars(density).values()
    )
    return type(density)(*parts)


def log_joint(model: HelmholtzMachine, z: Float[Tensor, "G H"], x: Float[Tensor, "B D"]) -> Float[Tensor, "G B"]:
    """log p(x_b, z_g) for every pair, nats."""
    return cross_log_prob(model.decode(z), x) + model.prior().log_prob(z).unsqueeze(-1)


def _rule(dimensions: int, halvings: int) -> tuple[Tensor, Tensor]:
    """Points [2^(D halvings), N, D] in [-1, 1]^D, cell by cell, and log-weights [N] of a cell's integral over them."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    parts = 2**halvings
    middles = (torch.arange(parts).double() * 2 + 1) / parts - 1
    points = torch.cartesian_prod(*[torch.from_numpy(nodes)] * dimensions).reshape(-1, dimensions) / parts
    weight = torch.cartesian_prod(*[torch.from_numpy(weights) / parts] * dimensions).reshape(-1, dimensions).prod(-1)
    centres = torch.cartesian_prod(*[middles] * dimensions).reshape(-1, 1, dimensions)
    return centres + points, weight.log()


@dataclass(frozen=True)
class _Level:
    """Cells of one size: centres [C, D], half widths [D], which lie in the outermost ring [C]; log-integrals, the
    relative difference that the last halving made, and whether anything is expected, [C, B]."""

    centres: Tensor
    half: Tensor
    ring: Tensor
    integrals: Tensor
    moved: Tensor
    active: Tensor


@dataclass(frozen=True)
class _Look:
    """What one integration found for each example: log p(x), and relative to p(x) the error of what was integrated and
    the share of the outermost ring, which stands for all that lies outside."""

    log_p: Tensor
    error: Tensor
    ring: Tensor


def _apart(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
    """|e^a - e^b| / e^scale, infinite rather than NaN where it overflows."""
    share = -torch.expm1(-(a - b).abs().nan_to_num(0.0))  # both empty: no difference
    return torch.where(share > 0, (torch.maximum(a, b) - scale).exp() * share, 0.0)


class _Integrator:
    """Adaptive integration of p(x_b, z) over z for a batch of examples."""

    def __init__(self, model: HelmholtzMachine, x: Tensor, tolerance: float, widening: int) -> None:
        self.model, self.x, self.tolerance = model, x, tolerance
        self.evaluations = 0
        generator = torch.Generator(x.device).manual_seed(0)
        prior = model.prior().sample(2_000, generator=generator).double()
        posterior = model.encode(x).sample(32, generator=generator).double()
        self.guess, self.spread = posterior.mean(0), posterior.std(0)
        middle, deviation = prior.mean(0), prior.std(0)
        reach, roots = widening * REACH * deviation, widening * ROOTS
        low = torch.minimum(middle - reach, posterior.amin((0, 1)) - deviation)
        high = torch.maximum(middle + reach, posterior.amax((0, 1)) + deviation)
        self.size = len(low)
        self.half = (high - low) / (2 * roots)
        steps = torch.cartesian_prod(*[torch.arange(-1, roots + 1)] * self.size).reshape(-1, self.size).to(x.device)
        self.roots = low + self.half * (2 * steps + 1)
        self.ring = ((steps < 0) | (steps == roots)).any(-1)

    def _evaluate(self, centres: Tensor, half: Tensor, active: Tensor, halvings: int) -> tuple[Tensor, Tensor]:
        """Log-integrals [C, P, B] of the P parts of every cell, and how high log p(x, z) may rise in them."""
        points, log_weight = (t.to(self.x.device) for t in _rule(self.size, halvings))
        parts, nodes = points.shape[:2]
        integrals = torch.full((len(centres), parts, len(self.x)), -math.inf, dtype=torch.float64, device=self.x.device)
        peaks = integrals.clone()
        for place in range(0, len(centres), PARENTS):
            group = slice(place, place + PARENTS)
            who = active[group].any(0).nonzero().squeeze(-1)
            z = (centres[group, None, None] + half * points).reshape(-1, self.size)
            self.evaluations += len(z)
            values = log_joint(self.model, z.to(self.x), self.x[who]).double().reshape(-1, parts, nodes, len(who))
            top = values.amax(2)
            here = active[group][:, who].unsqueeze(1)
            sums = torch.logsumexp(values + log_weight[:, None], dim=2) + half.log().sum()
            integrals[group, :, who] = sums.masked_fill(~here, -math.inf)
            drop = top - values.amin(2)
            peak = top + STEEP * drop - 0.5 * self.size * drop.clamp_min(1).log()
            peaks[group, :, who] = (peak + half.log().sum()).masked_fill(~here, -math.inf)
        return integrals, peaks

    def _must_split(self, centres: Tensor, half: Tensor) -> Tensor:
        """Cells [C, B] around the encoder's guess that are too coarse to see a posterior of the encoder's width."""
        inside = ((centres[:, None] - self.guess).abs() <= half).all(-1)
        return inside & (half > 3 * self.spread).any(-1)

    def run(self, known: Float[Tensor, "B"]) -> _Look:
        """`known` bounds log p(x) from above as far as it matters for where to look closer: a node that happens to hit
        a narrow peak makes coarse cells promise too much, beside which others look negligible."""
        everyone = torch.ones(len(self.roots), len(self.x), dtype=torch.bool, device=self.x.device)
        first, _ = self._evaluate(self.roots, self.half, everyone, halvings=0)
        roots = first.squeeze(1)
        share = (roots - torch.minimum(torch.logsumexp(roots, dim=0), known)).exp()
        level = _Level(self.roots, self.half, self.ring, roots, share, everyone)
        settled = torch.full((len(self.x),), -math.inf, dtype=torch.float64, device=self.x.device)
        doubt, ring = settled.clone(), settled.clone()
        for depth in range(DEEPEST):
            parts, peaks = self._evaluate(level.centres, level.half, level.active, halvings=1)
            finer = torch.logsumexp(parts, dim=1)
            total = torch.logaddexp(settled, torch.logsumexp(finer, dim=0))
            scale = torch.minimum(total, known)
            difference = _apart(level.integrals, finer, scale)
            rough = (difference > self.tolerance / 10) | (level.moved > SUDDEN * self.tolerance)
            rough = rough & level.active | self._must_split(level.centres, level.half)
            hidden = (peaks > scale + math.log(self.tolerance / 10)) & (peaks > parts + SURPRISE)
            follow = level.active.unsqueeze(1) & (rough.unsqueeze(1) | hidden)
            if depth == DEEPEST - 1:
                follow = torch.zeros_like(follow)
            open_cell = follow.any(1)
            done = finer.masked_fill(open_cell, -math.inf)
            left = parts.masked_fill(follow | ~open_cell.unsqueeze(1), -math.inf)
            here = torch.logsumexp(torch.cat([done.unsqueeze(1), left], dim=1), dim=1)
            settled = torch.logsumexp(torch.cat([settled[None], here]), dim=0)
            ring = torch.logsumexp(torch.cat([ring[None], here[level.ring]]), dim=0)
            doubted = difference.masked_fill(open_cell | ~level.active, 0).sum(0).log() + scale
            doubt = torch.logaddexp(doubt, doubted)
            level = self._next(level, parts, difference, follow)
            if not len(level.centres):
                break
        return _Look(settled, (doubt - settled).exp(), (ring - settled).exp())

    def _next(self, level: _Level, parts: Tensor, difference: Tensor, follow: Tensor) -> _Level:
        count = parts.shape[1]
        kept = follow.any(-1).flatten()
        offsets = _rule(self.size, 1)[0].mean(1).to(level.centres)
        centres = (level.centres[:, None] + level.half * offsets).flatten(0, 1)[kept]
        ring, moved = (value.repeat_interleave(count, dim=0)[kept] for value in (level.ring, difference))
        return _Level(centres, level.half / 2, ring, parts.flatten(0, 1)[kept], moved, follow.flatten(0, 1)[kept])


@torch.no_grad()
def log_evidence(model: HelmholtzMachine, x: Float[Tensor, "N D"], tolerance: float = 1e-3) -> Evidence:
    """Exact log p(x), nats per example, by adaptive quadrature over one or two latent dimensions.

    `tolerance` is the relative error of p(x) to reach, so about the error of log p(x) in nats. Raises ValueError for
    other machines (`require_plane`) and for data outside the likelihood's support.
    """
    require_plane(model)
    require_support(model, x)
    found = [_integrate(model, chunk, tolerance) for chunk in x.split(EXAMPLES)]
    return Evidence(
        torch.cat([one.log_p for one in found]),
        torch.cat([one.error for one in found]),
        sum(one.evaluations for one in found),
    )


def _integrate(model: HelmholtzMachine, x: Tensor, tolerance: float) -> Evidence:
    """A first look at all, then again, wider and with what is known, at those that are not exact enough."""
    log_p = torch.full((len(x),), math.inf, dtype=torch.float64, device=x.device)
    error, known, evaluations = log_p.clone(), log_p.clone(), 0
    for look in range(LOOKS):
        again = (error > tolerance).nonzero().squeeze(-1)
        if not len(again):
            break
        integrator = _Integrator(model, x[again], tolerance, 2**look)
        found = integrator.run(known[again])
        total = (found.error + found.ring).clamp_min(tolerance / 10)  # what cells that were set aside may hold
        log_p[again], error[again] = found.log_p, torch.where(total < HOPELESS, total, math.inf)
        known[again] = torch.where(found.ring < tolerance, found.log_p, math.inf)
        evaluations += integrator.evaluations
    return Evidence(log_p, error, evaluations)


@torch.no_grad()
def log_posterior(
    model: HelmholtzMachine, x: Float[Tensor, "B D"], z: Float[Tensor, "G H"], log_p: Float[Tensor, "B"]
) -> Float[Tensor, "G B"]:
    """log p(z_g | x_b), nats, given the exact log p(x)."""
    return log_joint(model, z, x) - log_p
