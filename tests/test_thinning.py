"""Which moments are kept when there are too many."""

import itertools
import random

from vae_core.thinning import superfluous

MOST = 8


def grown(steps: list[int]) -> list[int]:
    """What is left when they come one by one, as checkpoints do."""
    kept: list[int] = []
    for step in steps:
        kept.append(step)
        gone = superfluous(kept, MOST)
        assert len(gone) == max(0, len(kept) - MOST)
        kept = [old for old in kept if old not in gone]
    return kept


def test_few_are_all_kept() -> None:
    for count in range(MOST + 1):
        assert superfluous(range(count), MOST) == []


def test_of_many_the_first_the_newest_two_and_a_spread_are_left() -> None:
    for count in range(MOST + 1, 300, 29):
        kept = grown(list(range(0, 10 * count, 10)))
        assert len(kept) == MOST
        assert kept[0] == 0
        assert kept[-2:] == [10 * (count - 2), 10 * (count - 1)]
        gaps = [later - earlier for earlier, later in itertools.pairwise(kept)]
        assert max(gaps) <= 4 * 10 * count / MOST  # evenly, it would be 10 count / (MOST - 1)


def test_neither_uneven_steps_nor_a_great_many_at_once_lose_the_ends() -> None:
    draw = random.Random(2)
    for _ in range(20):
        steps = sorted(draw.sample(range(10_000), draw.randint(MOST + 1, 60)))
        for kept in (grown(steps), [step for step in steps if step not in superfluous(steps, MOST)]):
            assert len(kept) == MOST
            assert (kept[0], kept[-2:]) == (steps[0], steps[-2:])
