import errno
import os
from pathlib import Path

import pytest

from vae_core import durable
from vae_core.durable import append_line, clear_drafts, explained


def test_half_a_line_is_dropped_before_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\nhal")
    append_line(path, "two", lasting=True)
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_line_that_finds_no_room_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, write = tmp_path / "lines", os.write
    append_line(path, "one")

    def full(descriptor: int, data: bytes) -> int:
        if len(data) < 4:
            raise OSError(errno.ENOSPC, "full")
        return write(descriptor, data[:3])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="full"):
        append_line(path, "three")
    monkeypatch.undo()
    assert path.read_bytes() == b"one\n"
    append_line(path, "two")
    assert path.read_bytes() == b"one\ntwo\n"


def test_drafts_of_the_dead_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".old.draft").mkdir()
    (tmp_path / ".old.draft" / "file").write_text("half")
    (tmp_path / ".new.draft").write_text("half")
    os.utime(tmp_path / ".old.draft", (0, 0))
    clear_drafts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".new.draft"]
    clear_drafts(tmp_path, older=0.0)
    assert list(tmp_path.iterdir()) == []


def test_troubles_of_the_disk_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert explained(OSError(errno.ENOSPC, "x")).startswith("The disk is full. Free some space, then go on")
    assert explained(OSError(errno.ENOENT, "x")) == "[Errno 2] x"
    assert durable.complaint(tmp_path) == ""
    monkeypatch.setattr(durable, "LITTLE", 2**62)
    assert durable.complaint(tmp_path).startswith("The disk is full.")
