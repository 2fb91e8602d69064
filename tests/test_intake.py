import io
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from vae_core import intake
from vae_core.datasets import DATASETS, Part, Split
from vae_core.framing import FRAMINGS
from vae_core.intake import Intake, from_sketch, read_picture, read_row

Load = Callable[[str, Part], Split]
MNIST = (1, 28, 28)
KINDS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
INVERTED = "inverted: dark ink on light paper became light on dark"
GREYED = "colour turned into grey"
STRETCHED = "contrast stretched: the paper became black, the strongest ink white"
TRANSPARENT = "transparent parts taken as background"
TURNED = "turned upright, as the camera noted"
CENTRED = "cut to the ink and centred by its mass, as the MNIST images are"


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def stroke(size: tuple[int, int] = (60, 80)) -> np.ndarray:
    """Grey levels [H, W]: an L of light ink on black, whose four turns and mirror images all differ."""
    width, height = size
    grey = np.zeros((height, width), dtype=np.uint8)
    grey[height // 4 : 3 * height // 4, width // 3 : width // 3 + 6] = 255
    grey[3 * height // 4 - 6 : 3 * height // 4, width // 3 : 5 * width // 6] = 255
    return grey


def difference(found: Intake, expected: np.ndarray) -> float:
    """Mean absolute difference in grey levels of 0…255."""
    return float(np.abs(found.pixels.numpy().astype(float) - expected.flatten()).mean())


def on_paper(grey: np.ndarray, ink: tuple[int, int, int], paper: tuple[int, int, int]) -> Image.Image:
    share = grey[..., None] / 255
    return Image.fromarray((share * np.array(ink) + (1 - share) * np.array(paper)).round().astype(np.uint8))


LIGHT, DARK = Image.fromarray(stroke()), Image.fromarray(255 - stroke())


def sixteen_bit() -> Image.Image:
    return Image.fromarray(stroke().astype(np.uint16) * 257)


def see_through(level: int = 0) -> Image.Image:
    """The ink alone, of one grey level, on nothing."""
    return Image.merge("LA", (Image.new("L", LIGHT.size, level), LIGHT))


MODES: dict[str, tuple[Callable[[], tuple[Image.Image, str]], set[str]]] = {
    "1": (lambda: (LIGHT.convert("1"), "PNG"), set()),
    "1 inverted": (lambda: (DARK.convert("1"), "PNG"), {INVERTED}),
    "L": (lambda: (LIGHT, "PNG"), set()),
    "L inverted": (lambda: (DARK, "PNG"), {INVERTED}),
    "LA": (lambda: (see_through(), "PNG"), {TRANSPARENT, INVERTED}),
    "LA opaque": (lambda: (DARK.convert("LA"), "PNG"), {INVERTED}),
    "P": (lambda: (DARK.convert("P"), "PNG"), {INVERTED}),
    "RGB": (lambda: (DARK.convert("RGB"), "PNG"), {INVERTED}),
    "RGB coloured": (lambda: (on_paper(stroke(), (20, 40, 90), (255, 255, 255)), "PNG"), {GREYED, INVERTED, STRETCHED}),
    "RGBA": (lambda: (see_through().convert("RGBA"), "PNG"), {TRANSPARENT, INVERTED}),
    "RGBA white ink": (lambda: (see_through(255).convert("RGBA"), "PNG"), {TRANSPARENT}),
    "CMYK": (lambda: (DARK.convert("RGB").convert("CMYK"), "JPEG"), {INVERTED}),
    "I;16": (lambda: (sixteen_bit(), "PNG"), {"16-bit grey levels reduced to 8 bits"}),
}  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gives_the_same_example(mode: str) -> None:
    """Against the plain light-on-dark picture; a JPEG differs by what it loses."""
    make, said = MODES[mode]
    image, kind = make()
    assert image.mode == mode.split()[0]
    data = saved(image, kind, **({"quality": 95} if kind == "JPEG" else {}))
    found, plain = read_picture(data, MNIST), read_picture(saved(LIGHT), MNIST)
    assert difference(found, plain.pixels.numpy()) <= (2.0 if kind == "JPEG" else 0.0)
    assert plain.notes == (CENTRED, "reduced from 60×80 to 28×28 by area averaging")
    assert set(found.notes) == said | set(plain.notes)


@pytest.mark.parametrize("kind", KINDS)
def test_every_accepted_kind_is_read(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    found = read_picture(saved(DARK, kind, **options), MNIST)
    assert difference(found, read_picture(saved(LIGHT), MNIST).pixels.numpy()) <= (2.0 if kind == "JPEG" else 0.0)
    assert INVERTED in found.notes


@pytest.mark.parametrize("grey", [stroke((28, 28)), 255 - stroke((28, 28))], ids=["light on dark", "dark on light"])
def test_grey_levels_of_the_right_size_pass_unchanged(grey: np.ndarray) -> None:
    found = read_picture(saved(Image.fromarray(grey)), MNIST)
    assert np.array_equal(found.pixels.numpy(), grey.flatten())
    assert found.pixels.dtype == torch.uint8
    assert found.notes == ()


def test_colours_of_the_right_size_are_converted_where_they_stand() -> None:
    found = read_picture(saved(on_paper(stroke((28, 28)), (0, 0, 0), (255, 255, 255))), MNIST)
    assert np.array_equal(found.pixels.numpy(), stroke((28, 28)).flatten())
    assert found.notes == (INVERTED,)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_camera_is_undone(orientation: int) -> None:
    """Stored as the orientation's inverse, by the table of the EXIF standard, a picture comes back upright."""
    undo = {
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: np.transpose,
        6: lambda a: np.rot90(a, 1), 7: lambda a: np.rot90(a, 2).T, 8: lambda a: np.rot90(a, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored = Image.fromarray(np.ascontiguousarray(undo(stroke())))
    found = read_picture(saved(stored, exif=exif), MNIST)
    upright = read_picture(saved(LIGHT), MNIST)
    assert torch.equal(found.pixels, upright.pixels)
    assert found.notes == ((TURNED,) if orientation > 1 else ()) + upright.notes


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_picture_of_an_animation_is_taken(kind: str) -> None:
    data = saved(LIGHT, kind, save_all=True, append_images=[DARK], duration=100, lossless=True)
    found = read_picture(data, MNIST)
    assert torch.equal(found.pixels, read_picture(saved(LIGHT), MNIST).pixels)
    assert found.notes[0] == "only the first picture of the animation taken"


def test_the_size_of_a_file_is_limited() -> None:
    with pytest.raises(ValueError, match=r"The file has 5\.0 MB, but at most 5 MB are accepted\."):
        read_picture(bytes(intake.MAX_BYTES + 1), MNIST)


@pytest.mark.parametrize(("width", "height"), [(4001, 10), (10, 4001), (60_000, 60_000), (12_000, 8_000)])
def test_too_many_pixels_are_refused_before_they_are_decoded(width: int, height: int) -> None:
    """The files hold a header and no pixels, as decoding would notice; the last two alarm Pillow as well."""
    header = bytearray(saved(Image.new("L", (1, 1)), "BMP"))
    header[18:26] = width.to_bytes(4, "little") + height.to_bytes(4, "little")
    with pytest.raises(ValueError, match="Accepted are 1 to 4,000 pixels a side, at most 16 million in all"):
        read_picture(bytes(header), MNIST)


def test_large_pictures_are_reduced_in_two_steps() -> None:
    large = Image.fromarray(stroke().repeat(50, axis=0).repeat(50, axis=1))
    found = read_picture(saved(large), MNIST)
    assert torch.equal(found.pixels, read_picture(saved(LIGHT), MNIST).pixels)
    assert found.notes == (
        "of 3000×4000 pixels every 5×5 averaged into one",
        CENTRED,
        "reduced from 600×800 to 28×28 by area averaging",
    )


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"%PDF-1.7 ...", b"<svg></svg>", saved(LIGHT, "TIFF"), saved(LIGHT, "ICO")],
    ids=["nothing", "text", "pdf", "svg", "tiff", "ico"],
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a picture.* Accepted are PNG, JPEG, WebP, BMP and GIF"):
        read_picture(data, MNIST)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files_are_refused(kind: str, share: float) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 40), dtype=np.uint8))
    data = saved(noise, kind)
    with pytest.raises(ValueError, match="damaged"):
        read_picture(data[: int(share * len(data))], MNIST)


@pytest.mark.parametrize("axis", [16, 20])
def test_pictures_without_pixels_are_refused(axis: int) -> None:
    png = bytearray(saved(LIGHT))
    png[axis : axis + 4] = bytes(4)
    with pytest.raises(ValueError, match=r"damaged|0×80|60×0"):
        read_picture(bytes(png), MNIST)


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("size", [(28, 28), (60, 80)])
def test_blank_pictures_are_refused(level: int, size: tuple[int, int]) -> None:
    grey = np.full(size[::-1], level, dtype=np.uint8)
    grey[5, 5] ^= 15
    with pytest.raises(ValueError, match="blank: its grey levels lie within"):
        read_picture(saved(Image.fromarray(grey)), MNIST)


def test_a_pattern_too_fine_to_be_seen_is_blank() -> None:
    board = np.indices((1024, 1024)).sum(0) % 2 * 255
    with pytest.raises(ValueError, match="blank"):
        read_picture(saved(Image.fromarray(board.astype(np.uint8))), MNIST)


def test_large_examples_pass_unchanged() -> None:
    """Pictures as large as those are not reduced first."""
    grey = np.random.default_rng(1).integers(0, 256, (1100, 1100), dtype=np.uint8)
    found = read_picture(saved(Image.fromarray(grey)), (1, 1100, 1100))
    assert np.array_equal(found.pixels.numpy(), grey.flatten())
    assert found.notes == ()


def test_a_picture_that_is_all_transparent_is_blank() -> None:
    with pytest.raises(ValueError, match="blank"):
        read_picture(saved(Image.new("RGBA", (40, 40), (255, 0, 0, 0))), MNIST)


@pytest.mark.parametrize("shape", [(1, 1, 30), (3, 32, 32)])
def test_shapes_that_no_picture_fits_are_named(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"one channel and at least 2×2 pixels. Give a row of numbers"):
        read_picture(saved(LIGHT), shape)
    with pytest.raises(ValueError, match="one channel"):
        from_sketch(torch.ones(64, dtype=torch.uint8), shape)


DISGUISES: dict[str, Callable[[np.ndarray], Image.Image]] = {
    "as it is": Image.fromarray,
    "inverted": lambda grey: Image.fromarray(255 - grey),
    "coloured": lambda grey: on_paper(grey, (20, 30, 120), (250, 245, 230)),
    "transparent": lambda grey: Image.merge("LA", (Image.new("L", grey.shape[::-1]), Image.fromarray(grey))),
}


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("name", FRAMINGS)
def test_real_examples_come_back_from_large_pictures(name: str, disguise: str, load: Load) -> None:
    """Ten times as large and otherwise coloured, in a margin. Of 40 examples the mean difference, in grey levels of
    255, is below 0.3 for MNIST; the other sets have examples that stand a pixel off the middle."""
    shape = DATASETS[name].shape
    differences = []
    for example in load(name, "test").x[:40].reshape(-1, *shape[1:]).numpy():
        large = np.pad(example.repeat(10, axis=0).repeat(10, axis=1), ((37, 52), (20, 81)))
        found = read_picture(saved(DISGUISES[disguise](large)), shape, name)
        differences.append(difference(found, example))
    assert np.median(differences) < 0.3
    assert np.mean(differences) < {"mnist": 0.3, "fashion": 2, "digits": 5}[name]


def test_a_photograph_of_paper_loses_its_noise_and_shadow(load: Load) -> None:
    """Dark ink on paper that is darker on one side, with noise of the sensor."""
    example = load("mnist", "test").x[0].reshape(28, 28).numpy()
    ink = np.pad(example.repeat(10, axis=0).repeat(10, axis=1), 100) / 255
    generator = np.random.default_rng(1)
    paper = np.linspace(190, 215, ink.shape[1])[None] + generator.normal(0, 2, ink.shape)
    photo = (paper * (1 - 0.8 * ink)).clip(0, 255).astype(np.uint8)
    found = read_picture(saved(Image.fromarray(photo), "JPEG", quality=92), MNIST)
    assert difference(found, example) < 6
    assert (found.pixels.reshape(28, 28)[0] == 0).all()
    assert {INVERTED, STRETCHED, CENTRED} <= set(found.notes)


def test_sketches_are_framed_as_pictures_are() -> None:
    sketch = np.zeros((112, 112), dtype=np.uint8)
    sketch[:80, :60] = stroke()
    found = from_sketch(torch.from_numpy(sketch).flatten(), MNIST)
    assert torch.equal(found.pixels, read_picture(saved(Image.fromarray(sketch)), MNIST).pixels)
    assert found.notes == (CENTRED, "reduced from 112×112 to 28×28 by area averaging")


def test_a_sketch_is_never_inverted() -> None:
    """It is light on dark by its making, even where the ink fills the pad."""
    sketch = torch.full((112, 112), 255, dtype=torch.uint8)
    sketch[40:60, 40:60] = 0
    found = from_sketch(sketch.flatten(), MNIST, "fashion")
    assert found.pixels.reshape(28, 28)[0, 0] == 255
    assert found.pixels.reshape(28, 28)[12, 12] == 0


def test_a_sketch_of_the_right_size_passes_unchanged() -> None:
    sketch = torch.from_numpy(stroke((28, 28))).flatten()
    assert torch.equal(from_sketch(sketch, MNIST).pixels, sketch)


@pytest.mark.parametrize(
    ("sketch", "sentence"),
    [(torch.zeros(112 * 112), "is empty"), (torch.ones(50), "has 50 pixels"), (torch.ones(0), "has 0 pixels")],
)
def test_sketches_that_are_none_are_refused(sketch: torch.Tensor, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        from_sketch(sketch.to(torch.uint8), MNIST)


@pytest.mark.parametrize(
    "text",
    ["1,-.5,2.5e-3,0", "1;-.5;2.5e-3;0", "1\t-.5\t2.5e-3\t0", " 1 -.5  2.5e-3 0\r\n", "\ufeff1, -0.5, 0.0025, 0\n"],
)
def test_rows_are_read_with_every_separator(text: str) -> None:
    assert torch.equal(read_row(text, 4), torch.tensor([1, -0.5, 2.5e-3, 0]))


@pytest.mark.parametrize("features", [1, 30, 3000])
def test_rows_of_any_length_come_back(features: int) -> None:
    row = torch.randn(features, generator=torch.Generator().manual_seed(1))
    assert torch.equal(read_row(",".join(map(str, row.tolist())), features), row)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "The row has no numbers, but an example has 3"),
        ("1, 2", r"The row has 2 numbers, but an example has 3. Give 3 numbers, separated by comma, semicolon"),
        ("1, 2, 3, 4", "The row has 4 numbers"),
        ("1, two, 3", "Number 2 is “two”, which is no number"),
        ("1,,3", "Number 2 is missing"),
        ("1, 2, nan", "Number 3 is “nan”, but must be finite"),
        ("1, -inf, 3", "Number 2 is “-inf”"),
        ("1e39, 2, 3", "Number 1 is “1e39”, but must be finite"),
        ("1;2;" + "x" * 500, "Number 3 is “x{20}”, which"),
        ("1," * intake.MAX_BYTES, "at most 5,000,000 are accepted"),
    ],
)
def test_rows_that_are_none_are_told_why(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_row(text, 3)


def test_the_limits_are_the_stated_ones() -> None:
    assert (intake.MAX_BYTES, intake.MAX_SIDE, intake.MAX_PIXELS) == (5_000_000, 4_000, 16_000_000)
    assert math.isqrt(intake.MAX_PIXELS) == intake.MAX_SIDE
