"""What the state takes to keep the shapes of every annotation set: bytes and CPU seconds.

    python -m benchmarks.run base-sets

One million boxes each, in the number formats of different sources, ten in an image. The state is written in pages of
1,000 images, as `apply` does.
"""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from benchmarks.measuring import Bench
from metalake_sync.core.metadata import NO_METADATA
from metalake_sync.core.shapes import AttributeValue, ImageRecord, Shape, ShapeType, encode_record
from metalake_sync.core.snapshots import AnnotationKind, CollectionKey, DesiredSet, Fingerprint, MediaType, Origin
from metalake_sync.state.files import ConfirmedFile
from metalake_sync.state.store import StateStore

BOXES_PER_IMAGE = 10
PAGE = 1000
GOAL_BYTES = 40

Box = tuple[float, float, float, float]


def pixels(chance: random.Random) -> Box:
    return (*(float(chance.randrange(500)) for _ in range(2)), *(float(chance.randrange(10, 140)) for _ in range(2)))


def hundredths(chance: random.Random) -> Box:
    return tuple(round(chance.uniform(0, 320), 2) for _ in range(4))  # type: ignore[return-value]


def fractions(chance: random.Random) -> Box:
    return tuple(round(chance.uniform(0, 0.5), 6) for _ in range(4))  # type: ignore[return-value]


def fractions_in_pixels(chance: random.Random) -> Box:
    x, y, width, height = fractions(chance)
    return (x + width / 2) * 640, (y + height / 2) * 480, width * 640, height * 480


def of_a_model(chance: random.Random) -> Box:
    return struct.unpack("4f", struct.pack("4f", *(chance.uniform(0, 320) for _ in range(4))))


SOURCES: Mapping[str, tuple[Callable[[random.Random], Box], int, bool]] = {
    "whole pixels, 3 labels, attributes (VOC)": (pixels, 3, False),
    "hundredths, 80 labels (COCO)": (hundredths, 80, False),
    "fractions of 6 digits, 20 labels (YOLO)": (fractions, 20, False),
    "the same, converted to pixels": (fractions_in_pixels, 20, False),
    "32-bit floats with confidences (a model)": (of_a_model, 20, True),
}


@dataclass
class Source:
    """Makes the sets of one source, and counts the bytes of their canonical JSON."""

    box: Callable[[random.Random], Box]
    labels: int
    is_model: bool
    json_bytes: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(17))

    def record(self, image: str) -> ImageRecord:
        made = ImageRecord(image, tuple(self._shape() for _ in range(BOXES_PER_IMAGE)))
        self.json_bytes += len(encode_record(made))
        return made

    def _shape(self) -> Shape:
        x, y, width, height = self.box(self.chance)
        attributes = {}
        if self.labels == 3:
            attributes = {
                name: (AttributeValue(self.chance.choice(values)),)
                for name, values in (("pose", ["Unspecified"]), ("truncated", ["0", "1"]), ("difficult", ["0", "1"]))
            }
        confidence = round(self.chance.random(), 6) if self.is_model else None
        label = f"label-{self.chance.randrange(self.labels)}"
        return Shape(ShapeType.RECTANGLE, ((x, y), (width, height)), label, confidence, attributes=attributes)


def base_sets(bench: Bench) -> None:
    """The state's bytes for each box."""
    images = bench.count(100_000)
    boxes = images * BOXES_PER_IMAGE
    print(f"\n| {boxes:,} boxes | canonical JSON | state without | with | for each box | CPU seconds for all |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, (box, labels, is_model) in SOURCES.items():
        without, _ = _state(bench.scratch / "without.db", images, None)
        source = Source(box, labels, is_model)
        with_bases, seconds = _state(bench.scratch / "with.db", images, source)
        json_bytes = source.json_bytes
        each = (with_bases - without) / boxes
        print(
            f"| {name} | {json_bytes / boxes:.0f} | {without / 1e6:.0f} MB | {with_bases / 1e6:.0f} MB"
            f" | {each:.1f} B, {json_bytes / boxes / each:.0f} × less | {seconds:.1f} |"
        )
        bench.row(f"base sets, {name}", f"{each:.1f} B", "", "", f"{GOAL_BYTES} B for each box", each <= GOAL_BYTES)


def _state(path: Path, images: int, source: Source | None) -> tuple[int, float]:
    """Write a state. Returns its bytes, and the CPU seconds that its sets took without making the records."""
    seconds = 0.0
    with StateStore(path) as state:
        with state.write():
            handle = state.collections.record("lake", CollectionKey(MediaType.IMAGE, "many"), "id", "many")
        numbers = iter(range(images))
        while page := [f"{number:06d}.jpg" for number in islice(numbers, PAGE)]:
            records = {name: source.record(name) for name in page} if source is not None else {}
            sets = [(name, DesiredSet("human", AnnotationKind.HUMAN, f"{name:0>64}", BOXES_PER_IMAGE)) for name in page]
            with state.write():
                state.files.record(handle, map(_confirmed, page), "run")
                began = time.process_time()
                state.annotation_sets.record(handle, sets, lambda name, _, page=records: page.get(name))
                seconds += time.process_time() - began
    size_bytes = path.stat().st_size
    path.unlink()
    return size_bytes, seconds


def _confirmed(name: str) -> ConfirmedFile:
    fingerprint = Fingerprint(1000, 1, 2, 3)
    return ConfirmedFile(
        name, f"images/{name}", fingerprint, "0" * 64, NO_METADATA, "1" * 24, f"many_{name}", Origin.UPLOADED
    )
