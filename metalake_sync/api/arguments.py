"""Checks the arguments of methods: Python does not check types, and a wrong value must not count as another one.

Owns: the errors, and remedies that name arguments instead of manifest keys. Filters and sorts may have the form of the
vendor's client. Every check raises UsageError.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias, TypeVar

from metalake_sync.core.selection import OLDEST_FIRST, ItemFilter, ItemSort
from metalake_sync.core.snapshots import MediaType
from metalake_sync.errors import ManifestErrors, SyncError, UsageError
from metalake_sync.format_registry import can_write, format_names, is_known
from metalake_sync.remote.selections import check_dates

FilterLike: TypeAlias = ItemFilter | Mapping[str, Any]
"""An `ItemFilter`, or the vendor's {"annotation_types": ["human"], "from_date": "…", "to_date": "…"}."""

SortLike: TypeAlias = ItemSort | Mapping[str, Any]
"""An `ItemSort`, or the vendor's {"sort_by_field": "name", "sort_order": "ASC"}."""

EVERYTHING = ItemFilter()

TextT = TypeVar("TextT", bound=str)

PYTHON = {"'normalized: true'": "'normalized=True'"}
"""Manifest key → Python argument."""


def one_of(name: str, value: TextT, allowed: Iterable[str]) -> TextT:
    """Return a text that is one of the allowed ones."""
    allowed = tuple(allowed)
    if value not in allowed:
        raise UsageError(f"'{name}' is {value!r}", remedy=f"Use one of: {', '.join(map(repr, allowed))}.")
    return value


def type_of(content_type: str) -> MediaType:
    """Return a media type by its name."""
    return MediaType(one_of("content_type", content_type, [one.value for one in MediaType]))


def known_format(name: str | None, *, writing: bool = False) -> str | None:
    """Return the name of an annotation format, built in or installed, or None."""
    if name is None or (is_known(name) and (not writing or can_write(name))):
        return name
    return one_of("format", name, format_names(writing=writing))


def several(name: str, values: Iterable[str]) -> list[str]:
    """Return a list of texts. A single text is an error, because it would count as a list of its letters."""
    if isinstance(values, str):
        raise UsageError(f"'{name}' is a text, {values!r}", remedy=f"Use a list: {name}=[{values!r}].")
    return list(values)


def filter_of(wanted: FilterLike) -> ItemFilter:
    """Return a filter from either form."""
    if isinstance(wanted, ItemFilter):
        return check_dates(wanted)
    return check_dates(
        ItemFilter(**_keys("filter", wanted, {key: key for key in ("annotation_types", "from_date", "to_date")}))
    )


def sort_of(wanted: SortLike | None) -> ItemSort:
    """Return a sort from either form, or the default."""
    if wanted is None:
        return OLDEST_FIRST
    if isinstance(wanted, ItemSort):
        return wanted
    keys = _keys("sort", wanted, {"sort_by_field": "by", "sort_order": "order", "by": "by", "order": "order"})
    if isinstance(keys.get("order"), str):
        keys["order"] = keys["order"].lower()
    return ItemSort(**keys)


def _keys(name: str, given: Any, known: Mapping[str, str]) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        kind = {"filter": "ItemFilter", "sort": "ItemSort"}[name]
        raise UsageError(f"'{name}' is {given!r}", remedy=f"Use an {kind}, or a dictionary of {_listed(known)}.")
    unknown = [key for key in given if key not in known]
    if unknown:
        raise UsageError(f"'{name}' has the key {unknown[0]!r}", remedy=f"Use {_listed(known)}.")
    return {known[key]: value for key, value in given.items()}


def _listed(words: Iterable[str]) -> str:
    return ", ".join(map(repr, words))


@contextlib.contextmanager
def translated_remedies(words: Mapping[str, str]) -> Iterator[None]:
    """Translate the remedies of errors that leave the block. `words`: manifest key → argument or option."""
    try:
        yield
    except SyncError as error:
        for one in (error, *(error.errors if isinstance(error, ManifestErrors) else ())):
            for old, new in words.items():
                if one.remedy:
                    one.remedy = one.remedy.replace(old, new)
        raise
