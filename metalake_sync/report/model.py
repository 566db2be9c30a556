"""What a report shows: entries with their actions, images and annotation sets.

Owns: the input of `pages.render_report`. Must not: read images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import field
from typing import Protocol

from metalake_sync.core.shape_diff import Diff, diff_of_shapes
from metalake_sync.core.shape_values import OrderKey, Size, common_frame, order_key
from metalake_sync.core.shapes import ImageRecord, Shape
from metalake_sync.errors import SyncError
from metalake_sync.lazy_dataclass import dataclass

MAX_IMAGES = 200
MAX_BYTES = 20_000_000
MIN_BYTES = 200_000
"""Below this, the page without any image might not fit."""


class ImageUnavailable(SyncError):
    """The bytes of an image are not available. The message is a clause without a full stop."""


class ImageFile(Protocol):
    """The bytes of one image."""

    def opened(self) -> AbstractContextManager[str]:
        """Return a context with the path of a file that has the bytes. Raises ImageUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class SetChange:
    """The annotation set of one image in one operation, before and after."""

    operation: str
    kind: str
    """`human` or `machine`; empty if unknown."""
    diff: Diff
    """Without `before_known`, all shapes after the change are `added`."""
    before_known: bool = True
    """False: the plan did not read the set that the lake has."""
    unchanged: tuple[Shape, ...] = ()
    """Unchanged shapes, in the unit of the diff. May be fewer than the diff counts."""
    not_listed: int = 0
    """The number of changes that the plan leaves out."""
    summary: str = ""
    """The change as text, where `diff` does not contain all of it. Empty: made from `diff`."""
    remarks: tuple[str, ...] = ()
    """Sentences about the change."""


@dataclass(frozen=True, slots=True)
class ActionLine:
    """One action on a file or a collection."""

    sign: str
    name: str
    reason: str
    details: tuple[str, ...] = ()
    """The values behind the reason, one sentence or pair of values each."""
    of_set: bool = False
    """Whether the details are about an annotation set."""


def _no_sets() -> Sequence[SetChange]:
    return ()


@dataclass(frozen=True, slots=True)
class Entry:
    """All actions on one file, or on a collection itself."""

    collection: str
    type: str
    """The media type of the collection."""
    file: str | None
    """None: the collection itself."""
    actions: tuple[ActionLine, ...]
    ours: ImageFile | None = None
    """The local image, or for images that are only in the lake, the lake's. None: the entry has no image."""
    theirs: ImageFile | None = None
    """The image that is replaced."""
    is_new: bool = False
    """Whether the file is uploaded and was not in the lake before."""
    load_sets: Callable[[], Sequence[SetChange]] = _no_sets
    """Called only for entries that are shown with their image. May raise SyncError."""
    group: Hashable = None
    """Entries of one collection with equal groups change in the same way. None: no other entry does."""
    group_text: str = ""
    """The change that the group has in common."""
    labels: tuple[str, ...] = ()
    """Labels to filter by, of entries that are shown without their image."""


@dataclass(frozen=True, slots=True)
class ReportPlan:
    """The plan."""

    manifest: str
    summary: tuple[str, ...]
    """The counts, as lines."""
    entries: Sequence[Entry]
    """In the order of the plan."""
    label_sums: Mapping[str, int] = field(default_factory=dict)
    """Label → by how many shapes it grows or shrinks."""
    warnings: Sequence[tuple[str, str, str]] = ()
    """Code, message and place of each note."""
    remarks: tuple[str, ...] = ()
    """Sentences about the report, such as what a saved plan does not contain."""


def set_change(
    operation: str, kind: str, before: ImageRecord | None, after: ImageRecord, size: Size | None = None
) -> SetChange:
    """Return the change from one set to another. `before`: None if it is unknown. `size`: of the displayed image.

    Raises UnknownImageSize where one set is in pixels, the other in fractions, and the size is unknown."""
    known = before is not None
    before = before if before is not None else ImageRecord(after.image, ())
    frame = common_frame((before, after), size)
    change = diff_of_shapes(frame.converted(before), frame.converted(after), frame)
    return SetChange(operation, kind, change, known, tuple(unchanged_shapes(change, after)))


def unchanged_shapes(change: Diff, after: ImageRecord) -> Iterator[Shape]:
    """Yield the shapes of a set after a change that the change leaves as they are, in the unit of the diff."""
    changed: Counter[OrderKey] = Counter(map(order_key, change.added))
    changed.update(order_key(one.after) for one in change.changed)
    for shape in change.frame.converted(after):
        key = order_key(shape)
        if changed[key]:
            changed[key] -= 1
        else:
            yield shape
