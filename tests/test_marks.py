import json
import re

import pytest

from vae_core.config import Config, ModelConfig
from vae_core.marks import LONGEST_NOTE, LONGEST_TAG, MOST_TAGS, Marks, clean_note, clean_tag, clean_tags, mark, marks
from vae_core.runs import Run, create


@pytest.fixture
def run() -> Run:
    return create(Config(model=ModelConfig(widths=(8,))))


def test_a_run_has_no_marks_at_first(run: Run) -> None:
    assert marks(run) == Marks((), "", pinned=False, shared=False)


@pytest.mark.parametrize(
    "written",
    [Marks(("β = 2", "schöne Läufe"), "Two\nlines, “quoted”. 👩‍👩‍👧", pinned=True), Marks(shared=True), Marks()],
)
def test_what_is_written_is_read(run: Run, written: Marks) -> None:
    mark(run, Marks(("other",), "other", pinned=True, shared=True))
    mark(run, written)
    assert marks(run) == written
    assert sorted(path.name for path in run.folder.glob("*marks*")) == ["marks.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"tags": ["a"], "note": "", "pinned": true}',
        b'{"tags": 3, "note": "", "pinned": true, "shared": true}',
        b'{"tags": [3], "note": "", "pinned": true, "shared": true}',
        b'{"tags": ["a/b"], "note": "", "pinned": true, "shared": true}',
        b'{"tags": [], "note": null, "pinned": true, "shared": true}',
        b'{"tags": [], "note": "' + b"x" * 100_000 + b'", "pinned": true, "shared": true}',
    ],
)
def test_a_broken_file_marks_nothing(run: Run, content: bytes) -> None:
    (run.folder / "marks.json").write_bytes(content)
    assert marks(run) == Marks()


def test_only_true_shares(run: Run) -> None:
    (run.folder / "marks.json").write_text(json.dumps({"tags": [], "note": "", "pinned": 1, "shared": "false"}))
    assert marks(run) == Marks()


def test_tags_are_tidied() -> None:
    assert clean_tags([" good  one ", "Good one", "b", "GOOD ONE"]) == ("good one", "b")
    assert clean_tag("cafe\u0301") == "café"
    assert clean_tag("हिन्दी") == "हिन्दी"
    assert clean_tag("x" * LONGEST_TAG) == "x" * LONGEST_TAG


@pytest.mark.parametrize(
    ("tag", "sentence"),
    [
        ("", "A tag has no characters, but must have 1 to 40."),
        ("  ", "A tag has no characters, but must have 1 to 40."),
        ("x" * 41, "A tag has 41 characters, but must have 1 to 40."),
        ("x" * 10_000, "A tag has 10000 characters, but must have 1 to 40."),
        ("../../etc", "A tag contains “.”, but may only have letters, digits, spaces and the signs - _ + =."),
        ("a/b", "A tag contains “/”, but"),
        ("a\\b", "A tag contains “\\”, but"),
        (".", "A tag contains “.”, but"),
        ("a\0b", "A tag contains the control character U+0000, but"),
        ("a\nb", "A tag contains the control character U+000A, but"),
        ("a\u202eb", "A tag contains the control character U+202E, but"),
        ("<script>", "A tag contains “<”, but"),
    ],
)
def test_tags_that_cannot_be(run: Run, tag: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        clean_tag(tag)
    mark(run, Marks(("kept",)))
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        mark(run, Marks(("fine", tag)))
    assert marks(run) == Marks(("kept",))


def test_a_run_takes_so_many_tags() -> None:
    assert len(clean_tags([f"tag {i}" for i in range(MOST_TAGS)])) == MOST_TAGS
    with pytest.raises(ValueError, match="These are 21 tags, but a run takes at most 20"):
        clean_tags([f"tag {i}" for i in range(MOST_TAGS + 1)])


@pytest.mark.parametrize(
    ("note", "sentence"),
    [
        ("x" * (LONGEST_NOTE + 1), "The note has 2,001 characters, but may have at most 2,000."),
        ("x" * 10_000, "The note has 10,000 characters, but may have at most 2,000."),
        ("a\x1b[31mb", "The note contains the control character U+001B, but may only have visible characters and"),
        ("a\u202eb", "The note contains the control character U+202E, but"),
        ("a\ud800b", "The note contains the control character U+D800, but"),
    ],
)
def test_notes_that_cannot_be(note: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        clean_note(note)


def test_notes_are_tidied() -> None:
    assert clean_note(" a/b .. \r\n c \n") == "a/b .. \n c"
