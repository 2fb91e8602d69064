"""Where in latent space there is data, where there is a hole between data, and where a decoder extrapolates.

Three numbers of a code decide, each with a threshold that the data's own codes set: how dense codes lie there, whether
decoding and encoding comes back, and how far out it is.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vae_core.aggregate import Aggregate, aggregate, as_gaussian
from vae_core.autoencoder import Nothing
from vae_core.distributions import REAL, Density, Normal
from vae_core.gaussians import FullNormal
from vae_core.model import HelmholtzMachine

DATA, BETWEEN, EXTRAPOLATION = range(3)
LEAST_EXAMPLES = 20
"""Fewer have no 5 % quantile."""
WIDTHS = (0.0, 0.0125, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Tried, in standard deviations of the aggregate; the likelihood of codes left out is flat between neighbours."""
REGION, BACK, REACH = 0.05, 0.99, 0.995
"""The quantiles of the data's own codes that are the thresholds of density, round trip and distance."""
CHUNK = 500


@dataclass(frozen=True)
class Kind:
    """What may be said of a code, and why."""

    label: str
    help: str


KINDS = (
    Kind("here is data", "Codes of held-out examples lie here, and what is decoded here is encoded here again."),
    Kind(
        "between data", "No farther out than the data, but few of its codes lie here, or the decoded is seen elsewhere."
    ),
    Kind("extrapolation", "Farther out than the codes of the data: the decoder was never asked for anything here."),
)
"""By number: DATA, BETWEEN, EXTRAPOLATION."""


def mahalanobis(z: Float[Tensor, "*batch H"], density: Normal | FullNormal) -> Float[Tensor, "*batch"]:
    """The distance of z from the mean, in standard deviations of a Gaussian in that direction."""
    shift = z - density.loc
    if isinstance(density, Normal):
        return (shift / density.scale).norm(dim=-1)
    whitened = torch.linalg.solve_triangular(density.scale_tril, shift.unsqueeze(-1), upper=False)
    return whitened.squeeze(-1).norm(dim=-1)


@torch.no_grad()
def round_trip(
    model: HelmholtzMachine, z: Float[Tensor, "M H"], decoded: Float[Tensor, "M D"] | None = None
) -> Float[Tensor, "M"]:
    """How far decoding z and encoding that leads from z: the Mahalanobis distance of z under the Gaussian with mean and
    covariance of q(h_1 | x), x the mean of p(x | z), which is not computed again where it is given as `decoded`. Plain
    distance where codes have no noise.

    The mean itself is encoded, grey as it is, also by encoders that were trained on binarised images: a draw of x would
    add its noise to the answer.
    """
    parts = z.split(CHUNK)
    means = (model.decode(part).mean for part in parts) if decoded is None else decoded.split(CHUNK)
    return torch.cat([mahalanobis(part, as_gaussian(model.encode(x))) for part, x in zip(parts, means, strict=True)])


@torch.no_grad()
def log_prior(model: HelmholtzMachine, z: Float[Tensor, "M H"]) -> Float[Tensor, "M"] | None:
    """log p(z), nats; None where p(h_1) is no density of z that can be evaluated: in machines of several layers, for
    binary codes, which have probabilities at the corners only, and for autoencoders, which have no prior."""
    prior = model.prior()
    if len(model.generative) > 1 or prior.support is not REAL or isinstance(prior, Nothing):
        return None
    return prior.log_prob(z)


@dataclass(frozen=True)
class Place:
    """The evidence at one code: log q(z) and log p(z) in nats (None as for `log_prior`), round trip and distance from
    the mean in standard deviations, and which of KINDS it is."""

    log_q: float
    log_p: float | None
    round_trip: float
    distance: float
    kind: int


@dataclass(frozen=True)
class Landscape:
    """A model's codes of a sample. `aggregate` is widened to be the density of codes that the sample has not seen;
    `codes` is the Gaussian with the mean and covariance of the aggregate as it is. DATA needs log q(z) of at least
    `least_log_q` and a round trip of at most `greatest_round_trip`; all else farther out than `greatest_distance` is
    EXTRAPOLATION."""

    model: HelmholtzMachine
    aggregate: Aggregate
    codes: FullNormal
    least_log_q: float
    greatest_round_trip: float
    greatest_distance: float

    def _kinds(
        self, log_q: Float[Tensor, "M"], trip: Float[Tensor, "M"], distance: Float[Tensor, "M"]
    ) -> Int[Tensor, "M"]:
        data = (log_q >= self.least_log_q) & (trip <= self.greatest_round_trip)
        far = distance > self.greatest_distance
        return torch.where(data, DATA, torch.where(far, EXTRAPOLATION, BETWEEN))

    def kinds(self, z: Float[Tensor, "M H"]) -> Int[Tensor, "M"]:
        """DATA, BETWEEN or EXTRAPOLATION for every code. Where q(z) alone says that it is no data, no round
        trip, which is dear, is made."""
        log_q = self.aggregate.log_prob(z)
        dense, trip = log_q >= self.least_log_q, torch.full_like(log_q, torch.inf)
        trip[dense] = round_trip(self.model, z[dense])
        return self._kinds(log_q, trip, mahalanobis(z, self.codes))

    def place(self, z: Float[Tensor, "H"], decoded: Float[Tensor, "D"]) -> Place:
        """What `kinds` decides by at one code, whose mean of p(x | z) is `decoded`."""
        one, image = z.unsqueeze(0), decoded.unsqueeze(0)
        log_p = log_prior(self.model, one)
        evidence = self.aggregate.log_prob(one), round_trip(self.model, one, image), mahalanobis(one, self.codes)
        log_q, trip, distance = (number.item() for number in evidence)
        return Place(log_q, None if log_p is None else log_p.item(), trip, distance, int(self._kinds(*evidence)))

    def log_ratio(self, z: Float[Tensor, "M H"]) -> Float[Tensor, "M"] | None:
        """log q(z) - log p(z), nats: negative where the prior draws codes that the data does not have (Rosca et al.
        2018, section 3). None as for `log_prior`."""
        log_p = log_prior(self.model, z)
        return None if log_p is None else self.aggregate.log_prob(z) - log_p


def widened_to_predict(q: Aggregate, codes: Float[Tensor, "N H"]) -> Aggregate:
    """The mixture, widened by what makes the codes of left out examples most likely (Duin 1976): N posteriors are
    narrow peaks with gaps between them where codes of further examples lie."""
    candidates = [q.widened(width) for width in WIDTHS]
    return max(candidates, key=lambda candidate: candidate.left_out(codes).mean().item())


@torch.no_grad()
def landscape(model: HelmholtzMachine, q: Density, *, generator: torch.Generator) -> Landscape:
    """Thresholds and density for a model from the posteriors q(h_1 | x) of a held-out sample, of batch shape [N].

    The codes that set them are one draw of q for every example, as decoders are trained on; the density of each is that
    of the others' posteriors, so that 95 % of the codes of further examples are in the region too.
    Raises ValueError for fewer than 20 examples and for codes that are not finite.
    """
    codes = q.sample(1, generator=generator).squeeze(0)
    if len(codes) < LEAST_EXAMPLES:
        raise ValueError(f"landscape needs the posteriors of {LEAST_EXAMPLES} examples at least; got {len(codes)}")
    if not codes.isfinite().all():
        raise ValueError("codes must be finite numbers; the model has diverged: open an earlier checkpoint of it")
    mixture = aggregate(q)
    density, gaussian = widened_to_predict(mixture, codes), mixture.moments()
    return Landscape(
        model,
        density,
        gaussian,
        density.left_out(codes).quantile(REGION).item(),
        round_trip(model, codes).quantile(BACK).item(),
        mahalanobis(codes, gaussian).quantile(REACH).item(),
    )
