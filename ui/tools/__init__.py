"""The tools under the plane, by their name in the address: each draws its controls and says what it adds above."""

from collections.abc import Callable

from ui.planes import Opened
from ui.tools import attributes, comparison, example, exports, lattice, paths, traversals
from ui.tools.addition import Addition

SHOW: dict[str, Callable[[Opened], Addition]] = {
    "example": example.show,
    "compare": comparison.show,
    "lattice": lattice.show,
    "traversals": traversals.show,
    "paths": paths.show,
    "attributes": attributes.show,
    "exports": exports.show,
}
