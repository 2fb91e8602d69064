"""One update as a labelled graph: from x through q(z|x) and the noise to z, and back to x; each term and gradient."""

import base64
import html
from collections.abc import Sequence
from typing import Any

import streamlit as st
import torch
from jaxtyping import UInt8
from torch import Tensor

from ui.exports import png
from ui.tiles import tiles
from ui.words import signed
from vae_core.datasets import Spec

SHOWN = 4
"""Latent coordinates that are written out."""
BOX = (
    '<div style="border:1px solid var(--st-border-color,#8886);border-radius:6px;padding:.35rem .7rem;'
    'font-variant-numeric:tabular-nums"><b>{title}</b><br>{text}</div>'
)
ARROW = '<div style="align-self:center" aria-hidden="true">→</div>'

FIGURE = (
    '<figure style="margin:0;width:110px"><div role="img" aria-label="{said}" style="height:110px;'
    'background:currentColor;mask:{mask};mask-mode:luminance"></div><figcaption>{said}</figcaption></figure>'
)


def numbers(values: Sequence[float]) -> str:
    """The first few, with true minus signs."""
    said = ", ".join(signed(value, 3) for value in values[:SHOWN])
    return html.escape(said + (" …" if len(values) > SHOWN else ""))


def graph(trace: dict[str, Any]) -> str:
    """The computation of one step as HTML: boxes in the order in which they are computed."""
    gradients = {name: f"‖∇‖ = {value:.3g}" for name, value in trace["gradients"].items()}
    q = f"μ = {numbers(trace['mean'])}"
    if trace["scale"]:
        q += f"<br>σ = {numbers(trace['scale'])}"
    z = f"z = {numbers(trace['z'])}"
    if trace["noise"]:
        z = f"ε = {numbers(trace['noise'])}<br>{z} = μ + σ·ε"
    elbo = trace["log_lik"] + trace["log_prior"] - trace["log_q"]
    terms = (
        f"log p(x|z) = {signed(trace['log_lik'])}<br>log p(z) = {signed(trace['log_prior'])}<br>"
        f"log q(z|x) = {signed(trace['log_q'])}<br>ELBO of this draw = {signed(elbo)} nats"
    )
    boxes = [
        ("Encoder", gradients.get("encoder", "")),
        ("q(z|x)", q),
        ("Reparameterise", z),
        ("Decoder", gradients.get("decoder", "")),
        ("Terms, first draw", terms),
    ]
    drawn = ARROW.join(BOX.format(title=title, text=text) for title, text in boxes)
    return f'<div style="display:flex;flex-wrap:wrap;gap:.4rem;font-size:.85rem">{drawn}</div>'


def picture(grey: UInt8[Tensor, "H W"], said: str) -> str:
    """A picture as HTML, in the ink of the theme, with what it is. It travels with the element: as a file of its own,
    as `st.image` sends it, it would be gone before the browser asks for it when steps follow each other."""
    code = base64.b64encode(png(grey)).decode()
    mask = f"url(data:image/png;base64,{code}) 0 0/100% 100%"
    return FIGURE.format(said=said, mask=mask)


def step_graph(spec: Spec, trace: dict[str, Any]) -> None:
    """The last single step, for the first example of its batch."""
    st.markdown(f"**Step {trace['step']:,}, number by number**: the first of {trace['batch']} examples of its batch")
    seen = tiles(torch.tensor([trace["x"], trace["decoded"]]).clamp(0, 1), spec.shape, 96)
    drawn = "".join(map(picture, seen, ("x, as the model sees it", "decoded: the mean of p(x|z)")))
    st.html(f'<div style="display:flex;gap:.8rem;font-size:.85rem">{drawn}</div>')
    st.html(graph(trace))
    st.caption(f"Learning rate {trace['learning_rate']:.3g}, β = {trace['beta']:g}. ‖∇‖ is of the batch's mean loss.")
