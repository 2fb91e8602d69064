"""The tool that puts pins side by side: what each decodes to, how they differ from the chosen one, how far apart."""

from string import ascii_uppercase
from typing import Any

import plotly.graph_objects as go
import streamlit as st
import torch
from jaxtyping import Float
from torch import Tensor

from ui.planes import Opened
from ui.theme import PALETTE
from ui.tools.addition import Addition
from ui.tools.strips import STILL, dressed, places, profile_lines
from vae_core.datasets import Spec
from vae_core.holes import KINDS

WIDTH = 132
FEATURE_ROOM, PLAIN_ROOM = 110, 44
"""Pixels under a chart for the names of features, and for a title."""
LESS, MORE = "rgba(224, 130, 20, {})", "rgba(128, 115, 172, {})"
SHADES = [[0, LESS.format(1)], [0.5, LESS.format(0)], [0.5, MORE.format(0)], [1, MORE.format(1)]]
"""Orange to violet; what does not differ is left to the page, light or dark."""


def rows(opened: Opened, z: Float[Tensor, "P H"], decoded: Float[Tensor, "P D"], chosen: int) -> list[dict[str, Any]]:
    """One row a pin: how far it is from the chosen one, in latent space and decoded, and what kind of place it is."""
    apart, changed = (z - z[chosen]).norm(dim=1), (decoded - decoded[chosen]).square().mean(1).sqrt()
    found = []
    pins = zip(ascii_uppercase, z, decoded, apart.tolist(), changed.tolist(), strict=False)
    for letter, code, image, distance, change in pins:
        row = {"pin": letter, "distance in z": round(distance, 3), "decoded difference (RMS, 0–1)": round(change, 4)}
        if opened.landscape is not None:
            place = opened.landscape.place(code, image)
            row |= {"place": KINDS[place.kind].label, "log q(z), nats": round(place.log_q, 2)}
            row |= {} if place.log_p is None else {"log p(z), nats": round(place.log_p, 2)}
        found.append(row)
    return found


def difference(spec: Spec, values: Float[Tensor, "D"]) -> go.Figure:
    """What a decoded image has less or more of than the chosen one, in shares of the full range."""
    figure = go.Figure(
        go.Heatmap(
            z=values.reshape(spec.shape[1:]).flip(0).tolist(), zmin=-1, zmax=1, showscale=False, hoverinfo="z",
            colorscale=SHADES,
        )
    )  # fmt: skip
    figure.update_xaxes(visible=False).update_yaxes(visible=False, scaleanchor="x")
    return dressed(figure, WIDTH).update_layout(margin={"l": 0, "r": 0, "t": 0, "b": 0})


def show(opened: Opened) -> Addition:
    pins, spec = opened.address.pins, opened.thing.spec
    if len(pins) < 2:
        st.info("Comparing takes two pins at least: click two places or data points on the plane.")
        return Addition()
    chosen = opened.address.chosen or 0
    z = torch.stack([opened.vector(pin) for pin in pins])
    decoded = opened.thing.decode(z)
    st.caption(f"Every pin against {ascii_uppercase[chosen]}; press another in the tray to compare with that.")
    if spec.kind == "image":
        _differences(spec, decoded - decoded[chosen], chosen)
    else:
        letters = list(ascii_uppercase[: len(pins)])
        colours = [PALETTE[k % len(PALETTE)] for k in range(len(pins))]
        figure = go.Figure(profile_lines(spec, decoded, letters, colours))
        figure.update_xaxes(title="" if spec.features else places(spec)[1])
        room = {"showlegend": True, "margin_b": FEATURE_ROOM if spec.features else PLAIN_ROOM}
        st.plotly_chart(dressed(figure, 340).update_layout(room), config=STILL, key="compared profiles")
    st.dataframe(rows(opened, z, decoded, chosen), hide_index=True)
    return Addition()


def _differences(spec: Spec, differences: Float[Tensor, "P D"], chosen: int) -> None:
    """Pictures of what each pin decodes to, minus that of the chosen one."""
    with st.container(horizontal=True, gap="small"):
        for number, values in enumerate(differences):
            if number == chosen:
                continue
            with st.container(width=WIDTH):
                name = f"{ascii_uppercase[number]} − {ascii_uppercase[chosen]}"
                st.plotly_chart(difference(spec, values), config=STILL, key=f"difference {number}")
                st.caption(name, help="Violet: more ink than in the chosen pin's picture. Orange: less.")
