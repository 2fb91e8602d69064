"""Examples of a data set to look at: pictures for `st.image`, which the look of every page turns into ink on paper in
the light theme, and rows of a table."""

from functools import lru_cache

import numpy as np
import streamlit as st
from torch import nn

from ui.resources import PRETRAINED
from vae_core import datasets
from vae_core.datasets import DATASETS, Spec, Split
from vae_core.geometry import mosaic, pictures
from vae_core.publish import read_sample

STRIP = 16
TILE, GAP = 56, 6
ROWS = 5
DIGITS = 4


@lru_cache(maxsize=8)
def _sample(dataset: str) -> Split:
    """Held-out examples, read without a download."""
    published = PRETRAINED / f"{dataset}-2d"
    return (read_sample(published) if published.is_dir() else datasets.load(dataset, "validation")).head(STRIP)


@lru_cache(maxsize=8)
def _strip(dataset: str) -> np.ndarray:
    """Bytes [height, width]: examples side by side."""
    spec, x = DATASETS[dataset], _sample(dataset).x
    if spec.kind == "profile":
        sharp = 255 * pictures(x, spec.shape)
    else:
        sharp = nn.functional.interpolate(pictures(x.float(), spec.shape), size=(TILE, TILE), mode="nearest")
    return mosaic(nn.functional.pad(sharp, (GAP,) * 4), STRIP).squeeze(-1).byte().numpy()


def _table(dataset: str) -> dict[str, list[str]]:
    """Rows of a table in its own units, column by column, the class first."""
    spec, some = DATASETS[dataset], _sample(dataset).head(ROWS)
    columns = spec.in_units(some.x).T.tolist()
    return {"class": [spec.classes[y] for y in some.y.tolist()]} | {
        name: [f"{value:.{DIGITS}g}" for value in column] for name, column in zip(spec.features, columns, strict=True)
    }


def _what(spec: Spec) -> str:
    """What an example is, in the plural."""
    _, height, width = spec.shape
    if spec.kind == "image":
        return f"images of {height}×{width} pixels"
    return f"rows of {width} features" if spec.features else f"signals of {width} values"


def sample_strip(dataset: str) -> None:
    """A few examples, with where they come from on hover."""
    spec = DATASETS[dataset]
    if spec.features:
        st.dataframe(_table(dataset), hide_index=True, width="stretch")
    else:
        st.image(_strip(dataset), width="stretch")
    st.caption(
        f"{spec.sizes.train:,} training {_what(spec)} in {len(spec.classes)} classes; "
        f"{spec.sizes.validation:,} are held out while training, {spec.sizes.test:,} kept for the final test.",
        help=f"{spec.source}. Licence: {spec.licence}.",
    )
