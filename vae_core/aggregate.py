"""The aggregate posterior q(z) = 1/N sum_n q(z|x_n) of a sample (Makhzani et al. 2016, section 2; Hoffman & Johnson
2016, section 2): its density, its draws, and the picture of it on a plane."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from contourpy import contour_generator
from jaxtyping import Float
from torch import Tensor
from torch.quasirandom import SobolEngine

from vae_core.autoencoder import Point
from vae_core.distributions import HALF_LOG_2PI, Bernoulli, Density, Normal, Pushed
from vae_core.gaussians import FullNormal
from vae_core.geometry import lattice
from vae_core.moments import gaussian_covariance
from vae_core.planes import Plane

LEAST_SCALE = 1e-3
"""Of a component: codes of no width would give infinite densities."""
POINTS = 256
"""Of the quadrature for posteriors that are no Gaussians; eight for each dimension where that is more."""
VALUES = 500_000
"""Log-densities of one place under one component that are held at once: few enough for the processor's cache."""
NEGLIGIBLE = -80.0
"""Components this many nats below the best one count as that far below: numbers that underflow take `exp` five times as
long, and most components are far away."""


@dataclass(frozen=True)
class Aggregate:
    """The mixture of N Gaussians of equal weight, `components` with batch shape [N]: q(z) itself where the posteriors
    are Gaussians."""

    components: Normal | FullNormal

    @property
    def loc(self) -> Float[Tensor, "N H"]:
        return self.components.loc

    @cached_property
    def _natural(self) -> Float[Tensor, "S N"]:
        return _natural(self.components)

    def log_prob(self, z: Float[Tensor, "M H"]) -> Float[Tensor, "M"]:
        """log q(z), nats. One matrix product for all components at once; its memory is bounded."""
        parts = [_log_sum_exp(each, z.dtype) for each in self._each(z)]
        return torch.cat(parts) - math.log(len(self.loc))

    def left_out(self, z: Float[Tensor, "N H"]) -> Float[Tensor, "N"]:
        """The log-density of every example's code under the components of all others, nats: what the sample knows of a
        code that is not its own."""
        parts, first = [], 0
        for each in self._each(z):
            each.diagonal(first).fill_(-math.inf)
            parts.append(_log_sum_exp(each, z.dtype))
            first += len(each)
        return torch.cat(parts) - math.log(len(self.loc) - 1)

    def _each(self, z: Float[Tensor, "M H"]) -> Iterator[Float[Tensor, "_ N"]]:
        """Log-densities of places under every component, some places at a time, in double precision."""
        for part in z.split(max(1, VALUES // len(self.loc))):
            yield _statistics(part.double(), self.components) @ self._natural

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n H"]:
        chosen = torch.randint(len(self.loc), (n,), generator=generator, device=self.loc.device)
        return _pick(self.components, chosen).sample(1, generator=generator).squeeze(0)

    def moments(self) -> FullNormal:
        """The Gaussian with the mean and the covariance of the mixture."""
        mean, centred = self.loc.mean(0), (self.loc - self.loc.mean(0)).double()
        between = centred.mT @ centred / len(centred)
        return FullNormal(mean, torch.linalg.cholesky(between + _mean_covariance(self.components)).to(mean))

    def widened(self, width: float) -> "Aggregate":
        """Every component convolved with a Gaussian of `width` standard deviations of the mixture by dimension."""
        added = (width * self.moments().scale_tril.norm(dim=1)).square()
        if isinstance(self.components, Normal):
            return Aggregate(Normal(self.loc, (self.components.scale.square() + added).sqrt()))
        spread = gaussian_covariance(self.components).double() + added.diag()
        return Aggregate(FullNormal(self.loc, torch.linalg.cholesky(spread).to(self.loc)))

    def on_plane(self, plane: Plane) -> "Aggregate":
        """The marginal density of the coordinates (u, v) of codes projected onto the plane; of u alone where latent
        space has one dimension."""
        used = plane.basis.any(dim=1)
        basis, loc = plane.basis[used], plane.coordinates(self.loc)[:, used]
        if isinstance(self.components, Normal):
            root = self.components.scale.unsqueeze(-1) * basis.mT
        else:
            root = self.components.scale_tril.mT @ basis.mT
        spread = root.double().mT @ root.double()
        return Aggregate(FullNormal(loc, torch.linalg.cholesky(spread).to(loc)))


def _log_sum_exp(each: Float[Tensor, "M N"], dtype: torch.dtype) -> Float[Tensor, "M"]:
    best = each.detach().amax(1, keepdim=True)
    below = (each - best).to(dtype).clamp_min(NEGLIGIBLE)
    return below.exp().sum(1).log() + best.squeeze(1).to(dtype)


def _pick(components: Normal | FullNormal, chosen: Tensor) -> Normal | FullNormal:
    if isinstance(components, Normal):
        return Normal(components.loc[chosen], components.scale[chosen])
    return FullNormal(components.loc[chosen], components.scale_tril[chosen])


def _mean_covariance(components: Normal | FullNormal) -> Float[Tensor, "H H"]:
    if isinstance(components, Normal):
        return components.scale.double().square().mean(0).diag()
    return gaussian_covariance(components).double().mean(0)


def _statistics(z: Float[Tensor, "M H"], components: Normal | FullNormal) -> Float[Tensor, "M S"]:
    """The sufficient statistics of a Gaussian: squares (or all products) of z, z, and 1 (Bishop 2006, section 2.4)."""
    full = isinstance(components, FullNormal)
    second = torch.einsum("mi,mj->mij", z, z).flatten(1) if full else z.square()
    return torch.cat([second, z, torch.ones_like(z[:, :1])], dim=1)


def _natural(components: Normal | FullNormal) -> Float[Tensor, "S N"]:
    """The natural parameters, with the log-normaliser last: their product with the statistics is log N(z). In double
    precision, because the three terms are large and cancel where a component is narrow."""
    loc = components.loc.double()
    if isinstance(components, Normal):
        precision = components.scale.double().square().reciprocal()
        second, first, log_scales = precision, precision * loc, components.scale.double().log()
    else:
        tril = components.scale_tril.double()
        matrix = torch.cholesky_inverse(tril)
        second, first = matrix.flatten(1), (matrix @ loc.unsqueeze(-1)).squeeze(-1)
        log_scales = tril.diagonal(dim1=-2, dim2=-1).log()
    constant = -0.5 * (first * loc).sum(1) - log_scales.sum(1) - loc.shape[1] * HALF_LOG_2PI
    return torch.cat([-0.5 * second, first, constant.unsqueeze(1)], dim=1).mT


def _spread_noise(size: int) -> Float[Tensor, "P size"]:
    """Evenly spread standard normal points, turned so that their mean is 0 and their covariance I without error."""
    count = max(POINTS, 8 * size)
    corners = SobolEngine(size).draw(count, dtype=torch.float64)
    noise = torch.special.ndtri(corners + 0.5 / count)
    noise = noise - noise.mean(0)
    root = torch.linalg.cholesky(noise.mT @ noise / count)
    return torch.linalg.solve_triangular(root, noise.mT, upper=False).mT


def _gaussian_of_pushed(q: Pushed) -> FullNormal:
    """The Gaussian with the mean and covariance of q, by quadrature: exact where `push` is affine."""
    noise = _spread_noise(q.loc.shape[-1]).to(q.loc)
    pushed = q.push(noise.unsqueeze(1).expand(-1, *q.loc.shape))
    mean, centred = pushed.mean(0), (pushed - pushed.mean(0)).double()
    spread = torch.einsum("nbi,nbj->bij", centred, centred) / len(noise)
    least = LEAST_SCALE**2 * torch.eye(q.loc.shape[-1], dtype=spread.dtype, device=spread.device)
    return FullNormal(mean, torch.linalg.cholesky(spread + least).to(mean))


def as_gaussian(q: Density) -> Normal | FullNormal:
    """For each example the Gaussian with the mean and covariance of q: q itself where it is one, by quadrature for
    flows, in closed form for binary codes. A code with no noise has standard deviation 1 in every dimension.

    Raises ValueError for other densities.
    """
    if isinstance(q, FullNormal):
        return q
    if isinstance(q, Normal):
        return Normal(q.loc, q.scale.expand_as(q.loc))
    if isinstance(q, Pushed):
        return _gaussian_of_pushed(q)
    if isinstance(q, Bernoulli):
        return Normal(q.mean, (q.mean * (1 - q.mean)).sqrt().clamp_min(LEAST_SCALE))
    if isinstance(q, Point):
        return Normal(q.loc, torch.ones_like(q.loc))
    raise ValueError(f"as_gaussian needs a posterior of the table POSTERIORS; got {type(q).__name__}")


def scott_scale(codes: Float[Tensor, "N H"]) -> Float[Tensor, "H"]:
    """Scott's rule for the width of a kernel, N^(-1/(H + 4)) standard deviations of every dimension (Scott 1992,
    eq. 6.42)."""
    count, size = codes.shape
    return (count ** (-1 / (size + 4)) * codes.std(0, correction=0)).clamp_min(LEAST_SCALE)


def aggregate(q: Density) -> Aggregate:
    """The aggregate posterior of the examples whose posteriors are q, of batch shape [N]; kernels of Scott's width
    around codes that have no noise. Raises ValueError for densities that are no posteriors."""
    if isinstance(q, Point):
        return Aggregate(Normal(q.loc, scott_scale(q.loc).expand_as(q.loc)))
    return Aggregate(as_gaussian(q))


def density_grid(q: Aggregate, plane: Plane, side: int, extent: float) -> Float[Tensor, "side side"]:
    """The density of projected codes at the centres of side x side tiles of [-extent, extent]^2, row 0 at the top. In a
    latent space of one dimension v changes nothing."""
    marginal = q.on_plane(plane)
    places = lattice(side, extent).to(q.loc)[:, : marginal.loc.shape[1]]
    return marginal.log_prob(places).exp().reshape(side, side)


def mass_levels(grid: Float[Tensor, "side side"], masses: list[float]) -> list[float]:
    """For every share of the grid's mass the density whose superlevel set holds that share: the bounds of its
    highest-density regions. Raises ValueError for shares outside (0, 1) and grids with no mass."""
    wrong = [mass for mass in masses if not 0 < mass < 1]
    if wrong:
        raise ValueError(f"masses must lie between 0 and 1; got {wrong[0]}")
    ordered = grid.double().flatten().sort(descending=True).values
    held = ordered.cumsum(0)
    if not held[-1] > 0:
        raise ValueError("the grid holds no mass; choose an extent that shows some of the codes")
    places = torch.searchsorted(held, torch.tensor(masses, dtype=held.dtype, device=held.device) * held[-1])
    return ordered[places.clamp_max(len(ordered) - 1)].tolist()


def contours(grid: Float[Tensor, "side side"], extent: float, level: float) -> list[Float[Tensor, "_ 2"]]:
    """The lines in coordinates (u, v) along which a grid of `density_grid` has this value."""
    half = extent / len(grid)
    centres = torch.linspace(-extent + half, extent - half, len(grid)).numpy()
    lines = contour_generator(centres, centres, grid.flip(0).cpu().numpy()).lines(level)
    return [torch.from_numpy(line) for line in lines]
