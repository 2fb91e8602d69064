"""The look: one palette for labels, the wordmark, the terms explained on hover, and the few styles Streamlit lacks."""

from pathlib import Path
from typing import Any

import streamlit as st

HERE = Path(__file__).parent

PALETTE = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
"""Ten label colours that stay apart with every colour vision (Petroff 2021); also in .streamlit/config.toml."""

SEQUENTIAL = ("#00224e", "#35456c", "#666970", "#948e77", "#c8b866", "#fee838")
"""From low to high: cividis (Nunez, Anderton & Renslow 2018), alike to every colour vision."""
DIVERGING = ("#b35806", "#f1a340", "#fee0b6", "#f7f7f7", "#d8daeb", "#998ec3", "#542788")
"""From below to above: ColorBrewer's PuOr, alike to every colour vision."""

TERMS = {
    "elbo": "Evidence lower bound: a lower bound on log p(x), in nats per example. Higher is better. "
    "ELBO = reconstruction − KL.",
    "reconstruction": "E log p(x|z): how well x is explained by codes z drawn from q(z|x), in nats per example. "
    "Higher is better.",
    "kl": "KL(q(z|x) ‖ p(z)), the rate: how many nats the code of x takes beyond the prior. "
    "It rises first: the code learns to say something. In nats per example.",
    "round_trip": "This place decoded, and the result encoded again: how far from here that leads, in standard "
    "deviations of the posterior found there. Small where the encoder knows what the decoder makes.",
    "active": "Latent dimensions whose posterior means vary over the held-out data (variance above 0.01).",
}

STYLE = """
<style>
  .block-container { padding-top: 4.5rem; max-width: 1240px; }
  [data-testid="stImage"] img { border-radius: 6px; %(ink)s }
  h1 { letter-spacing: -0.01em; }
  .lead { font-size: 1.2rem; line-height: 1.5; max-width: 44rem; margin: 0 0 .4rem; }
  @media (max-width: 640px) {
    .block-container { padding-left: 1rem; padding-right: 1rem; }
    .st-key-cards > div { flex: 0 0 calc(50%% - .5rem); }
  }
</style>
"""


def dark() -> bool:
    """Whether this browser shows the dark theme."""
    return st.context.theme.type == "dark"


def apply_look() -> None:
    """Page configuration, wordmark and styles; the first thing that every page shows."""
    st.set_page_config(page_title="Elbo Room", page_icon=str(HERE / "icon.png"), layout="wide")
    st.logo(str(HERE / f"wordmark-{'dark' if dark() else 'light'}.svg"), size="large")
    # images are ink on paper in the light theme, light on dark in the dark one
    ink = "mix-blend-mode: screen;" if dark() else "filter: invert(1); mix-blend-mode: multiply;"
    st.html(STYLE % {"ink": ink})


def hundredths(*names: str) -> dict[str, Any]:
    """Columns of a table whose numbers are shown with two decimals."""
    return {name: st.column_config.NumberColumn(format="%.2f") for name in names}
