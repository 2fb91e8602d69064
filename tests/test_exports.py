import csv
import io
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from tests.small import seeded
from ui import exports
from ui.exports import csv_table, filmstrip, gif, lattice_png, png


def pictures(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=seeded(1), dtype=torch.uint8)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize(("shape", "mode"), [((5, 7), "L"), ((1, 1), "L"), ((5, 7, 3), "RGB")])
def test_a_picture_comes_back_as_it_was(shape: tuple[int, ...], mode: str) -> None:
    picture = pictures(*shape)
    back = opened(png(picture))
    assert (back.format, back.mode) == ("PNG", mode)
    assert np.array_equal(np.asarray(back), picture.numpy())


def test_a_picture_that_lies_otherwise_in_memory_comes_back() -> None:
    picture = pictures(7, 5).T
    assert np.array_equal(np.asarray(opened(png(picture))), picture.numpy())


@pytest.mark.parametrize("gap", [0, 1, 4])
@pytest.mark.parametrize("count", [1, 6])
def test_a_filmstrip_has_its_frames_side_by_side(count: int, gap: int) -> None:
    frames = pictures(count, 5, 7)
    strip = np.asarray(opened(filmstrip(frames, gap)))
    assert strip.shape == (5, count * 7 + (count - 1) * gap)
    between = np.ones(strip.shape[1], dtype=bool)
    for number, frame in enumerate(frames):
        start = number * (7 + gap)
        assert np.array_equal(strip[:, start : start + 7], frame.numpy())
        between[start : start + 7] = False
    assert not strip[:, between].any()


@pytest.mark.parametrize(("count", "columns"), [(6, 3), (6, 6), (6, 1), (7, 3), (2, 5)])
def test_a_lattice_runs_row_by_row(count: int, columns: int) -> None:
    tiles = pictures(count, 4, 5)
    lattice = np.asarray(opened(lattice_png(tiles, columns)))
    rows = -(-count // columns)
    assert lattice.shape == (4 * rows, 5 * columns)
    for number in range(rows * columns):
        row, column = divmod(number, columns)
        expected = tiles[number].numpy() if number < count else np.zeros((4, 5))
        assert np.array_equal(lattice[4 * row : 4 * row + 4, 5 * column : 5 * column + 5], expected)


def animated(data: bytes) -> tuple[np.ndarray, list[int]]:
    """Frames [S, H, W] in grey levels, and how long each lasts."""
    image = opened(data)
    frames = [(np.asarray(frame.convert("L")), frame.info["duration"]) for frame in ImageSequence.Iterator(image)]
    return np.stack([pixels for pixels, _ in frames]), [duration for _, duration in frames]


@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize("milliseconds", [20, 100, 10_000])
def test_an_animation_comes_back_frame_by_frame(scale: int, milliseconds: int) -> None:
    """All 256 grey levels, to the last; each pixel as large as the scale."""
    frames = pictures(5, 20, 30)
    assert len(frames.unique()) == 256
    back, durations = animated(gif(frames, milliseconds, scale))
    assert np.array_equal(back, np.kron(frames.numpy(), np.ones((1, scale, scale), dtype=np.uint8)))
    assert durations == [milliseconds] * 5
    assert opened(gif(frames, milliseconds)).info["loop"] == 0


def test_small_changes_between_frames_come_back() -> None:
    """Where a writer may store the changed part alone."""
    frames = pictures(1, 20, 30).repeat(4, 1, 1)
    for number, frame in enumerate(frames):
        frame[number, 2 * number] ^= 128
    assert np.array_equal(animated(gif(frames, 50))[0], frames.numpy())


@pytest.mark.parametrize(("count", "order"), [(1, [0]), (2, [0, 1]), (4, [0, 1, 2, 3, 2, 1])])
def test_there_and_back_shows_both_ends_once(count: int, order: list[int]) -> None:
    """So that the loop, from the last frame to the first, goes on by one step."""
    frames = torch.stack([torch.full((4, 4), 60 * number, dtype=torch.uint8) for number in range(count)])
    image = opened(gif(frames, 100, back=True))
    back = [int(np.asarray(frame.convert("L"))[0, 0]) // 60 for frame in ImageSequence.Iterator(image)]
    assert back == order
    assert all(abs(first - second) == 1 for first, second in pairwise([*back, back[0]]) if count > 1)


def test_equal_frames_last_as_long_together() -> None:
    frames = torch.zeros(4, 5, 5, dtype=torch.uint8)
    frames[3] = 255
    _, durations = animated(gif(frames, 100))
    assert sum(durations) == 400


def test_a_table_is_read_back_by_the_csv_module() -> None:
    rows = [["plain", 1, -2.5], ['with "quotes", commas', 0, 1e-9], ["two\nlines", -3, float("nan")]]
    text = csv_table(["name", "a", "b"], rows)
    back = list(csv.reader(io.StringIO(text, newline="")))
    assert back == [["name", "a", "b"], *([str(cell) for cell in row] for row in rows)]
    assert text.startswith("name,a,b\r\n")


def test_numbers_keep_every_digit() -> None:
    values = torch.randn(50, generator=seeded(1), dtype=torch.float64).tolist()
    back = csv.reader(io.StringIO(csv_table(["x"], [[value] for value in values])))
    assert [float(row[0]) for row in list(back)[1:]] == values


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "-", "=", "+1 2"])
def test_formulas_are_kept_from_running(text: str) -> None:
    """In the head as well as below it."""
    back = list(csv.reader(io.StringIO(csv_table([text], [[text]]), newline="")))
    assert back == [["'" + text], ["'" + text]]


@pytest.mark.parametrize("cell", ["-3.5", "+1e-3", "-inf", -3.5, -1, "a=b", "1-2", "", "'"])
def test_numbers_and_plain_texts_are_left_alone(cell: exports.Cell) -> None:
    back = list(csv.reader(io.StringIO(csv_table(["x", "y"], [[cell, 0]]))))
    assert back[1][0] == str(cell)


def zeros(*shape: int) -> torch.Tensor:
    """Of any size, without its memory."""
    return torch.zeros(1, dtype=torch.uint8).expand(*shape)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: png(zeros(8000, 8000)), "has 64,000,000 pixels in all, but must have 1 to 32,000,000"),
        (lambda: png(zeros(0, 5)), "has 0 pixels"),
        (lambda: png(zeros(5, 5, 4)), r"shape \(5, 5, 4\), but must have \[H, W\] or \[H, W, 3\]"),
        (lambda: png(zeros(5)), r"shape \(5,\)"),
        (lambda: filmstrip(zeros(10_000, 100, 100)), "must have 1 to 32,000,000"),
        (lambda: filmstrip(zeros(3, 4, 4), 10_000_000), "must have 1 to 32,000,000"),
        (lambda: filmstrip(zeros(3, 4, 4), -1), "The gap is -1"),
        (lambda: filmstrip(zeros(0, 4, 4)), "has 0 pixels"),
        (lambda: lattice_png(zeros(10_000, 100, 100), 100), "must have 1 to 32,000,000"),
        (lambda: lattice_png(zeros(1, 4, 4), 10_000_000), "must have 1 to 32,000,000"),
        (lambda: lattice_png(zeros(4, 4, 4), 0), "Columns is 0"),
        (lambda: gif(zeros(601, 4, 4), 100), "has 601 frames, but at most 600"),
        (lambda: gif(zeros(302, 4, 4), 100, back=True), "has 602 frames"),
        (lambda: gif(zeros(600, 100, 100), 100, 3), "must have 1 to 32,000,000"),
        (lambda: gif(zeros(0, 4, 4), 100), "has 0 pixels"),
        (lambda: gif(zeros(2, 4, 4), 15), "lasts 15 ms, but must last 20, 30, … 10,000 ms"),
        (lambda: gif(zeros(2, 4, 4), 10), "lasts 10 ms"),
        (lambda: gif(zeros(2, 4, 4), 10_010), "lasts 10010 ms"),
        (lambda: gif(zeros(2, 4, 4), 100, 0), "The scale is 0"),
        (lambda: csv_table(["a", "b"], [[1, 2], [3]]), "Row 2 has 1 cells, but there are 2 names"),
        (lambda: csv_table(["a"], [[1]] * 2_000_000), "at most 2,000,000 cells"),
    ],
)  # fmt: skip
def test_what_is_out_of_bounds_is_told(call: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call()
