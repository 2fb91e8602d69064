"""An address is read as it was written, and what makes no sense in it costs that part alone."""

import math
import random
import urllib.parse
from dataclasses import fields, replace

import pytest

from ui.address import (
    DATA,
    KINDS,
    LASSO_LIMIT,
    LAYERS,
    LIMIT,
    PIN_LIMIT,
    TOOLS,
    Address,
    Bounds,
    Pin,
    Vector,
    View,
    read,
    read_number,
    rounded,
)

BOUNDS = Bounds(dimensions=3, examples=2_000, labels=10)
ANCHORS = ((0.0, 0.0, 0.0), (1.0, -1.5, 0.0001), (-2.0, 0.25, 9_999.9999))
REGION = ((-1.0, -1.0), (1.0, -1.0), (0.0, 1.2345))
PINS = (Pin((0.5, -0.25, 1.0)), Pin(index=0), Pin(index=1_999))
VALUES: dict[str, list[object]] = {
    "kind": [kind for kind in KINDS if kind != "points"],
    "axes": [(0, 1), (2, 0), (1, 2)],
    "base": [(0.0, 0.0, 0.0), (1.5, -2.0, 0.3333), (LIMIT, -LIMIT, 0.0001)],
    "anchors": [ANCHORS],
    "data": list(DATA),
    "layer": list(LAYERS),
    "view": [View(0.0, 0.0, 3.0), View(-1.25, 0.5, 0.0001)],
    "hidden": [(0,), (9, 3, 4)],
    "pins": [PINS[:1], PINS, tuple(Pin(index=k) for k in range(PIN_LIMIT))],
    "lasso": [REGION, tuple((k / 7, -k / 3) for k in range(3))],
    "tool": list(TOOLS),
}
RICH = Address(
    "mnist-20d", "points", (2, 0), (1.0, 2.0, 3.0), ANCHORS, "test", "holes", View(0.1, 0.2, 0.3), (1, 2), PINS, 1,
    REGION, "paths",
)  # fmt: skip


def again(address: Address, bounds: Bounds = BOUNDS) -> tuple[Address, list[str]]:
    """Written into a query string as a browser holds it, and read from there."""
    query = urllib.parse.urlencode(address.params())
    return read(dict(urllib.parse.parse_qsl(query, strict_parsing=True)), address.model, bounds)


def clean(value: object) -> object:
    """As an address holds it."""
    if isinstance(value, tuple) and value and isinstance(value[0], tuple):
        return tuple(rounded(part) for part in value)
    return value


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in VALUES.items() for value in values])
def test_every_part_is_read_as_it_was_written(name: str, value: object) -> None:
    address = replace(Address("mnist-2d"), **{name: clean(value)})  # type: ignore[arg-type]
    assert again(address) == (address, [])


def test_every_field_is_covered() -> None:
    assert set(VALUES) | {"model", "chosen"} == {field.name for field in fields(Address)}


def test_a_rich_address_says_all_its_parts() -> None:
    assert again(RICH) == (RICH, [])
    assert set(RICH.params()) == {field.name for field in fields(Address)}


def random_vector(source: random.Random, length: int) -> Vector:
    scale = source.choice([1e-4, 1.0, 100.0, LIMIT])
    return rounded([source.uniform(-scale, scale) for _ in range(length)])


def random_vectors(source: random.Random, count: int, length: int) -> tuple[Vector, ...]:
    return tuple(random_vector(source, length) for _ in range(count))


def random_address(source: random.Random, bounds: Bounds) -> Address:
    size = bounds.dimensions
    pins = tuple(
        source.choice([Pin(random_vector(source, size)), Pin(index=source.randrange(bounds.examples))])
        for _ in range(source.randint(0, PIN_LIMIT))
    )
    x, y = random_vector(source, 2)
    return Address(
        "a-model",
        kind=source.choice(list(KINDS)),
        axes=source.choice([(), tuple(source.sample(range(size), 2))]),
        base=source.choice([(), random_vector(source, size)]),
        anchors=random_vectors(source, 3, size),
        data=source.choice(list(DATA)),
        layer=source.choice(list(LAYERS)),
        view=source.choice([None, View(x, y, round(source.uniform(1e-4, 100), 4))]),
        hidden=tuple(source.sample(range(bounds.labels), source.randint(0, bounds.labels))),
        pins=pins,
        chosen=source.randrange(len(pins)) if pins else None,
        lasso=source.choice([(), random_vectors(source, source.randint(3, LASSO_LIMIT), 2)]),
        tool=source.choice(["", *TOOLS]),
    )


@pytest.mark.parametrize("seed", range(200))
def test_any_address_is_read_as_it_was_written(seed: int) -> None:
    source = random.Random(seed)
    bounds = Bounds(source.choice([2, 3, 20, 64]), 70_000, source.choice([1, 10, 47]))
    address = random_address(source, bounds)
    assert again(address, bounds) == (address, [])


def test_no_browser_escapes_what_is_written() -> None:
    said = {name: text for name, text in RICH.params().items() if name != "model"}
    assert all(urllib.parse.quote(text, safe="") == text for text in said.values())


def test_what_is_as_always_stays_out() -> None:
    assert Address("m").params() == {"model": "m"}
    assert Address("m", axes=(0, 1), hidden=(), pins=()).params() == {"model": "m", "axes": "0_1"}
    assert Address("m", base=(0.0, 0.0)).params()["base"] == "0_0"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.00005, "0.0001"), (0.00004, "0"), (-0.00004, "0"), (1 / 3, "0.3333"), (2.5, "2.5"), (-1.0, "-1"),
        (100.0, "100"), (9_999.99994, "9999.9999"), (0.1 + 0.2, "0.3"), (-1e4, "-10000"),
    ],
)  # fmt: skip
def test_numbers_are_rounded_to_four_decimals(value: float, text: str) -> None:
    (held,) = rounded([value])
    assert Address("m", base=(held,)).params()["base"] == text
    assert read_number(text) == held
    assert math.copysign(1, held) == 1 or held < 0


LONG = "9" * 10_000
NONSENSE = {
    "kind": ["", "Axes", "axes ", "tsne,umap", LONG, "٣"],
    "axes": ["", "0", "0_1_2", "0_0", "0_3", "-1_0", "a_b", "1e0_0", "0_1.0", "٠_١", "²_1", "0__1", LONG, "0_NaN"],
    "base": ["", "0_0", "0_0_0_0", "1_2_x", "1e9_0_0", "100000_0_0", "10000.0001_0_0", "NaN_0_0", "inf_0_0", "1,5_0_0",
             "0.00001_0_0", "٣_0_0", "+1_0_0", " 1_0_0", "1_0_0\n", "._0_0", "0x1_0_0", "1_0_0_", LONG],
    "anchors": ["", "0_0_0~1_1_1", "0_0_0~1_1_1~2_2_2~3_3_3", "0_0~1_1~2_2", "0_0_0~1_1_1~", "~~", LONG],
    "data": ["", "train", "Sample", LONG],
    "layer": ["", "hole", "none_", LONG],
    "view": ["", "0_0", "0_0_0", "0_0_-1", "0_0_0.00001", "0_0_NaN", "0_0_1e9", "0_0_1_1", LONG],
    "hidden": ["", "10", "-1", "1_", "1.0", "x", "٣", "1_2_1", "_".join("0" * 5_000), LONG],
    "pins": ["", "i", "i-1", "i2000", "i1.5", "i٣", "0_0", "0_0_0~", "i1~i2~x", "NaN_0_0", "I5", LONG,
             "~".join(["i1"] * 13), "~".join(["i1"] * 5_000)],
    "chosen": ["", "12", "-1", "1.0", "x", "٣", "1e0", LONG],
    "lasso": ["", "0_0~1_1", "0_0_0~1_1_1~2_2_2", "~".join(["0_0"] * 61), "0_0~1_1~1e9_0", "~~", LONG],
    "tool": ["", "export", "paths~", LONG],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text"),
    [(name, text) for name, said in NONSENSE.items() for text in said],
    ids=lambda text: ascii(text[:20]),
)
def test_nonsense_costs_one_part_and_says_so(name: str, text: str) -> None:
    without = replace(RICH, **{"kind": "axes", name: getattr(Address(RICH.model), name)})
    if name == "pins":
        without = replace(without, chosen=None)
    params = without.params() | {name: text}
    address, notices = read(params, RICH.model, BOUNDS)
    assert address == without
    (notice,) = notices
    assert notice.startswith(f"The link's “{name}” was left out: ")
    assert notice.endswith(".")
    assert len(notice) < 250
    assert text not in notice or len(text) <= 20


def test_nonsense_everywhere_gives_a_sentence_each() -> None:
    address, notices = read({name: said[-1] for name, said in NONSENSE.items()}, "m", BOUNDS)
    assert address == Address("m")
    assert [notice.split("”")[0] for notice in notices] == [f"The link's “{name}" for name in NONSENSE]


def test_parts_that_need_each_other() -> None:
    address, notices = read({"chosen": "2", "pins": "i1~i2"}, "m", BOUNDS)
    assert address == Address("m", pins=(Pin(index=1), Pin(index=2)))
    assert notices == ["The link's “chosen” was left out: there is no such pin."]
    address, notices = read({"kind": "points", "layer": "holes"}, "m", BOUNDS)
    assert address == Address("m", layer="holes")
    assert notices == ["The link's plane through three points was left out: it names no three points."]


def test_a_space_of_one_dimension_has_one_axis_and_no_other_plane() -> None:
    bounds = Bounds(1, 5, 2)
    assert read({"axes": "0_0"}, "m", bounds) == (Address("m", axes=(0, 0)), [])
    for kind in set(KINDS) - {"axes"}:
        address, (notice,) = read({"kind": kind, "anchors": "0~1~2"}, "m", bounds)
        assert (address.kind, notice.startswith("The link's “kind” was left out: ")) == ("axes", True)


def test_parts_of_others_are_no_concern() -> None:
    assert read({"embed": "true", "v": "1", "model": "other"}, "m", BOUNDS) == (Address("m"), [])


def test_pins_are_kept_up_to_the_limit_the_latest_ones() -> None:
    address, pins = Address("m"), [Pin((float(k), 0.0, 0.0)) for k in range(PIN_LIMIT + 3)]
    for number, pin in enumerate(pins):
        address = address.with_pin(pin)
        assert address.pin == pin
        assert address.pins == tuple(pins[max(0, number + 1 - PIN_LIMIT) : number + 1])


def test_a_pin_that_is_kept_already_is_chosen() -> None:
    address = Address("m", pins=PINS, chosen=2)
    assert address.with_pin(Pin(index=0)) == replace(address, chosen=1)
    assert address.with_pin(Pin((0.5, -0.25, 1.0))) == replace(address, chosen=0)


@pytest.mark.parametrize("chosen", [None, *range(4)])
@pytest.mark.parametrize("gone", range(4))
def test_the_choice_follows_removals(chosen: int | None, gone: int) -> None:
    """It stays on its pin; where that pin goes, on the one before it, else on the first."""
    pins = tuple(Pin(index=k) for k in range(4))
    left = Address("m", pins=pins, chosen=chosen).without_pin(gone)
    assert left.pins == tuple(pin for pin in pins if pin.index != gone)
    expected = None if chosen is None else pins[chosen] if chosen != gone else pins[gone - 1 if gone else 1]
    assert left.pin == expected


def test_the_last_pin_leaves_nothing_chosen() -> None:
    assert Address("m", pins=PINS[:1], chosen=0).without_pin(0) == Address("m")


def test_plane_params_say_the_plane_and_the_data_only() -> None:
    assert set(RICH.plane.params()) == {"model", "kind", "axes", "base", "anchors", "data"}
    assert Address("m", layer="holes", pins=PINS, tool="paths").plane == Address("m")
    told, notices = read(RICH.plane.params(), RICH.model, BOUNDS)
    assert notices == []
    assert told.plane.params() == RICH.plane.params()
