"""The tool that takes away what is on the plane: the link to it, its pins and points as tables, a region's labels."""

from urllib.parse import urlencode

import streamlit as st
import torch

from ui.address import Address
from ui.exports import MAX_CELLS
from ui.links import show_link
from ui.planes import Opened
from ui.tables import cells_of_points, counts, pins_csv, points_csv
from ui.tools.addition import Addition

SHARES = ("share of the region", "share of the label")


def link_to(address: Address) -> str:
    """The page's address, without the server's."""
    return f"/explore?{urlencode(address.params())}"


def show(opened: Opened) -> Addition:
    st.caption("Link to exactly this view: model, plane, pins and region.")
    show_link(link_to(opened.address))
    region = opened.inside()
    chosen = torch.ones(len(opened.thing.data), dtype=torch.bool) if region is None else region
    with st.container(horizontal=True, vertical_alignment="center"):
        _save_pins(opened)
        _save_points(opened, chosen, "All points" if region is None else "Points of the region")
    if region is None:
        st.caption("To save or count a part of the points, choose Box or Lasso above the plane and drag.")
    else:
        _labels_of_region(opened, region)
    return Addition()


def _save_pins(opened: Opened) -> None:
    count = len(opened.address.pins)
    st.download_button(
        f"Pins as CSV ({count})", pins_csv(opened), f"{opened.folder.name}-pins.csv", "text/csv",
        icon=":material/download:", on_click="ignore", disabled=not count,
        help="Letter, latent coordinates, coordinates on the plane; number and label of a data point.",
    )  # fmt: skip


def _save_points(opened: Opened, chosen: torch.Tensor, what: str) -> None:
    count = int(chosen.sum())
    too_many = cells_of_points(opened, count) > MAX_CELLS
    st.download_button(
        f"{what} as CSV ({count:,})", lambda: points_csv(opened, chosen), f"{opened.folder.name}-points.csv",
        "text/csv", icon=":material/download:", on_click="ignore", disabled=too_many or not count,
        help="Number, label, the mean of q(z|x), coordinates on the plane.",
    )  # fmt: skip
    if too_many:
        st.caption(f"More than {MAX_CELLS:,} cells: select a region, or choose the held-out sample under Points.")


def _labels_of_region(opened: Opened, region: torch.Tensor) -> None:
    st.markdown(f"**{int(region.sum()):,} of {len(region):,} points** lie in the selected region.")
    bars = {name: st.column_config.ProgressColumn(name, format="percent", max_value=1.0) for name in SHARES}
    st.dataframe(counts(opened, region), hide_index=True, column_config=bars, width=560)
