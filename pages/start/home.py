"""Home: what this is, the pretrained models as cards, and the two ways in."""

import json

import streamlit as st

from ui.resources import PRETRAINED, pretrained_names
from ui.theme import TERMS
from ui.words import signed
from vae_core.datasets import DATASETS

CARD_WIDTH = 196
HERO = "mnist-2d"
HERO_CAPTION = "What a model of handwritten digits makes of each spot of its two-dimensional latent space."


def card(name: str) -> None:
    """One pretrained model: its manifold, what it is and how good."""
    folder = PRETRAINED / name
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    with st.container(border=True, width=CARD_WIDTH):
        st.image(str(folder / "manifold.png"), width="stretch")
        st.page_link(
            "pages/explore/plane.py",
            label=f"**{DATASETS[metrics['dataset']].label}, {metrics['latent_dim']}-D**",
            query_params={"model": name},
        )
        st.caption(
            f"Test ELBO {signed(metrics['test_elbo'], 1)} ± {metrics['test_elbo_se']:.1f} nats per image",
            help=TERMS["elbo"],
        )


left, right = st.columns([1.15, 1], gap="large", vertical_alignment="center")
with left:
    st.title("Walk through what a network imagines")
    st.html(
        '<p class="lead">Elbo Room trains small variational autoencoders in front of you: watch the evidence lower '
        "bound rise, term by term. Then click anywhere in the latent space and see what lies there.</p>"
    )
    with st.container(horizontal=True):
        if st.button("Explore", type="primary", icon=":material/explore:"):
            st.switch_page("pages/explore/plane.py")
        if st.button("Train your own", icon=":material/model_training:"):
            st.switch_page("pages/train/train.py")
with right:
    st.image(str(PRETRAINED / HERO / "manifold.png"), width="stretch", caption=HERO_CAPTION)

st.subheader("Trained and ready")
with st.container(horizontal=True, gap="small", key="cards"):
    for model_name in pretrained_names():
        card(model_name)
