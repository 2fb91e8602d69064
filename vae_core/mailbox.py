"""What the owner wants of a run: requests as small files of its folder, obeyed in the order in which they were made."""

import json
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vae_core import durable
from vae_core.steering import Settings

RequestKind = Literal["stop", "pause", "resume", "step", "pace", "change"]
LASTING: tuple[RequestKind, ...] = ("change",)
"""Requests that hold for a run even when no worker trains it; all others are about the moment."""

TICK = 100_000_000
"""Nanoseconds within which a file system may give two changes of a folder the same time."""


@dataclass(frozen=True)
class Request:
    """What the owner wants of a run: `settings` to change, or {"seconds": s} a step at least for a slower pace."""

    kind: RequestKind
    settings: Settings
    path: Path


@dataclass(frozen=True)
class Mailbox:
    """A folder of requests, which need not exist yet."""

    folder: Path

    def ask(self, kind: RequestKind, settings: Settings) -> None:
        durable.make_folder(self.folder)
        name = f"{time.time_ns():020d}-{secrets.token_hex(4)}.json"
        durable.write_atomically(self.folder / name, json.dumps({"kind": kind, "settings": settings}).encode())

    def pending(self) -> list[Request]:
        """What has been asked for and not been obeyed yet; unreadable requests are dropped."""
        found = []
        for path in sorted(self.folder.glob("[0-9]*.json")):
            try:
                asked: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
                found.append(Request(asked["kind"], dict(asked["settings"]), path))
            except (OSError, ValueError, KeyError, TypeError):
                path.unlink(missing_ok=True)
        return found

    def changed(self) -> int:
        """A number that differs from the last one if something was asked for in between: one look at the disk."""
        try:
            changed = os.stat(self.folder).st_mtime_ns
        except FileNotFoundError:
            return 0
        now = time.time_ns()
        return now if now - changed < TICK else changed  # a second change within a tick would leave no trace

    def forget(self) -> None:
        """Drops what was asked of a worker that is gone; changes of settings stay."""
        for request in self.pending():
            if request.kind not in LASTING:
                request.path.unlink(missing_ok=True)
