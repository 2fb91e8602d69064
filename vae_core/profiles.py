"""Two data sets that are not images: a table of measurements and a set of one-dimensional signals, in their own units.

Both are at hand without a download. What their values become for a model is the business of `datasets`.
"""

import numpy as np

MEASURES = (
    "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave points", "symmetry",
    "fractal dimension",
)  # fmt: skip
CELL_FEATURES = (
    *(f"mean {name}" for name in MEASURES),
    *(f"{name} error" for name in MEASURES),
    *(f"worst {name}" for name in MEASURES),
)
CELL_LOW = (
    6.981, 10.38, 43.79, 143.5, 0.05263, 0.01938, 0.0, 0.0, 0.106, 0.04996,
    0.1144, 0.3621, 0.757, 7.254, 0.001713, 0.002252, 0.0, 0.0, 0.007882, 0.0008948,
    7.93, 14.1, 50.41, 185.2, 0.07117, 0.02729, 0.0, 0.0, 0.1565, 0.05504,
)  # fmt: skip
CELL_HIGH = (
    28.11, 39.28, 188.5, 2499.0, 0.1634, 0.3454, 0.4268, 0.2012, 0.304, 0.09744,
    2.873, 4.885, 21.98, 525.6, 0.03113, 0.1354, 0.1438, 0.03927, 0.07895, 0.02286,
    33.13, 49.54, 229.3, 3234.0, 0.2226, 1.058, 1.17, 0.291, 0.6638, 0.2075,
)  # fmt: skip
"""Least and largest value of each feature in the training part."""

SIGNALS, TIMES = 2_000, 64
SIGNAL_LOW, SIGNAL_HIGH = (-4.0,) * TIMES, (12.0,) * TIMES
"""Four standard deviations of the noise below 0, and as much above a height of 8."""


def cells() -> tuple[np.ndarray, np.ndarray]:
    """Features [569, 30] of cell nuclei, in the units of the table, and the class of each: 0 malignant, 1 benign."""
    from sklearn.datasets import load_breast_cancer

    values, labels = load_breast_cancer(return_X_y=True)
    return np.asarray(values), np.asarray(labels)


def signals() -> tuple[np.ndarray, np.ndarray]:
    """Noisy signals [2000, 64] and the class of each: 0 cylinder, 1 bell, 2 funnel, one after the other.

    (6 + η) s(t) + ε(t) at t = 1 … 64, with η and every ε(t) from N(0, 1), and s = 0 outside [a, b]. Inside it a
    cylinder has s = 1, a bell (t − a) / (b − a) and a funnel (b − t) / (b − a). The ends are whole numbers: a from
    8 … 16 and b − a from 16 … 48, each equally likely (Saito 1994, at half his length of 128).
    """
    draw = np.random.RandomState(0)  # the one stream that NumPy promises never to change
    kinds = np.arange(SIGNALS) % 3
    start, length = draw.randint(8, 17, SIGNALS)[:, None], draw.randint(16, 49, SIGNALS)[:, None]
    height, noise = 6 + draw.standard_normal(SIGNALS)[:, None], draw.standard_normal((SIGNALS, TIMES))
    rising = (np.arange(1, TIMES + 1) - start) / length
    shapes = np.choose(kinds[:, None], [np.ones_like(rising), rising, 1 - rising])
    return height * shapes * ((rising >= 0) & (rising <= 1)) + noise, kinds
