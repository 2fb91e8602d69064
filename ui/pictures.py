"""Images as arrays for `st.image`; the look of every page turns them into ink on paper in the light theme."""

from functools import lru_cache

import numpy as np
import streamlit as st
from torch import nn

from ui.resources import PRETRAINED
from vae_core.datasets import DATASETS
from vae_core.geometry import mosaic
from vae_core.publish import read_sample

STRIP = 16
TILE, GAP = 56, 6


@lru_cache(maxsize=8)
def _strip(dataset: str) -> np.ndarray:
    sample = read_sample(PRETRAINED / f"{dataset}-2d").head(STRIP)
    images = sample.x.reshape(STRIP, *DATASETS[dataset].shape).float()
    sharp = nn.functional.interpolate(images, size=(TILE, TILE), mode="nearest")
    return mosaic(nn.functional.pad(sharp, (GAP,) * 4), STRIP).squeeze(-1).byte().numpy()


def sample_strip(dataset: str) -> None:
    """A row of examples, with where they come from on hover."""
    spec = DATASETS[dataset]
    st.image(_strip(dataset), width="stretch")
    _, height, width = spec.shape
    st.caption(
        f"{spec.sizes.train:,} training images of {height}×{width} pixels in {len(spec.classes)} classes; "
        f"{spec.sizes.validation:,} are held out while training, {spec.sizes.test:,} kept for the final test.",
        help=f"{spec.source}. Licence: {spec.licence}.",
    )
