"""Live curves: ELBO, reconstruction and KL of a run, drawn by plotly.js and updated in place from a metrics route."""

from pathlib import Path

from streamlit.components.v2 import component

HERE = Path(__file__).parent


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


_component = component(
    "elbo_room.live_curves", html=_read("curves.html"), css=_read("curves.css"), js=_read("curves.js")
)


PLOTLY = "/api/plotly.js"


def prepare_curves(key: str) -> None:
    """Loads plotly.js ahead, unseen: it takes the browser a second that a first point should not wait for."""
    _component(key=key, data={"url": None, "plotly": PLOTLY})


def live_curves(key: str, url: str, axis: str, active: bool) -> None:
    """Draws the reports that `url` serves over `axis` ("epoch" or "seconds"), asking again while `active`."""
    _component(key=key, data={"url": url, "axis": axis, "active": active, "plotly": PLOTLY})
