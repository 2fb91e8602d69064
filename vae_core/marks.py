"""What its owner wrote on a run: tags, a note, whether it is pinned and shared by its link.

It lies in `marks.json` of the run's folder, apart from what the worker writes there. What is pinned or
shared is never thrown away for its age.
"""

import json
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from vae_core.durable import write_atomically
from vae_core.runs import Run

FILE = "marks.json"
MOST_TAGS = 20
LONGEST_TAG = 40
LONGEST_NOTE = 2_000
LARGEST_FILE = 64_000
TAG_SIGNS = " -_+="
JOINERS = "\u200c\u200d"
"""Invisible, but scripts and emoji need them."""


@dataclass(frozen=True)
class Marks:
    tags: tuple[str, ...] = ()
    note: str = ""
    pinned: bool = False
    shared: bool = False


def marks(run: Run) -> Marks:
    """What is written on the run; nothing where the file is absent or broken."""
    try:
        with (run.folder / FILE).open("rb") as file:
            value = json.loads(file.read(LARGEST_FILE))
        return cleaned(Marks(tuple(value["tags"]), value["note"], value["pinned"] is True, value["shared"] is True))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return Marks()


def mark(run: Run, new: Marks) -> None:
    """Replaces all marks of the run at once. Raises ValueError for a tag or a note that cannot be."""
    write_atomically(run.folder / FILE, json.dumps(asdict(cleaned(new))).encode())


def cleaned(new: Marks) -> Marks:
    """The marks with tags and note tidied. Raises ValueError."""
    return Marks(clean_tags(new.tags), clean_note(new.note), new.pinned, new.shared)


def clean_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Each tag once, whatever its case, in the order given, with single spaces. Raises ValueError."""
    kept: dict[str, str] = {}
    for tag in map(clean_tag, tags):
        kept.setdefault(tag.casefold(), tag)
    if len(kept) > MOST_TAGS:
        raise ValueError(f"These are {len(kept)} tags, but a run takes at most {MOST_TAGS}.")
    return tuple(kept.values())


def clean_tag(text: str) -> str:
    """One tag with single spaces. Raises ValueError."""
    tag = unicodedata.normalize("NFC", text[: 4 * LONGEST_TAG]).strip(" ")
    if not tag or len(tag) > LONGEST_TAG or len(text) > 4 * LONGEST_TAG:
        length = len(text) if tag else "no"
        raise ValueError(f"A tag has {length} characters, but must have 1 to {LONGEST_TAG}.")
    # category M: accents and vowel signs that follow their letter
    wrong = next((s for s in tag if not (s.isalnum() or s in TAG_SIGNS or unicodedata.category(s)[0] == "M")), "")
    if wrong:
        raise ValueError(
            f"A tag contains {_named(wrong)}, but may only have letters, digits, spaces and the signs - _ + =."
        )
    return " ".join(tag.split())


def clean_note(text: str) -> str:
    """The note without blank ends; it may have lines. Raises ValueError."""
    if len(text) > LONGEST_NOTE:
        raise ValueError(f"The note has {len(text):,} characters, but may have at most {LONGEST_NOTE:,}.")
    note = text.replace("\r\n", "\n").strip()
    wrong = next((sign for sign in note if sign not in "\n" + JOINERS and unicodedata.category(sign) in _UNSEEN), "")
    if wrong:
        raise ValueError(f"The note contains {_named(wrong)}, but may only have visible characters and line breaks.")
    return note


_UNSEEN = ("Cc", "Cf", "Cs")


def _named(sign: str) -> str:
    return f"“{sign}”" if sign.isprintable() else f"the control character U+{ord(sign):04X}"
