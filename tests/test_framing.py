from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from vae_core.datasets import DATASETS, Part, Split
from vae_core.framing import FRAMINGS, framing_for, light_on_dark, resized

Load = Callable[[str, Part], Split]


def nothing(line: str) -> None:
    pass


def box_of(grey: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is not black."""
    rows, columns = np.flatnonzero(grey.any(1)), np.flatnonzero(grey.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def placed(ink: np.ndarray, name: str) -> np.ndarray:
    return np.asarray(resized(Image.fromarray(ink), DATASETS[name].shape, FRAMINGS[name], nothing))


def test_framings_are_by_name_else_by_shape() -> None:
    assert framing_for((1, 28, 28), None) is FRAMINGS["mnist"]
    assert framing_for((1, 8, 8), None) is FRAMINGS["digits"]
    assert framing_for((1, 28, 28), "fashion") is FRAMINGS["fashion"]
    assert framing_for((1, 28, 28), "my faces") is framing_for((1, 28, 20), None) is None


@pytest.mark.parametrize("name", FRAMINGS)
def test_framings_are_those_of_the_data(name: str, load: Load) -> None:
    """The ink's longer side, in nine tenths of the examples and of the ink drawn by us, and for MNIST its centre."""
    shape = DATASETS[name].shape
    examples = load(name, "validation").x[:500].reshape(-1, *shape[1:]).numpy()
    filled = [max(right - left, bottom - top) / shape[1] for left, top, right, bottom in map(box_of, examples)]
    assert np.quantile(filled, [0.1, 0.9]) == pytest.approx([FRAMINGS[name].fill] * 2)
    if FRAMINGS[name].by_mass:
        grid = np.arange(28) + 0.5
        centres = [[np.average(grid, weights=image.sum(axis)) for axis in (0, 1)] for image in examples]
        assert np.abs(np.array(centres) - 14.5).max() < 0.51


@pytest.mark.parametrize("name", FRAMINGS)
@pytest.mark.parametrize(("width", "height"), [(90, 60), (60, 90), (400, 3), (3, 400), (50, 50)])
def test_ink_fills_its_share(name: str, width: int, height: int) -> None:
    ink = np.zeros((500, 600), dtype=np.uint8)
    ink[40 : 40 + height, 100 : 100 + width] = 255
    left, top, right, bottom = box_of(placed(ink, name))
    side, longer = DATASETS[name].shape[1], round(FRAMINGS[name].fill * DATASETS[name].shape[1])
    expected = [max(1, round(longer * extent / max(width, height))) for extent in (width, height)]
    assert [right - left, bottom - top] == expected
    assert abs((left + right) - side) <= 1
    assert abs((top + bottom) - side) <= 1


def test_mass_is_centred_as_far_as_the_ink_fits() -> None:
    """A thick bar at the left of a long thin line: the mass would have it farther right than there is room."""
    ink = np.zeros((60, 200), dtype=np.uint8)
    ink[:, :10], ink[28:32, :] = 255, 255
    made = placed(ink, "mnist")
    left, _, right, _ = box_of(made)
    assert (left, right) == (8, 28)
    rows = made.sum(1)
    assert np.average(np.arange(28) + 0.5, weights=rows) == pytest.approx(14.5, abs=0.5)


def test_reduction_averages_areas() -> None:
    """Against a mean over blocks, in a whole number of them."""
    levels = np.random.default_rng(1).integers(1, 256, (280, 200), dtype=np.uint8)
    made = resized(Image.fromarray(levels), (1, 28, 20), None, nothing)
    blocks = levels.reshape(28, 10, 20, 10).mean((1, 3))
    assert np.abs(np.asarray(made) - blocks).max() <= 1


def test_a_whole_picture_keeps_its_middle() -> None:
    notes: list[str] = []
    levels = np.zeros((40, 100), dtype=np.uint8)
    levels[:, 30:70] = 200
    made = resized(Image.fromarray(levels), (1, 20, 20), None, notes.append)
    assert (np.asarray(made) == 200).all()
    assert notes == [
        "cut to its middle, to have the right proportions",
        "reduced from 100×40 to 20×20 by area averaging",
    ]


def test_small_pictures_are_enlarged_smoothly() -> None:
    notes: list[str] = []
    made = np.asarray(resized(Image.fromarray(np.array([[0, 255]] * 2, dtype=np.uint8)), (1, 8, 8), None, notes.append))
    assert notes == ["enlarged from 2×2 to 8×8 by linear interpolation"]
    assert (np.diff(made[0].astype(int)) >= 0).all()
    assert len(np.unique(made[0])) > 2


@pytest.mark.parametrize(
    ("paper", "ink", "inverted"),
    [(255, 0, True), (0, 255, False), (200, 90, True), (60, 140, False), (130, 0, True), (120, 255, False)],
)
def test_ink_is_what_differs_most_from_the_corners(paper: int, ink: int, inverted: bool) -> None:
    """Linear in between: half ink on half paper comes out in the middle."""
    notes: list[str] = []
    grey = np.full((64, 64), paper, dtype=np.uint8)
    grey[20:40, 20:30], grey[20:40, 30:40] = ink, round((paper + ink) / 2)
    made = np.asarray(light_on_dark(Image.fromarray(grey), notes.append)).astype(int)
    assert (made[0, 0], made[25, 25]) == (0, 255)
    assert made[25, 35] == pytest.approx(127.5, abs=255 / abs(ink - paper) + 1)
    assert any(line.startswith("inverted") for line in notes) == inverted
    assert any(line.startswith("contrast") for line in notes) == (abs(paper - ink) != 255)


@pytest.mark.parametrize(("low", "high"), [(0, 255), (200, 230), (100, 116)])
def test_a_slope_without_ink_is_no_paper(low: int, high: int) -> None:
    """What could be all shadow gives a picture nevertheless, with black and white in it."""
    grey = np.linspace(low, high, 64).round().astype(np.uint8)[None].repeat(64, axis=0)
    made = np.asarray(light_on_dark(Image.fromarray(grey), nothing))
    assert (made.min(), made.max()) == (0, 255)


def test_shadow_is_taken_off_the_paper() -> None:
    """A plane of grey, sloping both ways, with ink of one depth below it."""
    down, across = np.mgrid[:128, :128] / 127
    grey = 180 + 20 * across + 30 * down
    grey[40:80, 40:80] -= 120
    made = np.asarray(light_on_dark(Image.fromarray(grey.round().astype(np.uint8)), nothing))
    inked = np.zeros((128, 128), dtype=bool)
    inked[40:80, 40:80] = True
    assert (made[~inked] == 0).all()
    assert made[inked].min() > 240


def test_ink_over_one_corner_does_not_turn_the_picture() -> None:
    grey = np.full((64, 64), 250, dtype=np.uint8)
    grey[:40, :40] = 10
    made = np.asarray(light_on_dark(Image.fromarray(grey), nothing))
    assert (made[0, 0], made[60, 60]) == (255, 0)
