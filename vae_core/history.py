"""The reports of a run as its diagnosis reads them, the notes that it makes, and how numbers are written in those."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from statistics import median

from vae_core.config import Config
from vae_core.runs import Row

LOOKS = 3
"""Reports, or looks at the held-out data, of which fewer say nothing."""
START = 0.5
"""Epochs that are the start of a run."""
PATIENCE, SHARE = 20.0, 0.1
"""After so many epochs, or that share of the run if it is less, what has not happened is news."""


@dataclass(frozen=True)
class Note:
    """One thing that the curves show. `title` may change with what is found, never with its numbers; `serious` asks for
    something to be done; `since_epoch` is when it began, where that can be told."""

    kind: str
    title: str
    text: str
    since_epoch: float | None = None
    serious: bool = False


@dataclass(frozen=True)
class History:
    """All reports of a run, and its recipe as it is now."""

    rows: list[Row]
    config: Config

    @cached_property
    def looks(self) -> list[Row]:
        """The reports with held-out numbers."""
        return [row for row in self.rows if "held_out_elbo" in row]

    @property
    def epoch(self) -> float:
        return self.rows[-1]["epoch"]

    @property
    def warming(self) -> bool:
        return self.epoch < self.config.objective.warmup_epochs

    @property
    def patience(self) -> float:
        """In epochs."""
        return min(PATIENCE, SHARE * self.config.schedule.epochs)

    @cached_property
    def steady(self) -> list[Row]:
        """The newest reports, under one objective."""
        beta = self.rows[-1]["beta"]
        for index in range(len(self.rows) - 1, -1, -1):
            if self.rows[index]["beta"] != beta:
                return self.rows[index + 1 :]
            if "changed" in self.rows[index]:
                return self.rows[index:]
        return self.rows

    def train_elbo(self, report: Row) -> float:
        """At about that report: the median of the five until then, or of as many as there are."""
        until = bisect_right(self.rows, report["step"], key=itemgetter("step"))
        return median(row["train_elbo"] for row in self.rows[max(0, until - 5) : until])


Rule = Callable[[History], Note | None]


def since(row: Row) -> str:
    """Since when, as exactly as it matters."""
    epoch = row["epoch"]
    if epoch < START:
        return "since the start"
    return f"since epoch {epoch:.0f}" if epoch >= 10 else f"since epoch {round(epoch, 1):g}"


def sentence(text: str) -> str:
    """With a capital letter."""
    return text[:1].upper() + text[1:]


def nats(value: float) -> str:
    """A number of nats that is not negative, to about three digits."""
    return f"{value:.2f} nats" if value < 10 else f"{value:.1f} nats" if value < 100 else f"{value:,.0f} nats"


def listed(things: list[str]) -> str:
    """a, b or c."""
    return " or ".join(filter(None, [", ".join(things[:-1]), things[-1]]))
