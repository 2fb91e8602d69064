"""Long curves with fewer points that look the same: largest triangle, three buckets (Steinarsson 2013, section 4.2)."""

import numpy as np
from jaxtyping import Float

MOST = 400
"""Points of a curve that are drawn: a chart has hardly more pixels across, and any number of curves may lie on it."""


def thinned(x: Float[np.ndarray, "N"], y: Float[np.ndarray, "N"], most: int = MOST) -> np.ndarray:
    """The numbers, in order, of at most `most` points (3 or more): the ends, and from each of as many equal buckets
    between them the point that makes the largest triangle with the one kept before and the mean of the next bucket."""
    count = len(x)
    if count <= most:
        return np.arange(count)
    edges = np.linspace(1, count - 1, most - 1).astype(int)
    kept = [0]
    for begin, end, following in zip(edges[:-1], edges[1:], [*edges[2:], count], strict=True):
        before = kept[-1]
        next_x, next_y = x[end:following].mean(), y[end:following].mean()
        doubled = (x[before] - next_x) * (y[begin:end] - y[before]) - (x[before] - x[begin:end]) * (next_y - y[before])
        kept.append(begin + int(np.abs(doubled).argmax()))
    return np.array([*kept, count - 1])
