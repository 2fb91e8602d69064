"""A disk that fails at a chosen write: it loses power, is full, or can only be read.

In one process alone: it takes the place of the functions of `os` that write. What the process wrote and did not sync is
lost with the power in part, names too, as POSIX allows: only what `fsync` was called for, the file for its contents and
its folder for its name, must be there afterwards.
"""

import errno
import os
import random
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["none", "power", "full", "once full", "read-only"]
ERRORS = {"full": errno.ENOSPC, "once full": errno.ENOSPC, "read-only": errno.EROFS}
REPLACED = ("open", "write", "fsync", "ftruncate", "rename", "replace", "unlink", "mkdir", "rmdir")
NEEDS_ROOM = ("open", "write", "fsync", "mkdir")
POWER_CUT = 99

Undo = Callable[[], object]


@dataclass(frozen=True)
class Fault:
    """What fails at the call of that number, and a seed for what happens by chance."""

    kind: Kind = "none"
    at: int = 0
    seed: int = 0


class FailingDisk:
    """Counts the calls that write; `spare` is a folder of the same disk for what may have to come back."""

    def __init__(self, fault: Fault, spare: str) -> None:
        self.fault, self.spare, self.chance = fault, spare, random.Random(fault.seed)
        self.calls, self.struck = 0, False
        self.names: list[tuple[str, Undo]] = []
        self.contents: dict[tuple[int, int], tuple[int, int]] = {}
        self.real: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in REPLACED}

    def install(self) -> None:
        for name in REPLACED:
            setattr(os, name, getattr(self, name))

    def _strikes(self, name: str) -> bool:
        """Whether the power goes at this call; raises the disk's other errors."""
        self.calls += 1
        now, kind = self.calls == self.fault.at, self.fault.kind
        if now and kind == "full" and name not in NEEDS_ROOM:
            self.struck = True  # from the next call on that needs room
            return False
        failing = now or (self.struck and kind != "once full" and (kind == "read-only" or self.chance.random() < 0.8))
        if failing and kind in ERRORS and (kind == "read-only" or name in NEEDS_ROOM or now):
            self.struck = True
            raise OSError(ERRORS[kind], os.strerror(ERRORS[kind]))
        return now and kind == "power"

    def _do(self, call: str, name: str, undo: Undo | None, *given: Any, **named: Any) -> Any:
        """The call, with the power going before or after it; `undo` takes back what it did to the name."""
        cut = self._strikes(call)
        if cut and self.chance.random() < 0.5:
            self._cut()
        result = self.real[call](*given, **named)
        if undo:
            self.names.append((os.path.dirname(name), undo))
        if cut:
            self._cut()
        return result

    def _cut(self) -> None:
        """Undoes some of the last names and shortens what was appended; then there is no process any more."""
        for name, function in self.real.items():
            setattr(os, name, function)
        kept = self.chance.randint(0, len(self.names))
        for _, undo in reversed(self.names[kept:]):
            with suppress(FileNotFoundError):  # in a folder that is gone
                undo()
        for descriptor, length in self.contents.values():
            os.ftruncate(descriptor, self.chance.randint(length, max(length, os.fstat(descriptor).st_size)))
        os._exit(POWER_CUT)

    def _saved(self, path: str) -> str:
        """Another name for a file that is about to lose its own."""
        name = os.path.join(self.spare, f"{os.getpid()}-{self.calls}")
        os.link(path, name)
        return name

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        name = _placed(path, dir_fd)
        if not flags & os.O_CREAT or os.path.exists(name):
            return self.real["open"](path, flags, mode, dir_fd=dir_fd)
        return self._do("open", name, lambda: os.unlink(name), path, flags, mode, dir_fd=dir_fd)

    def write(self, descriptor: int, data: Any) -> int:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return self.real["write"](descriptor, data)
        key = (found.st_dev, found.st_ino)
        if key not in self.contents:
            self.contents[key] = (os.dup(descriptor), found.st_size)
        begun = self.chance.randrange(len(data))
        try:
            cut = self._strikes("write")
        except OSError:
            if not begun:
                raise
            return self.real["write"](descriptor, data[:begun])  # as much as there was room for; the next call fails
        if cut:
            self.real["write"](descriptor, data[:begun])
            self._cut()
        return self.real["write"](descriptor, data)

    def fsync(self, descriptor: int) -> None:
        """Costs nothing here: what counts is who called it."""
        cut = self._strikes("fsync")
        if cut and self.chance.random() < 0.5:
            self._cut()
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            folder = os.readlink(f"/proc/self/fd/{descriptor}")
            self.names = [(place, undo) for place, undo in self.names if place != folder]
        else:
            kept, _ = self.contents.pop((found.st_dev, found.st_ino), (None, 0))
            if kept is not None:
                os.close(kept)
        if cut:
            self._cut()

    def ftruncate(self, descriptor: int, length: int) -> None:
        self._do("ftruncate", "", None, descriptor, length)

    def rename(self, source: Any, target: Any) -> None:
        old, new = _placed(source), _placed(target)
        saved = self._saved(new) if os.path.isfile(new) else None

        def undo() -> None:
            if saved is None:
                os.rename(new, old)
            else:
                os.link(new, old)
                os.rename(saved, new)  # without a moment at which nothing has this name

        self._do("rename", new, undo, source, target)

    replace = rename

    def unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        name = _placed(path, dir_fd)
        saved = self._saved(name)
        self._do("unlink", name, lambda: os.rename(saved, name), path, dir_fd=dir_fd)

    def mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        name = _placed(path, dir_fd)
        self._do("mkdir", name, lambda: shutil.rmtree(name), path, mode, dir_fd=dir_fd)

    def rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        name = _placed(path, dir_fd)
        self._do("rmdir", name, lambda: os.mkdir(name), path, dir_fd=dir_fd)


def _placed(path: Any, dir_fd: int | None = None) -> str:
    """The whole name of what a call is about."""
    return os.path.abspath(path if dir_fd is None else os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), path))
