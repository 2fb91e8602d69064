"""Which of many moments to keep: the first, the newest, and others that lie apart."""

from collections.abc import Sequence

NEWEST = 2


def superfluous(steps: Sequence[int], most: int) -> list[int]:
    """Those of the steps, which ascend, that may go so that `most` are left, 4 at least. The first and the last two
    stay; of the others each time the one goes that leaves the smallest gap.
    """
    kept, gone = list(steps), []
    while len(kept) > most:
        inner = range(1, len(kept) - NEWEST)
        index = min(inner, key=lambda k: kept[k + 1] - kept[k - 1])
        gone.append(kept.pop(index))
    return gone
