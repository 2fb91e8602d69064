"""What a run's reports say, in words: does it learn, collapse, overfit or diverge, and what is its ELBO worth?

Pure: reports and a recipe in, notes out.
"""

from collections.abc import Sequence

from vae_core.config import Config
from vae_core.history import History, Note, Rule
from vae_core.readings import binary, changed, comparable, cycle_end, gap, rising, settled, warming_up
from vae_core.runs import Row
from vae_core.troubles import collapsed, diverging, overfitting, sharpening

RULES: tuple[Rule, ...] = (
    diverging, overfitting, collapsed, sharpening, warming_up, rising, settled, cycle_end, gap, changed, binary,
    comparable,
)  # fmt: skip
"""The most important first."""
WHILE_DIVERGING: tuple[Rule, ...] = (diverging, changed, comparable)
"""What can still be said while steps are too large."""
RECENT = 3
"""Looks that have a vote: notes on the verge do not come and go."""


def diagnose(rows: Sequence[Row], config: Config) -> list[Note]:
    """What the reports of a run show, the most important first; nothing before the first look at held-out data.

    `config` is the recipe as it is now, with every change so far.
    """
    looks = [index for index, row in enumerate(rows) if "held_out_elbo" in row]
    moments = [History(list(rows[: index + 1]), config) for index in looks[: -RECENT - 1 : -1]]
    rules = WHILE_DIVERGING if moments and diverging(moments[0]) else RULES
    return [note for rule in rules for note in _agreed(rule, moments)]


def _agreed(rule: Rule, moments: Sequence[History]) -> list[Note]:
    """The newest of what a rule found, if that was at half of them at least."""
    found = list(filter(None, map(rule, moments)))
    return found[:1] if 2 * len(found) >= len(moments) else []
