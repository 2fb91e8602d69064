"""Noise from a passed generator, which the processes that train one model may share."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class SharedGenerator(torch.Generator):
    """The generator of one of `size` processes that train one model together.

    `drawn` draws from it for the joint batch, in every process, and keeps the process's own rows. So the noise is that
    of a single process, example by example, and the generators stay in one state, also that of the single one.
    """

    rank: int
    size: int

    @staticmethod
    def of(generator: torch.Generator, rank: int, size: int) -> "SharedGenerator":
        """One in the state of another generator."""
        shared = SharedGenerator(generator.device)
        shared.set_state(generator.get_state())
        shared.rank, shared.size = rank, size
        return shared

    def clone_state(self) -> "SharedGenerator":
        return SharedGenerator.of(self, self.rank, self.size)


def drawn(shape: Sequence[int], generator: torch.Generator, draw: Callable[[Sequence[int]], Tensor]) -> Tensor:
    """`draw(shape)`, where examples lie along the last axis but one, or along the only one. From a shared generator it
    is the process's own rows of what is drawn for the joint batch."""
    if not isinstance(generator, SharedGenerator):
        return draw(shape)
    axis = max(len(shape) - 2, 0)
    joint = [*shape[:axis], shape[axis] * generator.size, *shape[axis + 1 :]]
    return draw(joint).narrow(axis, generator.rank * shape[axis], shape[axis])
