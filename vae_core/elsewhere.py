"""Runs in the hands of a cluster: one small file each, beside the runs. Both sides know nothing else of each other.

The app puts the file there; the foreman (`vae_core.foreman`) removes it when the run has ended, the app if nobody can
train it. What is in it says, in a sentence, what the run waits for.
"""

from contextlib import suppress
from pathlib import Path

FOLDER = ".ray"
FOREMAN = ".foreman"
PLACES = ".places"


def _entry(run: Path) -> Path:
    return run.parent / FOLDER / run.name


def hand_over(run: Path, sentence: str) -> None:
    """From now on the cluster may train the run in this folder, which waits for what the sentence says."""
    _entry(run).parent.mkdir(exist_ok=True)
    _entry(run).write_text(sentence, encoding="utf-8")


def take_back(run: Path) -> None:
    """The cluster is not to train it any more."""
    _entry(run).unlink(missing_ok=True)


def handed_over(run: Path) -> bool:
    return _entry(run).is_file()


def waits_for(run: Path) -> str:
    """The sentence; empty for a run that is not in the cluster's hands."""
    try:
        return _entry(run).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def names(root: Path) -> list[str]:
    """Of all runs in the cluster's hands, the oldest first."""
    return sorted(entry.name for entry in (root / FOLDER).glob("[!.]*"))


def foreman_lock(root: Path) -> Path:
    """The file whose lock the foreman holds for as long as it lives."""
    return root / FOLDER / FOREMAN


def write_places(root: Path, places: int) -> None:
    (root / FOLDER / PLACES).write_text(str(places), encoding="utf-8")


def places(root: Path) -> int:
    """How many runs the cluster can train at once; 1 as long as nobody has looked."""
    with suppress(OSError, ValueError):
        return max(1, int((root / FOLDER / PLACES).read_text(encoding="utf-8")))
    return 1
