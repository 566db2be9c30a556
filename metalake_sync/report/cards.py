"""One entry with its images as values for the template of a card.

Owns: which figures and enlarged parts a card has. Must not: write HTML, or know the bounds of the whole report.

Longer than 300 lines, because the values of one template are made in one place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence

from metalake_sync.annotations.drawing import label_colors
from metalake_sync.core.shape_diff import Diff
from metalake_sync.core.shape_summary import summary
from metalake_sync.errors import SyncError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.report.model import ActionLine, Entry, ImageFile, ImageUnavailable, SetChange
from metalake_sync.report.overlays import ASPECT, DOT_RADIUS, DrawnChange, Outline, Overlay, number, overlay
from metalake_sync.report.text import SENTENCE_LENGTH, counted, visible
from metalake_sync.report.thumbnails import CHANGED_LONG_SIDE, NEW_LONG_SIDE, DecodedImage, Part, decode_image

PARTS_SHOWN = 12
"""The number of enlarged parts of one annotation set."""

PARTS_PER_KIND = 4
"""How many of them show changes that differ in places and values only."""

CHANGES_LISTED = 100
"""The number of changes of one annotation set that a card lists, those with an enlarged part included."""

LABELS_LISTED = 12
DETAILS_LISTED = 20
COLORS = 500


class Palette:
    """The number and the color of each label on the page. Above COLORS labels, numbers and colors repeat."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, label: str) -> int:
        return self._numbers.setdefault(label, len(self._numbers)) % COLORS

    def colors(self) -> list[tuple[int, str]]:
        """Return the number and the CSS color of each label. The colors are those of `annotations preview`."""
        labels = list(self._numbers)[:COLORS]
        found = label_colors(labels)
        return [(place, "#{:02x}{:02x}{:02x}".format(*found[label])) for place, label in enumerate(labels)]

    def names(self) -> list[tuple[int, str]]:
        """Return the number and the text of each label, sorted by text."""
        return sorted(((place, visible(label)) for label, place in self._first()), key=lambda one: one[1])

    def _first(self) -> list[tuple[str, int]]:
        return list(self._numbers.items())[:COLORS]


@dataclass(frozen=True, slots=True)
class Stroke:
    """One outline of a figure."""

    color: int
    path: str
    dots: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Tag:
    """The number of a change at its place in a figure."""

    text: str
    x: str
    y: str


@dataclass(frozen=True, slots=True)
class Shot:
    """One image with shapes over it."""

    id: str
    image: str
    """The id of its `<image>` element."""
    uri: str | None
    """The image's data URI where this figure is the first to show it, else None."""
    caption: str
    width: int
    height: int
    text: str
    """What a screen reader says."""
    same: tuple[Stroke, ...]
    before: tuple[Stroke, ...]
    after: tuple[Stroke, ...]
    tags: tuple[Tag, ...]
    tag_size: str
    radius: str


@dataclass(frozen=True, slots=True)
class PartShot:
    """One change enlarged."""

    number: int
    sign: str
    verb: str
    text: str
    image: str
    part: Part | None
    """Its own pixels. None: the figure's image is as sharp."""
    view_box: str
    ratio: str
    radius: str
    before: tuple[Stroke, ...]
    after: tuple[Stroke, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """One annotation set of a card."""

    title: str
    summary: str
    shots: tuple[Shot, ...]
    parts: tuple[PartShot, ...]
    others: tuple[tuple[int, str, str, str], ...]
    """Number, sign, verb and text of changes without an enlarged part."""
    remarks: tuple[str, ...]
    legend: tuple[tuple[int, str, int], ...]
    """Color, label and number of shapes of what changes."""


@dataclass(frozen=True, slots=True)
class Card:
    """One entry."""

    number: int
    file: str
    actions: tuple[ActionLine, ...]
    problems: tuple[str, ...]
    sections: tuple[Section, ...]
    labels: str
    """The numbers of the labels, separated by spaces."""
    is_new: bool
    has_image: bool


class CardMaker:
    """Makes the cards of one report."""

    def __init__(self, palette: Palette) -> None:
        self._palette = palette

    def card(self, number: int, entry: Entry) -> Card:
        """Read the images and sets of an entry. What cannot be read is a problem that the card states."""
        problems: list[str] = []
        sets: Sequence[SetChange] = ()
        try:
            sets = entry.load_sets()
        except SyncError as error:
            problems.append(f"Shapes not shown: {_sentence(error.message)}")
        with_parts = not entry.is_new and any(one.before_known and one.diff for one in sets)
        long_side = NEW_LONG_SIDE if entry.is_new else CHANGED_LONG_SIDE
        images = {
            side: self._decoded(image, side, long_side, with_parts, problems)
            for side, image in (("ours", entry.ours), ("theirs", entry.theirs))
            if image is not None
        }
        maker = _SectionMaker(self._palette, number, entry, images)
        sections = tuple(maker.section(one) for one in sets) or maker.plain()
        labels = sorted({self._palette.number(label) for one in sets for label in _labels(one)})
        return Card(
            number,
            visible(entry.file or entry.collection),
            tuple(shown_action(_without_sets(action) if sets else action) for action in entry.actions),
            tuple(problems),
            sections,
            " ".join(map(str, labels)),
            entry.is_new,
            any(image is not None for image in images.values()),
        )

    def _decoded(
        self, image: ImageFile, side: str, long_side: int, with_parts: bool, problems: list[str]
    ) -> DecodedImage | None:
        try:
            return decode_image(image, long_side, with_parts=with_parts and side == "ours")
        except ImageUnavailable as error:
            whose = "The lake's image" if side == "theirs" else "The image"
            problems.append(f"{whose} is not shown: {_sentence(error.message)}")
            return None


class _SectionMaker:
    """Makes the sections of one card. The first figure of an image has its bytes, the others refer to it."""

    def __init__(self, palette: Palette, number: int, entry: Entry, images: dict[str, DecodedImage | None]) -> None:
        self._palette = palette
        self._number = number
        self._entry = entry
        self._images = images
        self._shown: set[str] = set()
        self._shots = 0

    def plain(self) -> tuple[Section, ...]:
        """Return one section for images without annotation sets."""
        shots = tuple(self._shot(side, image, None) for side, image in self._available())
        return (Section("", "", shots, (), (), (), ()),) if shots else ()

    def section(self, change: SetChange) -> Section:
        """Return the section of one set."""
        shots = tuple(self._shot(side, image, change) for side, image in self._available())
        remarks = list(change.remarks)
        is_diff = change.before_known and not self._entry.is_new
        if not change.before_known:
            remarks.append("The shapes in the lake are unknown, because the plan did not read them.")
        if change.not_listed:
            remarks.append(f"{counted(change.not_listed, 'more change')} not listed in the plan.")
        parts: list[PartShot] = []
        others: list[tuple[int, str, str, str]] = []
        image = self._images.get("ours") or self._images.get("theirs")
        size = image.size if image is not None else change.diff.size
        if size is None and change.diff:
            remarks.append("The size of the image is unknown, so its changes are not listed.")
        elif size is not None:
            drawn = overlay(change.diff, change.unchanged, size)
            remarks += _left_out(drawn, drawn_on_image=image is not None)
            if is_diff:
                kinds: Counter[Hashable] = Counter()
                for place, one in enumerate(drawn.changes[:CHANGES_LISTED], start=1):
                    kinds[one.kind] += 1
                    is_enlarged = len(parts) < PARTS_SHOWN and kinds[one.kind] <= PARTS_PER_KIND
                    if image is not None and is_enlarged and not self._entry.theirs:
                        parts.append(self._part(place, one, image))
                    else:
                        others.append((place, one.sign, one.verb, one.text))
                rest = len(drawn.changes) - CHANGES_LISTED
                if rest > 0:
                    remarks.append(f"{counted(rest, 'more change')} drawn on the image, not listed.")
        title = f"{visible(change.operation)} ({change.kind})" if change.kind else visible(change.operation)
        return Section(
            title,
            _summary(change, is_diff),
            shots,
            tuple(parts),
            tuple(others),
            tuple(remarks),
            tuple(self._legend(change.diff)),
        )

    def _available(self) -> Iterator[tuple[str, DecodedImage]]:
        for side in ("theirs", "ours"):
            image = self._images.get(side)
            if image is not None:
                yield side, image

    def _shot(self, side: str, image: DecodedImage, change: SetChange | None) -> Shot:
        element = f"{side}{self._number}"
        first = element not in self._shown
        self._shown.add(element)
        self._shots += 1
        width, height = image.size
        drawn = overlay(change.diff, change.unchanged, image.size) if change is not None else Overlay((), (), 0, 0)
        both = self._entry.theirs is None
        before = [one.before for one in drawn.changes] if both or side == "theirs" else []
        after = [one.after for one in drawn.changes] if both or side == "ours" else []
        is_diff = change is not None and change.before_known and not self._entry.is_new
        caption = "" if both else "in the lake now" if side == "theirs" else "replaces it"
        what = f"{visible(self._entry.file or '')}{', ' + caption if caption else ''}"
        if change is not None:
            what += f": {visible(change.operation)}, {_summary(change, is_diff)}"
        size = max(width, height) / 28
        return Shot(
            f"shot{self._number}-{self._shots}",
            element,
            image.uri if first else None,
            caption,
            width,
            height,
            what,
            self._strokes(drawn.unchanged),
            self._strokes(before),
            self._strokes(after),
            tuple(_tags(drawn.changes, side, both, width, height, size)) if is_diff else (),
            number(size),
            number(max(width, height) * DOT_RADIUS),
        )

    def _part(self, place: int, one: DrawnChange, image: DecodedImage) -> PartShot:
        region = one.region
        return PartShot(
            place,
            one.sign,
            one.verb,
            one.text,
            f"ours{self._number}" if self._images.get("ours") is not None else f"theirs{self._number}",
            image.part(region),
            f"{number(region.x)} {number(region.y)} {number(region.width)} {number(region.height)}",
            number(region.width / region.height if region.height else ASPECT),
            number(max(region.width, region.height) * DOT_RADIUS * 2),
            self._strokes([one.before]),
            self._strokes([one.after]),
        )

    def _strokes(self, outlines: Iterable[Outline | None]) -> tuple[Stroke, ...]:
        return tuple(
            Stroke(
                self._palette.number(outline.label),
                outline.path,
                tuple((number(x), number(y)) for x, y in outline.dots),
            )
            for outline in outlines
            if outline is not None
        )

    def _legend(self, diff: Diff) -> Iterator[tuple[int, str, int]]:
        counts: Counter[str] = Counter(shape.label for shape in (*diff.added, *diff.removed))
        for one in diff.changed:
            counts.update({one.before.label, one.after.label})
        for label, shapes in sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:LABELS_LISTED]:
            yield self._palette.number(label), visible(label), shapes


def _tags(changes: Sequence[DrawnChange], side: str, both: bool, width: int, height: int, size: float) -> Iterator[Tag]:
    for place, one in enumerate(changes[:CHANGES_LISTED], start=1):
        outline = (one.after or one.before) if both else (one.before if side == "theirs" else one.after)
        if outline is not None:
            x = min(max(outline.box.x, 0.0), width - size)
            y = min(max(outline.box.y - size * 0.25, size), float(height))
            yield Tag(str(place), number(x), number(y))


def _left_out(drawn: Overlay, *, drawn_on_image: bool) -> Iterator[str]:
    if drawn.changes_left_out:
        yield f"{counted(drawn.changes_left_out, 'more change')} not drawn."
    if drawn.unchanged_left_out and drawn_on_image:
        yield f"{counted(drawn.unchanged_left_out, 'unchanged shape')} not drawn."


def _summary(change: SetChange, is_diff: bool) -> str:
    text = visible(change.summary, SENTENCE_LENGTH) or summary(change.diff)
    return text if is_diff else text.replace(" added", "")


def _labels(change: SetChange) -> Iterator[str]:
    for shape in (*change.diff.added, *change.diff.removed):
        yield shape.label
    for one in change.diff.changed:
        yield one.before.label
        yield one.after.label


def shown_action(action: ActionLine) -> ActionLine:
    """Return an action with texts that are safe to show."""
    details = [visible(detail, SENTENCE_LENGTH) for detail in action.details[:DETAILS_LISTED]]
    if len(action.details) > DETAILS_LISTED:
        details.append(f"and {len(action.details) - DETAILS_LISTED:,} more")
    return ActionLine(visible(action.sign), visible(action.name), visible(action.reason), tuple(details))


def _without_sets(action: ActionLine) -> ActionLine:
    """Leave out what the sections of the card say about annotation sets."""
    return ActionLine(action.sign, action.name, action.reason) if action.of_set else action


def _sentence(message: str) -> str:
    return visible(message, SENTENCE_LENGTH).removesuffix(".") + "."
