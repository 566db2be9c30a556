"""The page: which entries are shown with their image, in what order, and how large the file may become.

Owns: the bounds `max_images` and `max_bytes`, and the sentences about what was left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from metalake_sync.core.shape_summary import label_sums_text
from metalake_sync.errors import SyncError, UsageError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.report.cards import CardMaker, Palette, shown_action
from metalake_sync.report.model import MAX_BYTES, MAX_IMAGES, MIN_BYTES, Entry, ReportPlan
from metalake_sync.report.text import SENTENCE_LENGTH, counted, visible

if TYPE_CHECKING:
    from jinja2 import Environment

ROWS_SHOWN = 5_000
"""How many entries without an image are listed."""

ROWS_SHARE = 0.15
"""The part of the file that entries without an image may take."""

WARNINGS_SHOWN = 100
GROUP_FILES_SHOWN = 3
"""How many files of a group of equal changes are shown with their image before the next group gets a turn."""

SPARE_BYTES = 4_000
"""For the sentences about what was left out, which are known last."""


@dataclass(frozen=True, slots=True)
class Report:
    """A finished page."""

    html: str
    images: int
    """Entries that are shown with at least one image."""
    left_out: tuple[str, ...]
    """Sentences about what was left out, and why."""


def need_libraries(clause: str = "an HTML plan needs", extra: str = "html") -> None:
    """Raise SyncError with a remedy if Jinja2 or Pillow is not installed. `clause`: what needs it. `extra` has both."""
    try:
        import jinja2  # noqa: F401
        import PIL.Image  # noqa: F401
    except ImportError as error:
        library = "Jinja2" if "jinja2" in str(error) else "Pillow"
        raise SyncError(
            f"{clause} {library}, which is not installed", remedy=f"Run: pip install 'metalake-sync[{extra}]'."
        ) from None


def render_report(plan: ReportPlan, *, max_images: int = MAX_IMAGES, max_bytes: int = MAX_BYTES) -> Report:
    """Return the page. Raises SyncError if a library is missing, UsageError if `max_bytes` is less than MIN_BYTES."""
    need_libraries()
    if max_bytes < MIN_BYTES:
        raise UsageError(
            f"{_size(max_bytes)} are too few for an HTML plan", remedy=f"Allow at least {_size(MIN_BYTES)}."
        )
    return _Page(plan, max_images, max_bytes).report()


class _Page:
    def __init__(self, plan: ReportPlan, max_images: int, max_bytes: int) -> None:
        self._plan = plan
        self._max_images = max_images
        self._max_bytes = max_bytes
        self._palette = Palette()
        self._left_out: list[str] = []

    def report(self) -> Report:
        entries = self._plan.entries
        chosen = _chosen(entries, self._max_images)
        with_image = sum(_has_image(entry) for entry in entries)
        rows = self._rows(entries, set(chosen))
        shell = _length(self._render({}, rows, 0))
        room = self._max_bytes - shell - SPARE_BYTES
        maker = CardMaker(self._palette)
        cards: dict[int, str] = {}
        images = too_large = 0
        for number in chosen:
            card = maker.card(number, entries[number])
            html = self._card_html(card, entries[number])
            # Each label costs a color and an option, each collection a heading.
            length = _length(html) + 600 + 400 * len(card.labels.split())
            if length > room:
                too_large += 1
                continue
            room -= length
            cards[number] = html
            images += card.has_image
        self._say_left_out(with_image, len(chosen), too_large)
        html = self._render(cards, rows, images)
        return Report(html, images, tuple(self._left_out))

    def _say_left_out(self, with_image: int, chosen: int, too_large: int) -> None:
        if with_image > chosen:
            self._left_out.append(
                f"{counted(with_image - chosen, 'image')} not shown, because the limit is {self._max_images:,}"
                " (--max-images)."
            )
        if too_large:
            self._left_out.append(
                f"{counted(too_large, 'image')} not shown, because the file would be larger than"
                f" {_size(self._max_bytes)} (--max-size)."
            )

    def _card_html(self, card: object, entry: Entry) -> str:
        return (
            _environment()
            .get_template("card.html.j2")
            .render(card=card, filters=_filters(entry), collection=_collection_id(entry))
        )

    def _rows(self, entries: Sequence[Entry], chosen: set[int]) -> Mapping[int, str]:
        """Return the entries without an image as HTML: the number of the entry → the row."""
        template = _environment().get_template("row.html.j2")
        room = self._max_bytes * ROWS_SHARE
        rows: dict[int, str] = {}
        left_out = 0
        for number, entry in enumerate(entries):
            if number in chosen:
                continue
            if len(rows) >= ROWS_SHOWN or room <= 0:
                left_out += 1
                continue
            labels = sorted({self._palette.number(label) for label in entry.labels})
            html = template.render(
                name=visible(entry.file) if entry.file is not None else "",
                actions=list(map(shown_action, entry.actions)),
                labels=" ".join(map(str, labels)),
                filters=_filters(entry),
                collection=_collection_id(entry),
            )
            room -= _length(html)
            if room > 0:
                rows[number] = html
            else:
                left_out += 1
        if left_out:
            self._left_out.append(f"{counted(left_out, 'entry', 'entries')} not listed, to keep the file small.")
        return rows

    def _render(self, cards: Mapping[int, str], rows: Mapping[int, str], images: int) -> str:
        from markupsafe import Markup

        plan = self._plan
        sections = []
        for key, numbers in _by_collection(plan.entries).items():
            blocks = _blocks([(number, plan.entries[number]) for number in numbers if number in cards])
            listed = [Markup(rows[number]) for number in numbers if number in rows]  # noqa: S704 - from a template
            if blocks or listed:
                html = [(text, [Markup(cards[number]) for number in block]) for text, block in blocks]  # noqa: S704
                first = plan.entries[numbers[0]]
                sections.append((visible(first.collection), key[0], html, listed, len(numbers)))
        warnings = [
            (visible(code), visible(message, SENTENCE_LENGTH), visible(where)) for code, message, where in plan.warnings
        ]
        text = _environment().get_template("page.html.j2").render(
            title=f"Plan of {visible(plan.manifest)}",
            summary=[visible(line, SENTENCE_LENGTH) for line in plan.summary],
            labels=visible(label_sums_text(plan.label_sums), SENTENCE_LENGTH),
            warnings=warnings[:WARNINGS_SHOWN],
            more_warnings=max(0, len(warnings) - WARNINGS_SHOWN),
            remarks=[visible(line, SENTENCE_LENGTH) for line in plan.remarks],
            left_out=self._left_out,
            images=images,
            sections=sections,
            choices=_choices(plan.entries, cards.keys() | rows.keys()),
            label_names=self._palette.names(),
            colors=self._palette.colors(),
        )  # fmt: skip
        # Names that are not UTF-8 are escaped by `visible`; this is the last resort for texts that a library made.
        return text.encode("utf-8", "backslashreplace").decode()


def _chosen(entries: Sequence[Entry], limit: int) -> list[int]:
    """Return the numbers of the entries that are shown with their image, the most important first: entries that differ
    from all others, then a few of each group of equal changes in turn, then new files."""
    turns: Counter[Hashable] = Counter()
    ranked: list[tuple[int, int, int]] = []
    for number, entry in enumerate(entries):
        if not _has_image(entry):
            continue
        if entry.is_new:
            ranked.append((2, 0, number))
        elif entry.group is None:
            ranked.append((0, 0, number))
        else:
            key = (_collection_key(entry), entry.group)
            ranked.append((1, turns[key] // GROUP_FILES_SHOWN, number))
            turns[key] += 1
    ranked.sort()
    return [number for _, _, number in ranked[:limit]]


def _has_image(entry: Entry) -> bool:
    return entry.ours is not None or entry.theirs is not None


def _by_collection(entries: Sequence[Entry]) -> dict[tuple[str, str], list[int]]:
    found: dict[tuple[str, str], list[int]] = {}
    for number, entry in enumerate(entries):
        found.setdefault(_collection_key(entry), []).append(number)
    return found


def _blocks(shown: Sequence[tuple[int, Entry]]) -> list[tuple[str, list[int]]]:
    """Return the cards of one collection in the order of the page: each block with its heading."""
    groups: dict[tuple[int, Hashable], tuple[str, list[int]]] = {}
    for number, entry in shown:
        if entry.is_new:
            key: tuple[int, Hashable] = (2, None)
            text = "New files"
        elif entry.group is not None:
            key, text = (1, entry.group), entry.group_text
        else:
            key, text = (0, None), ""
        groups.setdefault(key, (visible(text, SENTENCE_LENGTH), []))[1].append(number)
    ordered = sorted(groups.items(), key=lambda one: (one[0][0], one[1][1][0]))
    return [block for _, block in ordered]


def _collection_key(entry: Entry) -> tuple[str, str]:
    return entry.type, entry.collection


def _collection_id(entry: Entry) -> str:
    return f"{visible(entry.collection)} ({entry.type})"


def _filters(entry: Entry) -> Mapping[str, str]:
    return {
        "actions": " ".join(sorted({action.name for action in entry.actions})),
        "reasons": " ".join(sorted({action.reason for action in entry.actions})),
    }


def _choices(entries: Sequence[Entry], shown: Iterable[int]) -> Mapping[str, list[str]]:
    listed = [entries[number] for number in sorted(shown)]
    actions = {action.name for entry in listed for action in entry.actions}
    reasons = {action.reason for entry in listed for action in entry.actions}
    collections = dict.fromkeys(_collection_id(entry) for entry in listed)
    return {"collections": list(collections), "actions": sorted(actions), "reasons": sorted(reasons)}


def _length(text: str) -> int:
    return len(text.encode("utf-8", "backslashreplace"))


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:g} MB" if size_bytes >= 1_000_000 else f"{size_bytes / 1e3:g} kB"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).parent / "templates"
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.globals["pairs"] = lambda values: [(value, value) for value in values]
    environment.globals["style"] = _static(folder / "page.css")
    environment.globals["script"] = _static(folder / "page.js")
    return environment


def _static(path: Path) -> str:
    from markupsafe import Markup

    return Markup(path.read_text("utf-8"))  # noqa: S704 - a file of this package
