import io
import random
import re
import stat
import struct
import time
import tracemalloc
import zipfile
import zlib
from contextlib import suppress

import pytest

from vae_core import zipped
from vae_core.zipped import MOST_ENTRIES, Zipped


def zip_of(entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as out:
        for name, data in entries.items():
            out.writestr(name, data)
    return file


def entry(name: str, **attributes: int) -> io.BytesIO:
    """A zip of one entry, which the writer has not tidied."""
    file, info = io.BytesIO(), zipfile.ZipInfo("placeholder")
    for key, value in attributes.items():
        setattr(info, key, value)
    info.filename = name
    with zipfile.ZipFile(file, "w") as out:
        out.writestr(info, b"x")
    return file


def refused(file: io.BytesIO, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        Zipped(file)


def test_what_was_zipped_is_read() -> None:
    archive = Zipped(zip_of({"a.txt": b"one", "folder/b": b"two" * 1_000_000}))
    assert list(archive) == ["a.txt", "folder/b"]
    assert "a.txt" in archive
    assert "b" not in archive
    assert archive.read("a.txt", 3) == b"one"
    assert archive.read("folder/b", 10**7) == b"two" * 1_000_000


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_entry_may_have_so_many_bytes(compression: int) -> None:
    archive = Zipped(zip_of({"a": b"12345"}, compression))
    assert archive.read("a", 5) == b"12345"
    with pytest.raises(ValueError, match=r"^a is larger than the 4 bytes that are accepted of it"):
        archive.read("a", 4)


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\3\4" + bytes(100), b"PK\5\6" + bytes(5), bytes(100_000)])
def test_what_is_no_zip(data: bytes) -> None:
    refused(io.BytesIO(data), "This is no zip file, or not the whole of one.")


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../x", "..", "/etc/passwd", "a\\b", "..\\x", "C:/x", "c:x"],
)
def test_paths_that_lead_outside(name: str) -> None:
    refused(entry(name), f"The zip file has an entry called {name!r}, which would lie outside its own folder.")


@pytest.mark.parametrize("name", ["a\0b", "a\nb", "a\x1b[31m", "\u202egnp.exe", "x" * 201])
def test_names_that_cannot_be(name: str) -> None:
    shown = repr(name if len(name) < 100 else f"{name[:100]}…")
    refused(entry(name), f"The zip file has an entry called {shown}; a name has 1 to 200 visible characters.")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices(kind: int) -> None:
    file = entry("config.json", external_attr=(kind | 0o644) << 16)
    refused(file, "The entry 'config.json' of the zip file is a link or a device; only files are accepted.")


def test_duplicates() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        out.writestr("config.json", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            out.writestr("config.json", b"2")
    refused(file, "The zip file has two entries called config.json; each name must be there once.")


def test_encryption() -> None:
    data = bytearray(zip_of({"a": b"x"}).getvalue())
    listed = data.index(b"PK\1\2")
    data[listed + 8] |= 1
    refused(io.BytesIO(data), "The entry 'a' of the zip file is encrypted; zip it without a password.")


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_packing(compression: int) -> None:
    refused(zip_of({"a": b"x"}, compression), "The entry 'a' of the zip file is packed in an unusual way;")


def test_too_many_entries() -> None:
    assert len(list(Zipped(zip_of({str(i): b"" for i in range(MOST_ENTRIES)})))) == MOST_ENTRIES
    file = zip_of({str(i): b"" for i in range(MOST_ENTRIES + 1)})
    refused(file, "The zip file has 501 entries, but at most 500 are accepted.")


def test_a_list_of_entries_that_is_large_or_lies_is_not_read() -> None:
    """The number of entries says one, their list has a hundred megabytes."""
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 100_000_000, 0, 0)
    file = io.BytesIO(bytes(100_000_000) + end)
    tracemalloc.start()
    refused(file, "The zip file has 1 entries, but at most 500 are accepted.")
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_zip64() -> None:
    data = zip_of({"a": b"x"}).getvalue()
    end = data.index(b"PK\5\6")
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1)
    refused(io.BytesIO(data[:end] + locator + data[end:]), "The zip file is of the kind for more than 4 GB (zip64)")


def test_a_file_that_is_too_large_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipped, "MOST_BYTES", 1_000_000)
    refused(io.BytesIO(bytes(2_000_001)), "The file has 2 MB, but at most 1 MB are accepted.")


def zeros(megabytes: int, said: int) -> bytearray:
    """A zip with an entry of so many megabytes of zeros, which calls itself `said` bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    data = bytearray(zip_of({"zeros": block * megabytes + packer.flush()}, zipfile.ZIP_STORED).getvalue())
    for header, method, size in ((0, 8, 22), (data.index(b"PK\1\2"), 10, 24)):
        struct.pack_into("<H", data, header + method, zipfile.ZIP_DEFLATED)
        struct.pack_into("<L", data, header + size, said)
    return data


def test_many_zeros_are_refused_at_once() -> None:
    """Ten gigabytes in ten megabytes: as a zip of old says it, and as zip64 does."""
    data = zeros(10_000, said=0xFFFFFFFE)
    begin = time.monotonic()
    refused(io.BytesIO(data), "Unpacked, the zip file would have 4,295 MB, but at most 500 MB are accepted.")
    listed = data.index(b"PK\1\2")
    extra = struct.pack("<HHQ", 1, 8, 10**10)
    struct.pack_into("<L", data, listed + 24, 0xFFFFFFFF)
    struct.pack_into("<H", data, listed + 30, len(extra))
    data[listed + 46 + len("zeros") : listed + 46 + len("zeros")] = extra
    struct.pack_into("<L", data, len(data) - 10, 46 + len("zeros") + len(extra))
    refused(io.BytesIO(data), "Unpacked, the zip file would have 10,000 MB, but at most 500 MB are accepted.")
    assert time.monotonic() - begin < 1


@pytest.mark.parametrize("said", [10, 5_000_000])
def test_zeros_that_the_zip_does_not_speak_of_are_not_unpacked(said: int) -> None:
    """Ten gigabytes that call themselves less: neither is that much read, nor held."""
    archive = Zipped(io.BytesIO(zeros(10_000, said)))
    tracemalloc.start()
    begin = time.monotonic()
    with pytest.raises(ValueError, match=r"^zeros is damaged in the zip file"):
        archive.read("zeros", 10_000_000)
    assert time.monotonic() - begin < 1
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_any_damage_is_told() -> None:
    """Bytes turned at random: what is read is right, or refused with a sentence."""
    whole = zip_of({"config.json": b"{}" * 500, "model": random.Random(0).randbytes(2_000)}).getvalue()
    chance = random.Random(1)
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 1, 4, 30))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        with suppress(ValueError):
            archive = Zipped(io.BytesIO(data))
            for name in archive:
                assert len(archive.read(name, 5_000)) <= 5_000
