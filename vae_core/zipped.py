"""Zip files of strangers: looked at before anything is unpacked, read with bounds, and never written by their names."""

import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from io import BufferedIOBase

MOST_BYTES = 200_000_000
MOST_UNPACKED = 500_000_000
MOST_ENTRIES = 500
LONGEST_NAME = 200
CHUNK = 1 << 20
END = struct.Struct("<4s4H2LH")
"""The end record of a zip file (APPNOTE 4.3.16): …, entries in all, bytes of their list, …"""
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, struct.error)
"""What Python's reader raises on damaged files."""


class Zipped:
    """The entries of a zip file, each with an innocent name, and small enough in all."""

    def __init__(self, file: BufferedIOBase) -> None:
        """Raises ValueError with a sentence on what is wrong."""
        _check_end(file)
        try:
            self._archive = zipfile.ZipFile(file)
        except (*BROKEN, ValueError) as error:
            raise ValueError(f"The zip file is damaged: {error}.") from error
        self._entries: dict[str, zipfile.ZipInfo] = {}
        for entry in self._archive.infolist():
            _check(entry)
            if entry.filename in self._entries:
                raise ValueError(f"The zip file has two entries called {entry.filename}; each name must be there once.")
            self._entries[entry.filename] = entry
        size = sum(entry.file_size for entry in self._entries.values())
        if size > MOST_UNPACKED:
            raise ValueError(
                f"Unpacked, the zip file would have {size / 1e6:,.0f} MB, but at most {MOST_UNPACKED / 1e6:.0f} MB are "
                "accepted."
            )

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def chunks(self, name: str, most: int) -> Iterator[bytes]:
        """The bytes of an entry, piece by piece; counted, whatever the zip says of its size. Raises ValueError."""
        refusal = ValueError(f"{name} is larger than the {most:,} bytes that are accepted of it.")
        if self._entries[name].file_size > most:
            raise refusal
        try:
            with self._archive.open(self._entries[name]) as stream:
                while chunk := stream.read(CHUNK):
                    most -= len(chunk)
                    if most < 0:
                        raise refusal
                    yield chunk
        except BROKEN as error:
            raise ValueError(f"{name} is damaged in the zip file: {error}.") from error

    def read(self, name: str, most: int) -> bytes:
        """The whole of a small entry. Raises ValueError."""
        return b"".join(self.chunks(name, most))


def _check_end(file: BufferedIOBase) -> None:
    """Bounds the list of entries before Python reads all of it into memory."""
    size = file.seek(0, 2)
    if size > MOST_BYTES:
        raise ValueError(f"The file has {size / 1e6:,.0f} MB, but at most {MOST_BYTES / 1e6:.0f} MB are accepted.")
    start = file.seek(max(0, size - END.size - 0xFFFF - 20))
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + END.size:
        raise ValueError("This is no zip file, or not the whole of one. Accepted is the zip that an exported run is.")
    _, _, _, _, entries, listing, _, _ = END.unpack_from(tail, at)
    if tail[max(0, at - 20) :][:4] == b"PK\6\7" or start + at > 0xFFFFFFFF:
        raise ValueError("The zip file is of the kind for more than 4 GB (zip64), which no exported run needs.")
    if entries > MOST_ENTRIES or listing > MOST_ENTRIES * (LONGEST_NAME + 200):
        raise ValueError(f"The zip file has {entries:,} entries, but at most {MOST_ENTRIES} are accepted.")


def _check(entry: zipfile.ZipInfo) -> None:
    name, kind = entry.orig_filename, stat.S_IFMT(entry.external_attr >> 16)
    shown = repr(name if len(name) < 100 else f"{name[:100]}…")
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise ValueError(
            f"The zip file has an entry called {shown}; a name has 1 to {LONGEST_NAME} visible characters."
        )
    if "\\" in name or name.startswith("/") or re.match("[A-Za-z]:", name) or ".." in name.split("/"):
        raise ValueError(f"The zip file has an entry called {shown}, which would lie outside its own folder.")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ValueError(f"The entry {shown} of the zip file is a link or a device; only files are accepted.")
    if entry.flag_bits & 0x1:
        raise ValueError(f"The entry {shown} of the zip file is encrypted; zip it without a password.")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"The entry {shown} of the zip file is packed in an unusual way; zip it with “deflate”.")
