"""What a tool adds to the plane above it."""

from dataclasses import dataclass

from ui.latent_plane import Place, Selection


@dataclass(frozen=True)
class Addition:
    """Lines to draw, and an example to show in place of the chosen pin."""

    paths: tuple[tuple[Place, ...], ...] = ()
    shown: Selection | None = None
