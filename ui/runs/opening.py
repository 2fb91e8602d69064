"""From the chosen run to the pages that show it alone."""

import streamlit as st

from ui.runs.chosen import Chosen
from ui.runs.state import library
from vae_core.runs import Run


def open_buttons(chosen: Chosen) -> None:
    """Where one run is chosen, its latent space and its curves."""
    one = chosen.entries[0] if len(chosen.entries) == 1 else None
    explorable = one is not None and ((one.folder / "model.safetensors").is_file() or Run(one.folder).checkpoints())
    help_text = None if one else "Choose exactly one run."
    if st.button("Explore", icon=":material/explore:", disabled=not explorable, help=help_text, key="explore run"):
        assert one is not None
        st.switch_page("pages/explore/plane.py", query_params={"model": one.id})
    watchable = one is not None and one.origin != "shipped"
    if st.button("Watch", icon=":material/show_chart:", disabled=not watchable, help=help_text, key="watch run"):
        assert one is not None
        st.switch_page("pages/train/train.py", query_params={"run": one.id})
    st.button(
        "Choose none", icon=":material/deselect:", on_click=lambda: library.change(runs=()),
        disabled=not library.current().runs,
    )  # fmt: skip
