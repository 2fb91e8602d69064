"""Paths between two points of latent space: straight, around a centre, and shortest once they are decoded."""

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from torch import Tensor

Decode = Callable[[Tensor], Tensor]
"""Latent vectors [N, H] to the means [N, D] of what they decode to."""
OPPOSITE = 1e-3
"""Angle, radians, that two directions may miss a half turn by and still count as opposite ones."""
ROUND = 5
"""Iterations between two looks at whether a path still gets shorter."""
SETTLED = 1e-4
"""Share of its energy that a path must lose in a round for another one to follow."""
LANDMARKS = 1_000
"""How many latent means at most a path is led along."""
NEIGHBOURS = 8


def _shares(a: Float[Tensor, "H"], steps: int) -> Float[Tensor, "steps 1"]:
    if steps < 2:
        raise ValueError(f"steps of a path must be 2 at least, for its two ends; got {steps}")
    return torch.linspace(0, 1, steps, dtype=a.dtype, device=a.device).unsqueeze(-1)


def linear(a: Float[Tensor, "H"], b: Float[Tensor, "H"], steps: int) -> Float[Tensor, "{steps} H"]:
    """Evenly spaced points of the straight line, both ends included."""
    return torch.lerp(a, b, _shares(a, steps))


def _turned(t: Float[Tensor, "S 1"], angle: float) -> Float[Tensor, "S 1"]:
    """sin(t angle) / sin(angle), and t where the angle is 0."""
    return t * torch.sinc(t * angle / math.pi) / float(np.sinc(angle / math.pi))


def spherical(
    a: Float[Tensor, "H"], b: Float[Tensor, "H"], steps: int, centre: Float[Tensor, "H"]
) -> Float[Tensor, "{steps} H"]:
    """Turns evenly from the direction of `a`, seen from `centre`, to that of `b`, while the distance from `centre`
    changes evenly (Shoemake 1985). Where both directions are the same it is the straight line.

    Raises ValueError for an end at the centre, which has no direction, and for ends on opposite sides of it.
    """
    lengths = torch.stack([a - centre, b - centre]).norm(dim=-1)
    if lengths.min() <= 1e-6 * lengths.max():
        raise ValueError("an end of a spherical path lies at its centre and has no direction; use a linear path")
    from_a, from_b = (a - centre) / lengths[0], (b - centre) / lengths[1]
    angle = 2 * math.atan2((from_a - from_b).norm(), (from_a + from_b).norm())
    if angle > math.pi - OPPOSITE:
        raise ValueError(
            "the ends of a spherical path lie on opposite sides of its centre, so that every way around is as short; "
            "use a linear path, or move one end"
        )
    t = _shares(a, steps)
    directions = _turned(1 - t, angle) * from_a + _turned(t, angle) * from_b
    path = centre + torch.lerp(lengths[0], lengths[1], t) * directions
    path[0], path[-1] = a, b
    return path


def step_lengths(decoded: Float[Tensor, "S D"]) -> Float[Tensor, "S-1"]:
    """Root mean square difference of the D values between neighbours along a path, in the unit of the values."""
    return decoded.diff(dim=0).square().mean(-1).sqrt()


def energy(decoded: Float[Tensor, "S D"]) -> Float[Tensor, ""]:
    """Sum of the squared distances between neighbours. Of all paths with S points the one of least energy is the
    shortest, with steps of equal length (Shao, Kumar & Fletcher 2018)."""
    return decoded.diff(dim=0).square().sum()


@torch.no_grad()
def _around(
    decode: Decode, ends: tuple[Tensor, Tensor], steps: int, means: Float[Tensor, "N H"]
) -> Float[Tensor, "{steps} H"]:
    """Evenly spaced points of the shortest way from mean to neighbouring mean, or of the straight line if there is
    none."""
    chosen = torch.linspace(0, len(means) - 1, min(len(means), LANDMARKS)).long()
    z = torch.cat([torch.stack(ends), means[chosen.to(means.device)]])
    near = torch.cdist(z, z).topk(min(NEIGHBOURS + 1, len(z)), largest=False).indices
    x = decode(z)
    gaps = torch.cdist(x, x).gather(1, near).clamp_min(1e-9).double()  # 0 would be no edge
    rows = torch.arange(len(z)).repeat_interleave(near.shape[1])
    graph = csr_array((gaps.flatten().cpu().numpy(), (rows.numpy(), near.flatten().cpu().numpy())))
    lengths, before = dijkstra(graph, directed=False, indices=0, return_predecessors=True)
    if not math.isfinite(lengths[1]):
        return linear(*ends, steps)
    way = [1]
    while way[0]:
        way.insert(0, int(before[way[0]]))
    places = np.linspace(0, lengths[1], steps)
    columns = [np.interp(places, lengths[way], column) for column in z[way].mT.cpu().numpy()]
    return torch.from_numpy(np.stack(columns, axis=-1)).to(z)


def _relaxed(
    decode: Decode, path: Float[Tensor, "S H"], iterations: int, report: Callable[[float], None]
) -> Float[Tensor, "S H"]:
    """The inner points moved until the energy falls no more, by L-BFGS with a strong Wolfe line search."""
    first, inner, last = path[:1], path[1:-1].clone().requires_grad_(), path[-1:]
    optimiser = torch.optim.LBFGS([inner], max_iter=ROUND, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> float:
        found = energy(decode(torch.cat([first, inner, last])))
        (inner.grad,) = torch.autograd.grad(found, inner)
        return found.item()

    before = math.inf
    for done in range(0, iterations, ROUND):
        report(done / iterations)
        now = float(optimiser.step(closure))  # the energy at the start of the round
        if not now < (1 - SETTLED) * before:
            break
        before = now
    return torch.cat([first, inner.detach(), last])


def geodesic(
    decode: Decode,
    a: Float[Tensor, "H"],
    b: Float[Tensor, "H"],
    steps: int,
    *,
    iterations: int = 75,
    means: Float[Tensor, "N H"] | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Float[Tensor, "{steps} H"]:
    """The shortest path that was found when lengths are those of the decoded path (Arvanitidis, Hansen & Hauberg 2018):
    relaxed from the straight line and, given latent `means`, from the shortest way along them. A local minimum,
    never longer than the straight line.

    `iterations` is the limit for each start. `on_progress` hears the share done, 0 to 1, and may raise to interrupt.
    """
    straight = linear(a, b, steps)
    if steps == 2:
        return straight
    report = on_progress or (lambda share: None)
    starts = [straight] if means is None else [straight, _around(decode, (a, b), steps, means)]
    found = [straight]
    for number, start in enumerate(starts):
        found.append(_relaxed(decode, start, iterations, lambda share, n=number: report((n + share) / len(starts))))
    report(1.0)
    with torch.no_grad():
        return min(found, key=lambda path: energy(decode(path)).item())
