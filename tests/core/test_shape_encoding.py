"""The encoding of base sets is exact, small, and says what it can't read."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metalake_sync.core.shape_encoding import NoSharedTexts, UnreadableSet, decode_shapes, encode_shapes
from metalake_sync.core.shapes import AttributeValue, ImageRecord, Shape, ShapeType, encode_record
from tests.core.shape_text import random_sets

SETTINGS = settings(deadline=None, max_examples=80)

NUMBERS = st.one_of(
    st.integers(-5000, 5000).map(float),
    st.integers(0, 10**6).map(lambda number: number / 100),
    st.integers(0, 10**6).map(lambda number: number / 10**6),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.just(-0.0),
)
POINTS = st.tuples(NUMBERS, NUMBERS)
TEXTS = st.text(max_size=8)
JSON_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS
)
CONFIDENCES = st.one_of(st.none(), st.floats(0, 1), st.just(1))
VALUES = st.builds(AttributeValue, JSON_VALUES, CONFIDENCES, st.dictionaries(TEXTS, JSON_VALUES, max_size=2))
BOXES = st.builds(lambda *points: (ShapeType.RECTANGLE, points), POINTS, POINTS)
LINES = st.tuples(
    st.sampled_from([ShapeType.POLYGON, ShapeType.LINE, ShapeType.POINTS]), st.lists(POINTS, max_size=5).map(tuple)
)


@st.composite
def any_shape(draw: st.DrawFn) -> Shape:
    shape_type, points = draw(st.one_of(BOXES, LINES))
    attributes = draw(st.dictionaries(TEXTS, st.lists(VALUES, max_size=2).map(tuple), max_size=2))
    metadata = draw(st.dictionaries(TEXTS, JSON_VALUES, max_size=2))
    return Shape(shape_type, points, draw(TEXTS), draw(CONFIDENCES), metadata, attributes)


class Texts:
    """Shares all texts that are likely to return."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def number(self, text: str, *, likely: bool) -> int | None:
        if text not in self.texts:
            if not likely:
                return None
            self.texts.append(text)
        return self.texts.index(text)

    def text(self, number: int) -> str:
        return self.texts[number]


def record(*shapes: Shape, normalized: bool = False) -> ImageRecord:
    return ImageRecord("a.jpg", shapes, normalized)


@SETTINGS
@given(st.lists(st.lists(any_shape(), max_size=6), max_size=3), st.booleans())
def test_decoded_sets_have_the_same_canonical_bytes(sets: list[list[Shape]], normalized: bool) -> None:
    texts = Texts()
    records = [record(*shapes, normalized=normalized) for shapes in sets]
    encoded = [encode_shapes(one, texts) for one in records]
    decoded = [decode_shapes(data, "a.jpg", texts) for data in encoded]
    assert decoded == records
    assert [*map(encode_record, decoded)] == [*map(encode_record, records)]


@SETTINGS
@given(random_sets)
def test_sets_can_contain_their_texts_themselves(shapes: tuple[Shape, ...]) -> None:
    one = record(*shapes)
    assert decode_shapes(encode_shapes(one, NoSharedTexts()), "a.jpg", NoSharedTexts()) == one


@pytest.mark.parametrize("length", range(40))
def test_incomplete_bytes_are_unreadable(length: int) -> None:
    one = record(*(Shape(ShapeType.RECTANGLE, ((n * 1.5, 2.0), (3.0, 4.0)), "cell", 0.5) for n in range(20)))
    data = encode_shapes(one, NoSharedTexts())
    assert len(data) > 40
    with pytest.raises(UnreadableSet):
        decode_shapes(data[:length], "a.jpg", NoSharedTexts())


def test_another_version_is_unreadable() -> None:
    data = encode_shapes(record(), NoSharedTexts())
    with pytest.raises(UnreadableSet, match="another version"):
        decode_shapes(bytes([data[0] + 1]) + data[1:], "a.jpg", NoSharedTexts())


def test_a_missing_shared_text_makes_the_set_unreadable() -> None:
    data = encode_shapes(record(Shape(ShapeType.RECTANGLE, ((1.0, 2.0), (3.0, 4.0)), "cell")), Texts())
    with pytest.raises(UnreadableSet):
        decode_shapes(data, "a.jpg", NoSharedTexts())


@pytest.mark.parametrize(
    ("digits", "limit"), [pytest.param(0, 12, id="whole pixels"), pytest.param(2, 18, id="hundredths of pixels")]
)
def test_ten_boxes_take_few_bytes(digits: int, limit: int) -> None:
    """The labels and the values of attributes are shared; the places are not."""
    chance = random.Random(17)
    attributes = {"difficult": (AttributeValue("0"),), "pose": (AttributeValue("Unspecified"),)}

    def number(most: int) -> float:
        return round(chance.uniform(0, most), digits)

    boxes = [
        Shape(
            ShapeType.RECTANGLE,
            ((number(600), number(400)), (number(200), number(200))),
            chance.choice(["RBC", "WBC"]),
            attributes=attributes,
        )
        for _ in range(10)
    ]
    assert len(encode_shapes(record(*boxes), Texts())) <= 10 * limit
