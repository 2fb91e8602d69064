"""The tool that finds an example among the data, or takes an own one: drawn, or from a file."""

from collections.abc import Callable

import plotly.graph_objects as go
import streamlit as st
from jaxtyping import UInt8
from torch import Tensor

from ui import state
from ui.address import Pin
from ui.exports import png
from ui.own import MEGABYTES, PICTURES, TABLES, Own, mean_pin, own_drawing, own_file, own_row, own_selection, row_text
from ui.planes import Opened
from ui.sketch_pad import sketch_pad, sketched
from ui.theme import PALETTE
from ui.tiles import tiles
from ui.tools.addition import Addition
from ui.tools.strips import STILL, dressed, in_view, places, profile_lines
from vae_core.datasets import Spec

FIND, DRAW, UPLOAD = "Find", "Draw", "Upload"
PAGE = 24
THUMBNAIL, PREVIEW, CHART = 72, 168, 420
OWN, REFUSED, SHOWN = "own example", "own example refused", "own example shown"
"""Of the session: the example, why the last one was refused, and which pins there were when it was encoded."""


def page_of(labels: UInt8[Tensor, "N"], label: int, page: int) -> tuple[list[int], int]:
    """The numbers of the examples of a label that are on a page of 24, and how many of that label there are."""
    found = (labels == label).nonzero().flatten()
    return found[page * PAGE : (page + 1) * PAGE].tolist(), len(found)


def show(opened: Opened) -> Addition:
    ways = [FIND, UPLOAD] if opened.thing.spec.kind == "profile" else [FIND, DRAW, UPLOAD]
    way = st.segmented_control(
        "Way", ways, default=FIND, required=True, key="example way", label_visibility="collapsed"
    )
    if way == FIND:
        _find(opened)
        return Addition()
    if way == DRAW:
        _draw(opened)
    else:
        _upload(opened)
    return _own(opened)


def _pin(pin: Pin) -> None:
    state.put(state.current().with_pin(pin))


def _find(opened: Opened) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        _by_number(len(opened.thing.data))
        label, page = _choose_label(opened)
    numbers, count = page_of(opened.thing.data.y, label, page)
    with st.container(horizontal=True, gap="small"):
        for number in numbers:
            _thumbnail(opened, number)
    _turn_pages(page, count)


def _by_number(count: int) -> None:
    number = st.number_input(f"Number, 0 to {count - 1:,}", 0, count - 1, 0, key="find number", width=180)
    st.button("Pin it", on_click=_pin, args=(Pin(index=int(number)),))


def _choose_label(opened: Opened) -> tuple[int, int]:
    """The label that is looked through, and the page."""
    classes = opened.thing.spec.classes
    label = st.selectbox(
        "or by label", range(len(classes)), format_func=classes.__getitem__, key="find label", width=180,
        on_change=lambda: st.session_state.update({"find page": 0}),
    )  # fmt: skip
    count = page_of(opened.thing.data.y, label, 0)[1]
    return label, min(st.session_state.get("find page", 0), max(0, (count - 1) // PAGE))


def _thumbnail(opened: Opened, number: int) -> None:
    with st.container(width=THUMBNAIL, gap="xxsmall", horizontal_alignment="center"):
        picture = tiles(opened.thing.data.x[number : number + 1], opened.thing.spec.shape, THUMBNAIL)[0]
        st.image(png(picture), width=THUMBNAIL, alt=f"Example {number}")
        st.button(f"{number}", key=f"find {number}", on_click=_pin, args=(Pin(index=number),), help="Pin this example")


def _turn_pages(page: int, count: int) -> None:
    def turn(by: int) -> None:
        st.session_state["find page"] = page + by

    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Previous", icon=":material/chevron_left:", disabled=page == 0, on_click=turn, args=(-1,))
        last = (page + 1) * PAGE >= count
        st.button("Next", icon=":material/chevron_right:", disabled=last, on_click=turn, args=(1,))
        first = page * PAGE + 1
        st.caption(
            f"{first:,} to {min(first + PAGE - 1, count):,} of {count:,}" if count else "None of this label here"
        )


def _take(convert: Callable[[], Own]) -> None:
    """Keeps what `convert` gives, or why it refused."""
    st.session_state.update({OWN: None, REFUSED: None, SHOWN: None})
    try:
        st.session_state[OWN] = convert()
    except ValueError as refusal:
        st.session_state[REFUSED] = str(refusal)


def _draw(opened: Opened) -> None:
    dataset, spec = opened.thing.config.dataset, opened.thing.spec
    sketch_pad("sketch", lambda: _take(lambda: own_drawing(sketched("sketch"), dataset, spec)))


def _upload(opened: Opened) -> None:
    dataset, spec = opened.thing.config.dataset, opened.thing.spec
    profile = spec.kind == "profile"

    def taken() -> None:
        file = st.session_state["own file"]
        if file is not None:
            _take(lambda: own_file(file.getvalue(), dataset, spec))

    def typed() -> None:
        _take(lambda: own_row(st.session_state["own row"], dataset, spec))

    asked = f"A row of {spec.shape[2]} numbers" if profile else "A picture"
    kinds = TABLES if profile else PICTURES
    st.file_uploader(asked, kinds, key="own file", on_change=taken, max_upload_size=MEGABYTES)
    if profile:
        index = opened.address.pin.index if opened.address.pin else None
        st.session_state.setdefault("own row", row_text(spec, opened.thing.data.x[index or 0]))
        help_text = "In this order: " + ", ".join(spec.features) if spec.features else None
        st.text_area("or change the numbers of an example", key="own row", on_change=typed, help=help_text)
    st.caption("It stays in this browser session; nobody else sees it.")


def _own(opened: Opened) -> Addition:
    """The own example before it is encoded, and after."""
    if st.session_state.get(REFUSED):
        st.warning(st.session_state[REFUSED])
    own: Own | None = st.session_state.get(OWN)
    if own is None or own.dataset != opened.thing.config.dataset:
        return Addition()
    kept = (opened.folder.name, opened.address.pins, opened.address.chosen)
    shown = st.session_state.get(SHOWN) == kept
    with st.container(horizontal=True, vertical_alignment="center"):
        _preview(own, opened.thing.spec)
        with st.container(width=420):
            st.markdown("\n".join(f"- {note}" for note in own.notes) or "Taken as it is.")
            _buttons(opened, own, kept, shown)
    return Addition(shown=own_selection(opened, own)) if shown else Addition()


def _preview(own: Own, spec: Spec) -> None:
    """What is encoded: a picture, or the line of a profile, whose values a pointer reads."""
    words = "What the model is given"
    if spec.kind == "image":
        st.image(png(tiles(own.values[None], spec.shape, PREVIEW)[0]), width=PREVIEW, caption=words, alt=own.heading)
        return
    figure = dressed(go.Figure(profile_lines(spec, own.values[None], [own.heading], [PALETTE[0]])), 220)
    figure.update_xaxes(title=places(spec)[1], showticklabels=not spec.features, fixedrange=True)
    unit = in_view(spec, own.values)[1]
    figure.update_yaxes(nticks=4, ticklabelposition="inside top", fixedrange=True)
    with st.container(width=CHART):
        st.plotly_chart(figure, key="own profile", config=STILL, alt=f"{own.heading}: {unit} by {places(spec)[1]}")
        st.caption(f"{words}: {unit} by {places(spec)[1]}")


def _buttons(opened: Opened, own: Own, kept: tuple[object, ...], shown: bool) -> None:
    def encode() -> None:
        st.session_state[SHOWN] = kept

    def keep_mean() -> None:
        _pin(mean_pin(opened.thing, own))

    with st.container(horizontal=True):
        st.button("Encode it", type="primary", on_click=encode, disabled=shown)
        st.button("Pin its mean", on_click=keep_mean, help="Keeps the mean of q(z|x) as a place on the plane.")
        st.button("Remove", on_click=lambda: st.session_state.update({OWN: None, SHOWN: None}))
    if shown:
        st.caption("Encoded: beside the plane, until you choose another pin.")
