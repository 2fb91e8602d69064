"""What many measured values come to: percentiles, and whether they stay within a target. Loads no torch."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, 95th percentile and largest, in the values' own unit."""
    median, high = np.percentile(values, [50, 95]).tolist()
    return {"n": len(values), "p50": median, "p95": high, "max": max(values)}


def within(values: Sequence[float], most: float) -> dict[str, Any]:
    """The spread, and whether its 95th percentile is at most `most`."""
    found = spread(values)
    return {**found, "target_p95": most, "met": found["p95"] <= most}
