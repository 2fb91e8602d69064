"""The tools of the Runs page, by their name in the address: what is asked about the chosen runs."""

from collections.abc import Callable

from ui.runs import best, curves, decoded, differences, files, marking, rebuilt, terms
from ui.runs.chosen import Chosen

SHOW: dict[str, Callable[[Chosen], None]] = {
    "curves": curves.show,
    "decoded": decoded.show,
    "rebuilt": rebuilt.show,
    "terms": terms.show,
    "best": best.show,
    "differences": differences.show,
    "marks": marking.show,
    "files": files.show,
}
