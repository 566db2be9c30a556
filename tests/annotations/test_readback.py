"""Sets that the lake returns are distinguished from sets that another client wrote."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from metalake_sync.annotations.readback import is_as_sent, read_back
from metalake_sync.core.shapes import AttributeValue, ImageRecord, Shape, ShapeType
from metalake_sync.core.snapshots import AnnotationKind
from tests.embedded_lake.talk import png

HUMAN, MACHINE = AnnotationKind.HUMAN, AnnotationKind.MACHINE
BOX = Shape(ShapeType.RECTANGLE, ((1.0, 2.0), (3.0, 4.0)), "bird")
LINE = Shape(ShapeType.LINE, ((0.0, 0.0), (5.0, 5.0)), "wire", 0.5)


def back_of(*shapes: dict[str, Any]) -> ImageRecord | None:
    return read_back(shapes)[1]


def wire(*bbox: float, **more: Any) -> dict[str, Any]:
    return {"type": "rectangle", "bbox": list(bbox), "label": "bird", "metadata": {}, "attributes": {}, **more}


def test_equal_shapes_are_as_sent_in_any_order_and_within_the_tolerance() -> None:
    sent = ImageRecord("a.png", (BOX, LINE))
    line = {"type": "line", "line": [[0, 0], [5, 5]], "label": "wire", "confidence": 0.5}
    assert is_as_sent(sent, HUMAN, back_of(wire(1, 2, 3, 4), line), "")
    assert is_as_sent(sent, HUMAN, back_of(line, wire(1.0004, 2, 3, 4)), "")


@pytest.mark.parametrize(
    "drawn",
    [
        [],
        [wire(1, 2, 3, 4), wire(1, 2, 3, 4)],
        [wire(1, 2, 3, 5)],
        [wire(1, 2, 3, 4, label="cat")],
        [wire(1, 2, 3, 4, confidence=0.5)],
        [wire(1, 2, 3, 4, metadata={"by": "him"})],
        [wire(1, 2, 3, 4, attributes={"size": [{"value": "small", "confidence": 1}]})],
    ],
)
def test_different_shapes_are_not_as_sent(drawn: list[dict[str, Any]]) -> None:
    assert not is_as_sent(ImageRecord("a.png", (BOX,)), HUMAN, back_of(*drawn), "")


def test_sent_fractions_equal_the_pixels_that_the_lake_returns(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(40, 20))
    sent = ImageRecord("a.png", (replace(BOX, points=((0.25, 0.5), (0.5, 0.25))),), normalized=True)
    assert is_as_sent(sent, HUMAN, back_of(wire(10, 10, 20, 5)), str(tmp_path / "a.png"))
    assert not is_as_sent(sent, HUMAN, back_of(wire(10, 10, 20, 6)), str(tmp_path / "a.png"))
    # A set that cannot be compared counts as sent.
    assert is_as_sent(sent, HUMAN, back_of(wire(9, 9, 9, 9)), str(tmp_path / "nobody.png"))


def test_human_shapes_have_confidence_1_and_machine_shapes_may_have_none() -> None:
    sized = replace(BOX, attributes={"size": (AttributeValue(3),)})
    for kind, confidence in ((HUMAN, 1), (MACHINE, 0)):
        there = wire(1, 2, 3, 4, attributes={"size": [{"value": "3", "confidence": confidence, "metadata": {}}]})
        assert is_as_sent(ImageRecord("a.png", (sized,)), kind, back_of(there), "")


def test_a_set_of_unknown_form_has_a_digest_and_counts_as_sent() -> None:
    digest, record = read_back([{"type": "sphere"}])
    assert record is None
    assert digest != read_back([{"type": "cube"}])[0]
    assert is_as_sent(ImageRecord("a.png", (BOX,)), HUMAN, record, "")
