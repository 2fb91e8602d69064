"""What many measured values come to: percentiles, and whether they stay within a target. Loads no torch."""

import statistics
from collections.abc import Sequence
from typing import Any


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, 95th percentile and largest of two values or more, in their own unit."""
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"n": len(values), "p50": cuts[49], "p95": cuts[94], "max": max(values)}


def within(values: Sequence[float], most: float) -> dict[str, Any]:
    """The spread, and whether its 95th percentile is at most `most`."""
    found = spread(values)
    return {**found, "target_p95": most, "met": found["p95"] <= most}
