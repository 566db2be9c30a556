"""Which entries of a plan a page lists: filters, groups and pages. Pure.

Owns: the order of a list and its bounds. Must not: read images.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.report.model import Entry

PAGE_ENTRIES = 50
GROUP_ENTRIES_SHOWN = 3
"""How many entries of a group of equal changes a list shows, unless it shows that group only."""

CHOICES_LISTED = 500

FILTERS_KEPT = 16
"""How many results of filters a list remembers, so that the next page of a large plan does not filter again."""


@dataclass(frozen=True, slots=True)
class Filter:
    """The values by which a list is filtered. Empty: not filtered by it."""

    collection: str = ""
    """The id that `collection_id` returns."""
    action: str = ""
    reason: str = ""
    label: str = ""
    text: str = ""
    """A part of the file's name, of a value or of the group's text, in any case."""
    group: str = ""
    """The number of a group of the plan."""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Filter:
        """Return the filter in a URL's query."""
        return cls(*(query.get(name, "") for name in FILTER_NAMES))

    def query(self, **changes: str) -> dict[str, str]:
        """Return the URL parameters of this filter, with changes."""
        values = {name: getattr(self, name) for name in FILTER_NAMES} | changes
        return {name: value for name, value in values.items() if value}


FILTER_NAMES = ("collection", "action", "reason", "label", "text", "group")


@dataclass(frozen=True, slots=True)
class Block:
    """Entries under one heading."""

    collection: str
    heading: str
    """Empty: entries that differ from all others."""
    entries: tuple[int, ...]
    """The entries shown, by their numbers."""
    total: int
    """How many entries the block has on all pages, those that are not shown included."""
    group: str = ""
    """The number of the group, if not all of its entries are shown."""


@dataclass(frozen=True, slots=True)
class ListedPage:
    """One page of a list."""

    blocks: tuple[Block, ...]
    page: int
    pages: int
    matching: int
    """How many entries the filter matches."""
    total: int


@dataclass(frozen=True, slots=True)
class Choices:
    """The values that occur in a plan."""

    collections: tuple[str, ...]
    actions: tuple[str, ...]
    reasons: tuple[str, ...]
    labels: tuple[str, ...]


class EntryList:
    """The entries of one plan, ready to be filtered."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        numbers: dict[Hashable, int] = {}
        self._groups: list[str] = []
        """The number of each entry's group; empty for entries without one."""
        for entry in entries:
            key = (entry.type, entry.collection, entry.group)
            number = numbers.setdefault(key, len(numbers) + 1) if entry.group is not None else ""
            self._groups.append(str(number))
        self._filters: dict[Filter, tuple[list[int], dict[tuple[str, str], int]]] = {}
        self._texts = [_text(entry) for entry in entries]
        self._order = sorted(range(len(entries)), key=_Order(entries, self._groups))
        self.choices = Choices(
            _few(dict.fromkeys(map(collection_id, entries))),
            _few(sorted({action.name for entry in entries for action in entry.actions})),
            _few(sorted({action.reason for entry in entries for action in entry.actions})),
            _few(sorted({label for entry in entries for label in entry.labels})),
        )

    def numbers(self, wanted: Filter) -> Iterator[int]:
        """Yield the numbers of the entries that a filter matches, in the order of the list."""
        text = wanted.text.casefold()
        for number in self._order:
            entry = self.entries[number]
            if (
                (not wanted.collection or collection_id(entry) == wanted.collection)
                and (not wanted.action or any(action.name == wanted.action for action in entry.actions))
                and (not wanted.reason or any(action.reason == wanted.reason for action in entry.actions))
                and (not wanted.label or wanted.label in entry.labels)
                and (not wanted.group or self._groups[number] == wanted.group)
                and (not text or text in self._texts[number])
            ):
                yield number

    def page(self, wanted: Filter, page: int, size: int = PAGE_ENTRIES) -> ListedPage:
        """Return one page of the matching entries. Pages count from 1; a page that does not exist is the nearest."""
        shown, totals = self._filtered(wanted)
        matching = sum(totals.values())
        pages = max(1, -(-len(shown) // size))
        page = min(max(page, 1), pages)
        blocks: dict[tuple[str, str], list[int]] = {}
        for number in shown[(page - 1) * size : page * size]:
            blocks.setdefault(self._block(number), []).append(number)
        return ListedPage(
            tuple(self._listed(key, numbers, totals[key], wanted) for key, numbers in blocks.items()),
            page,
            pages,
            matching,
            len(self.entries),
        )

    def _filtered(self, wanted: Filter) -> tuple[list[int], dict[tuple[str, str], int]]:
        """Return the numbers of the entries that all pages together show, and how many entries each block has."""
        if wanted not in self._filters:
            totals: dict[tuple[str, str], int] = {}
            shown: list[int] = []
            for number in self.numbers(wanted):
                key = self._block(number)
                totals[key] = totals.get(key, 0) + 1
                if wanted.group or not self._groups[number] or totals[key] <= GROUP_ENTRIES_SHOWN:
                    shown.append(number)
            if len(self._filters) >= FILTERS_KEPT:
                self._filters.clear()
            self._filters[wanted] = shown, totals
        return self._filters[wanted]

    def _listed(self, key: tuple[str, str], numbers: list[int], total: int, wanted: Filter) -> Block:
        first = self.entries[numbers[0]]
        group = self._groups[numbers[0]]
        heading = first.group_text if group else "New files" if first.is_new else ""
        more = group if group and not wanted.group and total > GROUP_ENTRIES_SHOWN else ""
        return Block(key[0], heading, tuple(numbers), total, more)

    def _block(self, number: int) -> tuple[str, str]:
        entry = self.entries[number]
        return collection_id(entry), self._groups[number] or ("new" if entry.is_new else "")


class _Order:
    """The key of an entry: collections in the order of the plan; in each, entries that differ from all others, then
    groups, then new files."""

    def __init__(self, entries: Sequence[Entry], groups: Sequence[str]) -> None:
        self._entries, self._groups = entries, groups
        self._collections: dict[str, int] = {}
        for entry in entries:
            self._collections.setdefault(collection_id(entry), len(self._collections))

    def __call__(self, number: int) -> tuple[int, int, int, int]:
        entry, group = self._entries[number], self._groups[number]
        # A new file that changes like many others is still a new file.
        rank = 2 if entry.is_new and not group else 1 if group else 0
        return self._collections[collection_id(entry)], rank, int(group or 0), number


def collection_id(entry: Entry) -> str:
    """Return what tells collections apart: name and media type."""
    return f"{entry.collection} ({entry.type})"


def _text(entry: Entry) -> str:
    details = (detail for action in entry.actions for detail in action.details)
    return "\n".join((entry.file or "", entry.group_text, *details)).casefold()


def _few(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)[:CHOICES_LISTED]
