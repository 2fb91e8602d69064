"""A Plotly figure that is drawn anew in place: zoom, and the curves that were hidden, stay as they are.

`st.plotly_chart` puts another chart in the place of the old one whenever its data change.
"""

import json
from pathlib import Path

import plotly.graph_objects as go
from streamlit.components.v2 import component

from ui.live_curves import LOADING, PLOTLY

HERE = Path(__file__).parent

_component = component(
    "elbo_room.live_figure",
    html='<div class="live-figure" role="img"></div>',
    css=(HERE / "figure.css").read_text(encoding="utf-8"),
    js=LOADING + (HERE / "figure.js").read_text(encoding="utf-8"),
    isolate_styles=False,  # the styles that plotly.js adds to the page must reach it
)


def live_figure(key: str, figure: go.Figure, alt: str) -> None:
    """Draws it in the colours of the theme; `alt` says in words what is seen."""
    bare = json.loads(str(figure.to_json()))
    bare["layout"].pop("template", None)
    _component(key=key, data={"figure": bare, "alt": alt, "plotly": PLOTLY})
