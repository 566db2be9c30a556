"""Translates queries and filters for items or collections into SQL.

A query is a conjunction of `annotation.label=X`, `metadata.Tags=X` and `metadata.<field>=X`, joined by `and` or `&`.
`or` is rejected, because it would otherwise become part of a value. Values are always bound, never part of a statement.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from metalake_sync.embedded_lake.names import TAGS
from metalake_sync.embedded_lake.quirks import Quirk
from metalake_sync.embedded_lake.rejections import not_acceptable
from metalake_sync.embedded_lake.store import to_json
from metalake_sync.protocol.items import FilterData, SortBy
from metalake_sync.protocol.wire import AnnotationKind, MediaKind, ObjectKind, OperationMode, SortField

MEDIA_OF_OBJECT = {
    ObjectKind.VIDEO: MediaKind.VIDEO,
    ObjectKind.IMAGE: MediaKind.IMAGE,
    ObjectKind.OTHER: MediaKind.OTHER,
}
MEDIA_OF_COLLECTION = {
    ObjectKind.VIDEO_COLLECTION: MediaKind.VIDEO,
    ObjectKind.IMAGE_COLLECTION: MediaKind.IMAGE,
    ObjectKind.OTHER_COLLECTION: MediaKind.OTHER,
}

# A value may contain "and" ("Trinidad and Tobago"), so it separates terms only in front of another term.
# A match of blanks starts at the first one only. Starting at each of many blanks would take quadratic time.
_BEFORE_TERM = r"(?=(?:annotation\.label\s*|metadata\.[^=&]+)=)"
_JOINT = re.compile(rf"(?<!\s)(?:\s+and\s+|\s*&&?\s*){_BEFORE_TERM}", re.IGNORECASE)
_OR = re.compile(rf"(?<!\s)(?:\s+or\s+|\s*\|\|?)\s*{_BEFORE_TERM}", re.IGNORECASE)
_TERM = re.compile(r"(annotation\.label|metadata\.[^=]+)=\s*(.+)|(annotation\.label)\s+=\s*(.+)", re.DOTALL)

QUERY_LIMIT_CHARS = 10_000
"""The maximum length of a query, because matching looks ahead at each term."""

_MODES = {AnnotationKind.HUMAN: OperationMode.HUMAN, AnnotationKind.MACHINE: OperationMode.MACHINE}


_NO_SCORE = "NULL"
"""Text search is not supported: all items have the same score."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a query selects."""

    table: str
    sets: str
    """The annotation sets of row `x`: a FROM clause with its condition, for the alias `s`."""
    labels: str
    """The labels of row `x`, for the alias `l`."""
    sort_columns: dict[SortField, str]


ITEMS = Subject(
    "items",
    sets="annotation_sets s WHERE s.item = x.id",
    labels="annotation_labels l WHERE l.item = x.id",
    sort_columns={
        SortField.DATE_MODIFIED: "x.updated",
        SortField.DATE_CREATED: "x.created",
        SortField.NAME: "x.name",
        SortField.SIZE: "x.size_bytes",
        SortField.VIDEO_INDEX: "x.seq",
        SortField.TEXT_SCORE: _NO_SCORE,
    },
)
_OF_COLLECTION = "JOIN items i ON i.id = {}.item WHERE i.collection = x.id AND i.trashed = 0"
COLLECTIONS = Subject(
    "collections",
    sets=f"annotation_sets s {_OF_COLLECTION.format('s')}",
    labels=f"annotation_labels l {_OF_COLLECTION.format('l')}",
    sort_columns={
        SortField.DATE_MODIFIED: "x.updated",
        SortField.DATE_CREATED: "x.created",
        SortField.NAME: "x.name",
        SortField.SIZE: "(SELECT total(i.size_bytes) FROM items i WHERE i.collection = x.id AND i.trashed = 0)",
        SortField.VIDEO_INDEX: "x.rowid",
        SortField.TEXT_SCORE: _NO_SCORE,
    },
)


@dataclass(slots=True)
class Selection:
    """Conditions on a subject, with their values. Trashed rows are never selected."""

    subject: Subject
    conditions: list[str] = field(default_factory=lambda: ["x.trashed = 0"])
    values: list[object] = field(default_factory=list)

    def add(self, condition: str, *values: object) -> None:
        self.conditions.append(condition)
        self.values += values

    def sql(self, columns: str, sort_by: SortBy | None = None, quirks: frozenset[Quirk] = frozenset()) -> str:
        """Return the SELECT for `values`. Ties are sorted by age or by quirk, so that pages do not overlap."""
        statement = f"SELECT {columns} FROM {self.subject.table} x WHERE {' AND '.join(self.conditions)}"  # noqa: S608
        if sort_by is None:
            return statement
        direction = "ASC" if sort_by.sort_order.upper() == "ASC" else "DESC"
        column = self.subject.sort_columns[sort_by.sort_by_field or SortField.DATE_MODIFIED]
        if sort_by.sort_by_field is SortField.NAME and Quirk.NAMES_IGNORE_CASE in quirks:
            column = f"lower({column})"
        ties = "substr(x.id, -4), x.id" if Quirk.ARBITRARY_TIES in quirks else f"x.rowid {direction}"
        return f"{statement} ORDER BY {column} {direction}, {ties}"


def items_in(is_virtual: bool) -> str:
    """Return the condition for items `x` in a collection. Its only value is the collection's id."""
    if is_virtual:
        return "x.id IN (SELECT item FROM virtual_members WHERE collection = ?)"
    return "x.collection = ?"


def select(
    kind: ObjectKind, collection: str | None, query: str, wanted: FilterData, *, is_virtual: bool = False
) -> Selection | None:
    """Return the selection of a list, count or selection call.

    `collection`: None is the whole lake. `is_virtual`: of the collection. Returns None for kinds that cannot exist in
    it: datasets, and collections within a collection.
    """
    if kind in MEDIA_OF_COLLECTION and collection is None:
        chosen = Selection(COLLECTIONS)
        chosen.add("x.kind = ?", MEDIA_OF_COLLECTION[kind])
    elif kind in MEDIA_OF_OBJECT or kind is ObjectKind.ANY:
        chosen = Selection(ITEMS)
        if collection is not None:
            chosen.add(items_in(is_virtual), collection)
        if kind is not ObjectKind.ANY:
            # Within a collection, its own index is better. A unary plus keeps SQLite from using the other.
            chosen.add("x.kind = ?" if collection is None else "+x.kind = ?", MEDIA_OF_OBJECT[kind])
    else:
        return None
    _add_query(chosen, query.strip())
    _add_filter(chosen, wanted)
    return chosen


def _add_query(chosen: Selection, query: str) -> None:
    if len(query) > QUERY_LIMIT_CHARS:
        raise not_acceptable(f"Invalid query: it has more than {QUERY_LIMIT_CHARS} characters")
    if _OR.search(query):
        raise not_acceptable(f"Invalid query: {query!r} contains 'or'")
    for term in _JOINT.split(query) if query else ():
        match = _TERM.fullmatch(term.strip())
        if match is None:
            raise not_acceptable(f"Invalid query: {term!r}")
        name, value = (match[1] or match[3]).strip(), (match[2] or match[4]).strip()
        if name == "annotation.label":
            _with_label(chosen, value)
        else:
            _with_field(chosen, name.removeprefix("metadata."), value)


def _add_filter(chosen: Selection, wanted: FilterData) -> None:
    for name, values in (("keywords", wanted.keywords), ("categories", wanted.categories)):
        if values:
            raise not_acceptable(f"Invalid filter: this lake cannot filter by {name}")
    if wanted.annotation_types:
        kinds = set(wanted.annotation_types)
        any_of = []
        if AnnotationKind.RAW in kinds:
            any_of.append(f"NOT EXISTS (SELECT 1 FROM {chosen.subject.sets})")  # noqa: S608
        any_of += [
            f"EXISTS (SELECT 1 FROM {chosen.subject.sets} AND s.mode = {mode:d})"  # noqa: S608
            for kind, mode in _MODES.items()
            if kind in kinds
        ]
        chosen.add(f"({' OR '.join(any_of)})")
    if wanted.date is not None:
        if wanted.date.from_date:
            chosen.add("x.created >= ?", _moment(wanted.date.from_date, end=False))
        if wanted.date.to_date:
            chosen.add("x.created < ?", _moment(wanted.date.to_date, end=True))
    for tag in wanted.tags:
        _with_field(chosen, TAGS, tag)
    for label in wanted.labels:
        _with_label(chosen, label)
    for name, value in wanted.metadata.items():
        _with_field(chosen, name, value if isinstance(value, str) else to_json(value))


def _with_label(chosen: Selection, label: str) -> None:
    chosen.add(f"EXISTS (SELECT 1 FROM {chosen.subject.labels} AND l.label = ?)", label)  # noqa: S608


def _with_field(chosen: Selection, name: str, value: str) -> None:
    """Require a field with this value as text, or an array that contains it."""
    text = "CASE {0}.type WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' ELSE CAST({0}.value AS TEXT) END"
    chosen.add(
        f"EXISTS (SELECT 1 FROM json_each(x.metadata) m WHERE m.key = ? AND ({text.format('m')} = ?"  # noqa: S608
        f" OR (m.type = 'array' AND EXISTS (SELECT 1 FROM json_each(m.value) e WHERE {text.format('e')} = ?))))",
        name,
        value,
        value,
    )


def _moment(text: str, *, end: bool) -> float:
    """Return a date as seconds since the epoch. A date without a time at the end of a range includes the whole day."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        if end and len(text) <= len("2026-01-31"):
            moment += timedelta(days=1)
        return moment.timestamp()
    except (ValueError, OverflowError):
        raise not_acceptable(f"Invalid date: {text!r}") from None
