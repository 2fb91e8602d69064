"""The state of the Runs page in the session and in the browser's address."""

from ui.mirror import Mirror
from ui.runs.address import Library, read

library: Mirror[Library] = Mirror("runs")


def arrive() -> None:
    """Takes over the address of the browser, unless it is the one that this page wrote."""
    asked = library.asked()
    if asked is not None:
        library.arrive(*read(asked))
