"""Explore: a trained model's latent plane. Click a free spot to decode it, a data point to see how it is coded."""

import streamlit as st

from ui.inspection import at_data_point, at_place, truth
from ui.latent_plane import latent_plane, picked
from ui.owner import owner
from ui.payload import axis_names
from ui.resources import Explored, explored, locate, pretrained_names, version
from ui.words import bound_note, prior_note, recipe_line
from vae_core import runs
from vae_core.datasets import DATASETS, DataUnavailable
from vae_core.runs import DamagedRun

PREFERRED = "mnist-2d"
CENTRE = {"index": None, "at": (0.0, 0.0)}


def choices() -> dict[str, str]:
    """Every model that can be opened, with its name on screen: own runs after the shipped ones."""
    named = {name: name for name in pretrained_names()}
    for run in runs.listed(owner()):
        if run.checkpoints():
            named[run.id] = f"my run {run.id}"
    return named


def choose_model() -> str:
    options = choices()
    asked = st.query_params.get("model", PREFERRED)
    if asked not in options and locate(asked) is not None:
        options[asked] = f"shared run {asked}"
    if asked not in options:
        st.warning(f"There is no model “{asked}” here; this is {PREFERRED}.")
        asked = PREFERRED
    # keyed, and set from the address only on arrival: an index that followed the address would make it a new widget
    if st.session_state.get("chosen_model") not in options:
        st.session_state["chosen_model"] = asked
    chosen = st.selectbox("Model", list(options), format_func=options.__getitem__, key="chosen_model")
    st.query_params["model"] = chosen
    return chosen


def choose_axes(thing: Explored) -> tuple[int, int]:
    """Which two dimensions span the plane; a choice only where there are more than two."""
    if thing.means.shape[1] <= 2:
        return thing.axes
    order = thing.weights.argsort(descending=True).tolist()

    unit = " nats" if thing.by_rate else ""

    def label(axis: int) -> str:
        return f"{axis_names((axis, axis))[0]}: {thing.weights[axis]:.2f}{unit}"

    carried = "KL, the nats that a dimension carries" if thing.by_rate else "the variance of the posterior means"
    help_text = f"Ordered by {carried}. All other coordinates are at the centre of the prior."
    left, right = st.columns(2)
    x = left.selectbox("Across", order, index=0, format_func=label, help=help_text)
    y = right.selectbox("Up", order, index=1, format_func=label, help=help_text)
    return x or 0, y or 0  # never None: a select box with an index is never empty


def plane(thing: Explored, reference: str, token: str, axes: tuple[int, int]) -> None:
    """The component; a pick reruns this fragment alone."""
    place = f"{reference} {axes}"

    @st.fragment
    def body() -> None:
        key = f"plane-{place}"

        def remember() -> None:
            pick = picked(key)
            st.session_state["pick"] = (place, {"index": pick["index"], "at": pick["at"]})

        remembered, pick = st.session_state.get("pick", (place, CENTRE))
        index, at = (pick if remembered == place else CENTRE).values()
        selection = at_place(thing, axes, at) if index is None else at_data_point(thing, axes, index)
        url = f"/api/models/{reference}/plane?x={axes[0]}&y={axes[1]}&v={token}"
        latent_plane(key, url, selection, remember)
        if index is not None and thing.exact:
            how_far(thing, index)

    body()


def how_far(thing: Explored, index: int) -> None:
    """The exact log p(x) of the chosen example and the two gaps, when asked for."""
    if not st.button("How far is this bound from the truth?", icon=":material/straighten:"):
        return
    with st.spinner("Integrating over the whole latent plane, and looking for the best posterior …", show_time=True):
        try:
            found = truth(thing, index)
        except ValueError as error:
            st.warning(str(error))
            return
    with st.container(horizontal=True, gap="small"):
        for label, value, help_text in found:
            st.metric(label, value, help=help_text, width="content")
    st.caption("log p(x) − ELBO = KL(q(z|x) ‖ p(z|x)) = approximation gap + amortisation gap, in nats.")


st.title("Latent plane")
reference = choose_model()
folder = locate(reference)
assert folder is not None
try:
    with st.spinner("Loading the model …", show_time=False):
        thing = explored(folder)
    config = thing.config
    st.caption(f"{DATASETS[config.dataset].label} · {recipe_line(config)}")
    chosen_axes = choose_axes(thing)
    plane(thing, reference, version(folder), chosen_axes)
    others = thing.means.shape[1] - 2
    st.caption(
        f"Dots are posterior means of {len(thing.sample):,} held-out images, over what the decoder makes of each spot"
        + (f" with the {others} other coordinates at the centre" if others > 0 else "")
        + f". {prior_note(config)} Numbers are in nats per example. {bound_note(config)}"
    )
except (DamagedRun, DataUnavailable) as damage:
    st.error(f"This model cannot be opened: {damage}")
