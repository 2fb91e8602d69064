"""Processes that train one model together: each takes its share of every batch, and they average their gradients.

The first of them leads: what its trainer is asked to do it tells the others, whose trainers do the same. Only it has a
run folder, and somebody to obey. `parallel` assembles a team.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
import torch.distributed as dist
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vae_core.noise import SharedGenerator

Word = Literal["begin", "steer", "restore", "advance", "wait", "end"]
WORDS: tuple[Word, ...] = get_args(Word)
PIECES = 2
"""Pieces of data that may go with a word."""

Data = str | dict[str, Tensor]


class Computation(nn.Module):
    """Any function of a model, as the forward pass of a module: that is what DistributedDataParallel watches."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, compute: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        return compute(self.model, *arguments, **named)


@dataclass(frozen=True)
class Team:
    """The process of number `rank` among `size`, of number `place` on its machine; by itself, unless it `joined` the
    others' process group."""

    rank: int = 0
    size: int = 1
    place: int = 0
    joined: bool = False

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share(self, batch_size: int) -> int:
        """Examples of a batch that each process takes. Raises ValueError if they cannot all take the same number."""
        if batch_size % self.size:
            raise ValueError(
                f"Batch size is {batch_size}, but {self.size} processes train together and each takes the same share; "
                f"choose a multiple of {self.size}, such as {max(1, round(batch_size / self.size)) * self.size}."
            )
        return batch_size // self.size

    def device(self, wanted: str) -> str:
        """The device of a recipe for this process: of several GPUs, that of its number. Raises ValueError for a device
        that all would have to share."""
        if not self.joined or wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
            return wanted
        if wanted not in ("auto", "cuda"):
            raise ValueError(
                f"Device is {wanted!r}, but each process that torchrun starts takes a GPU of its own; "
                "choose 'cuda', or 'auto' for CUDA where there is one."
            )
        return f"cuda:{self.place}"

    def own(self, batch: Tensor) -> Tensor:
        """The process's own rows of a joint batch."""
        return batch.chunk(self.size)[self.rank] if self.joined else batch

    def shared(self, generator: torch.Generator) -> torch.Generator:
        """A generator in the same state, which draws for the joint batch and keeps the own rows."""
        return SharedGenerator.of(generator, self.rank, self.size) if self.joined else generator

    def averaging(self, model: nn.Module) -> Callable[..., Any]:
        """`compute, ... -> compute(model, ...)`, such that the gradients that a backward pass from it leaves in the
        parameters are the mean over the processes: with equal shares, those of the joint batch's mean."""
        computation = Computation(model)
        if not self.joined:
            return computation
        return DistributedDataParallel(computation, forward_sync_buffers=False, gradient_as_bucket_view=True)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the processes."""
        if self.joined:
            dist.all_reduce(values)
            values /= self.size
        return values

    def tell(self, word: Word, *data: Data) -> None:
        """What the others are to do: they `hear` it, if this process leads them."""
        if not (self.joined and self.leads):
            return
        pieces = [piece.encode() if isinstance(piece, str) else save(piece) for piece in data]
        lengths = [len(piece) for piece in pieces] + [0] * (PIECES - len(pieces))
        dist.broadcast(torch.tensor([WORDS.index(word), *lengths]), 0)
        for piece in filter(None, pieces):
            dist.broadcast(torch.frombuffer(bytearray(piece), dtype=torch.uint8), 0)

    def hear(self) -> tuple[Word, list[bytes]]:
        """Waits for what the leader tells."""
        head = torch.empty(1 + PIECES, dtype=torch.int64)
        dist.broadcast(head, 0)
        word, *lengths = head.tolist()
        pieces = [torch.empty(length, dtype=torch.uint8) for length in lengths]
        for piece in filter(len, pieces):
            dist.broadcast(piece, 0)
        return WORDS[word], [piece.numpy().tobytes() for piece in pieces]

    def explained(self, error: Exception) -> str:
        """What ended the training, as a sentence: libraries of communication say little."""
        lost = isinstance(error, dist.DistError) or any(name in str(error).lower() for name in ("gloo", "nccl"))
        if not (self.joined and lost):
            return str(error)
        return (
            f"Another of the {self.size} processes that train this run together is gone; go on from the last "
            "checkpoint with --resume."
        )


ALONE = Team()
