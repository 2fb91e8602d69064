"""Live curves of a run, drawn by plotly.js and updated in place from a metrics route: ELBO, reconstruction and KL, and
unfolded, the KL by dimension and the gradient norms."""

from pathlib import Path

from streamlit.components.v2 import component

from ui.theme import PALETTE, SEQUENTIAL

HERE = Path(__file__).parent
SCRIPTS = ("loading", "series", "panels", "moment", "curves")


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


LOADING = _read("loading.js")
"""The script of `loadPlotly`, for other components that draw with plotly.js."""

_component = component(
    "elbo_room.live_curves",
    html=_read("curves.html"),
    css=_read("curves.css"),
    js="\n".join(_read(f"{name}.js") for name in SCRIPTS),
)


PLOTLY = "/api/plotly.js"
COLOURS = {
    "held": PALETTE[6],
    "parts": {"encoder": PALETTE[0], "decoder": PALETTE[6], "prior": PALETTE[4]},
    "scale": [[place / (len(SEQUENTIAL) - 1), colour] for place, colour in enumerate(SEQUENTIAL)],
}


def prepare_curves(key: str) -> None:
    """Loads plotly.js ahead, unseen: it takes the browser a second that a first point should not wait for."""
    _component(key=key, data={"url": None, "plotly": PLOTLY})


def live_curves(key: str, url: str, axis: str, active: bool, look: int | None = None, said: str = "") -> None:
    """Draws the reports that `url` serves over `axis` ("epoch" or "seconds"), asking again while `active`. When `said`
    changes, a screen reader says it.

    While `active` the fragment that calls this runs again when there is a later look at the held-out data than that of
    step `look`, at most every other second, and a plane that follows the run (`ui.latent_plane`) shows its snapshot.
    """
    data = {
        "url": url,
        "axis": axis,
        "active": active,
        "look": look,
        "said": said,
        "plotly": PLOTLY,
        "colours": COLOURS,
    }
    _component(key=key, data=data, on_look_change=lambda: None)
