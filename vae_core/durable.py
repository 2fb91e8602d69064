"""Writing that a power cut, a full disk or a killed process cannot leave half done.

What appears under its own name is whole. The order is all: contents are on the disk before the name that shows them,
and what is new is there before what it replaces is removed. Every write of a run folder is one of the calls of `os` in
this module, so that a test can cut the power at each of them.
"""

import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DRAFT = ".draft"
STALE = 3600.0
"""Seconds after which nobody is still at work on a draft."""

TROUBLES = {
    errno.ENOSPC: "The disk is full. Free some space",
    errno.EDQUOT: "The disk quota is used up. Free some space",
    errno.EFBIG: "A file may not grow as large as it must. Raise the limit on the size of files",
    errno.EROFS: "The disk is read-only. Make it writable",
    errno.EACCES: "The folder of the runs may not be written. Give the user of the app that right",
    errno.EIO: "The disk reports errors. Check it, or put the folder of the runs on another",
}
LITTLE = 1_000_000
"""Bytes: with fewer, a disk is full."""


def explained(error: OSError) -> str:
    """What is wrong with the disk and what to do; for other errors what the system says."""
    trouble = TROUBLES.get(error.errno or 0)
    return f"{trouble}, then go on: everything up to the last checkpoint is kept." if trouble else str(error)


def complaint(folder: Path) -> str:
    """The sentence for a disk on which nothing can be written at present; empty for a good one."""
    disk = os.statvfs(folder)
    if disk.f_flag & os.ST_RDONLY:
        return explained(OSError(errno.EROFS, ""))
    full = disk.f_bavail * disk.f_frsize < LITTLE
    return explained(OSError(errno.ENOSPC, "")) if full else ""


def sync(path: Path) -> None:
    """Waits until a file's contents, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def write(path: Path, data: bytes) -> None:
    """A file under a name that nobody reads yet, not yet on the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        _write(descriptor, data)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: bytes, lasting: bool = True) -> None:
    """Replaces the file whole: a reader sees the old bytes or the new ones, never half.

    After a power cut too; and if `lasting`, the new ones once this has returned. No other process has the same draft.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}{DRAFT}")
    try:
        write(draft, data)
        sync(draft)
        os.replace(draft, path)
    except OSError:
        with suppress(OSError):
            os.unlink(draft)
        raise
    if lasting:
        sync(path.parent)


def append_line(path: Path, line: str, lasting: bool = False) -> None:
    """Adds a line, or nothing; half a line that an earlier process left at the end is dropped first."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        whole = _drop_half_a_line(descriptor)
        try:
            _write(descriptor, line.encode() + b"\n")
        except OSError:
            os.ftruncate(descriptor, whole)
            raise
        if lasting:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if lasting:
        sync(path.parent)


def _drop_half_a_line(descriptor: int) -> int:
    """Returns the size of what is left."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        size = os.pread(descriptor, size, 0).rfind(b"\n") + 1
        os.ftruncate(descriptor, size)
    return size


def make_folder(path: Path) -> None:
    """The folder and those above it, which last."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync(path.parent)


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """A folder under another name: it takes its own, for that of the folder which had it, once the block has ended and
    all that it holds is on the disk. If the block fails it is nothing."""
    draft = target.with_name(f".{target.name}{DRAFT}")
    shutil.rmtree(draft, ignore_errors=True)
    make_folder(target.parent)
    draft.mkdir()
    try:
        yield draft
        for folder, _, names in os.walk(draft):
            for name in names:
                sync(Path(folder, name))
            sync(Path(folder))
        if target.exists():
            vanish(target)
        draft.rename(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)  # on a full disk others need the room
        raise
    sync(target.parent)


def vanish(folder: Path) -> None:
    """Removes a folder, of which nobody sees a half meanwhile."""
    draft = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}{DRAFT}")
    folder.rename(draft)
    shutil.rmtree(draft)


def clear_drafts(folder: Path, older: float = STALE) -> None:
    """Removes what processes that died had begun to write, if it was begun that many seconds ago."""
    for path in folder.glob(f"*{DRAFT}"):
        with suppress(OSError):  # another process may have been quicker, or still be at it
            if time.time() - path.stat().st_mtime >= older:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
