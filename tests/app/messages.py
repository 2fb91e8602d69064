"""Messages of planes taken apart, and models to make them of."""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ui.address import Address
from ui.payload import plane_message
from ui.planes import view_of
from ui.resources import Explored, explored, locate
from vae_core import runs
from vae_core.config import Config, ModelConfig, ObjectiveConfig
from vae_core.planes import Plane
from vae_core.runs import Run
from vae_core.training import new_model


@dataclass(frozen=True)
class Message:
    """A message taken apart: its header, and its blobs as bytes."""

    header: dict[str, Any]
    blobs: dict[str, np.ndarray]

    @property
    def points(self) -> np.ndarray:
        return self.blobs["points"].view("<i2").reshape(-1, 2) * self.header["quantum"]

    def grid(self, name: str, side: int) -> np.ndarray:
        """Examples in rows and columns."""
        return self.blobs[name].reshape(side, side, -1)


def unpacked(message: bytes) -> Message:
    (length,) = struct.unpack_from("<I", message)
    header, start, blobs = json.loads(message[4 : 4 + length]), 4 + length, {}
    assert start % 4 == 0
    for entry in header["blobs"]:
        blobs[entry["name"]] = np.frombuffer(message, np.uint8, entry["length"], start)
        start += entry["length"]
    assert start == len(message)
    return Message(header, blobs)


def opened(name: str) -> tuple[Path, Explored]:
    folder = locate(name)
    assert folder is not None
    return folder, explored(folder)


def message_of(folder: Path, **parts: Any) -> tuple[Explored, Plane, Message]:
    thing = explored(folder)
    drawn = view_of(folder, Address(folder.name, **parts))
    assert drawn.plane is not None
    return thing, drawn.plane, unpacked(plane_message(thing, drawn))


def run_of(**settings: Any) -> Run:
    """A run of the small digits with fresh weights, as if it had just begun."""
    model = ModelConfig(**{"widths": (8,), **settings})
    config = Config(model=model, objective=ObjectiveConfig(estimator="pathwise"), device="cpu")
    run, state = runs.create(config), new_model(config).state_dict()
    run.write_checkpoint(1, {name: 3 * weight for name, weight in state.items()}, {})
    return run
