"""Metadata as values: how layers become one set, how sets are compared, how Tags are merged.

Owns: the rules. Must not: read sources or speak to the lake.

Metadata is field → string, number, boolean, list or object. The field `Tags` is special: a list of strings that the
lake replaces wholesale, while every other field is merged.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field as dataclass_field
from typing import Any, Literal

from blake3 import blake3

from metalake_sync.lazy_dataclass import dataclass

TAGS = "Tags"

MetadataValues = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MetadataSet:
    """The metadata of one file or collection head, with its digest. Many files share one instance."""

    values: MetadataValues
    digest: str

    def __bool__(self) -> bool:
        return bool(self.values)


def metadata_set(values: MetadataValues) -> MetadataSet:
    """Give metadata its digest. Field order does not matter; the order of Tags does not either."""
    canonical = {**values, TAGS: sorted(values[TAGS])} if TAGS in values else dict(values)
    return MetadataSet(values, digest_of_json(canonical))


def digest_of_json(value: object) -> str:
    """BLAKE3 in hex of a JSON value in canonical form (sorted keys, no spaces, UTF-8)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return blake3(text.encode("utf-8", "surrogatepass")).hexdigest()


NO_METADATA = metadata_set({})


INTEGER_BITS = 64
"""Lakes and the readers of their JSON keep no larger whole numbers."""


DEPTH_LIMIT = 64


def unsendable_number(value: object, depth: int = 0) -> str | None:
    """Why a value is, or holds, a number that can't be sent, as a clause after its name. None where all can.

    Raises RecursionError for a value that is nested more than DEPTH_LIMIT levels.
    """
    if depth > DEPTH_LIMIT:
        raise RecursionError
    match value:
        case bool():
            return None
        case int() if value.bit_length() > INTEGER_BITS:
            return f"is a whole number of {value.bit_length()} bits, and only {INTEGER_BITS} can be sent"
        case float() if not math.isfinite(value):
            return "is not a finite number, and JSON has no other"
        case Mapping() | list() | tuple():
            inner = value.values() if isinstance(value, Mapping) else value
            return next(filter(None, (unsendable_number(one, depth + 1) for one in inner)), None)
        case _:
            return None


@dataclass(frozen=True, slots=True)
class Spelling:
    """How the lake spells fields and tags that the manifest spells otherwise: ours → the lake's.

    A lake says so when it is asked about them (see `metadata_check`). Only what the lake has offered is respelled.
    """

    fields: Mapping[str, str] = dataclass_field(default_factory=dict)
    tags: Mapping[str, str] = dataclass_field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.fields or self.tags)

    def of(self, values: MetadataValues) -> MetadataValues:
        """Return the values as the lake spells them. Where a field stands in both spellings, the lake's own wins."""
        if not self or not (self.tags or self.fields.keys() & values.keys()):
            return values
        respelled: dict[str, Any] = {}
        for name, value in values.items():
            known = self.fields.get(name, name)
            if known == name or known not in values:
                respelled[known] = value
        if self.tags and TAGS in respelled:
            respelled[TAGS] = list(dict.fromkeys(self.tags.get(tag, tag) for tag in respelled[TAGS]))
        return respelled

    def renames(self) -> list[tuple[str, str]]:
        """Every pair of our spelling and the lake's: fields first, then tags."""
        return [*self.fields.items(), *self.tags.items()]

    def extended(self, newer: Spelling) -> Spelling:
        """Return the spelling after the lake has offered `newer` for what this one gave it."""
        return Spelling(_chained(self.fields, newer.fields), _chained(self.tags, newer.tags))


def _chained(older: Mapping[str, str], newer: Mapping[str, str]) -> dict[str, str]:
    chained = {name: newer.get(known, known) for name, known in older.items()} | dict(newer)
    return {name: known for name, known in chained.items() if name != known}


AS_WRITTEN = Spelling()


def normal_form(name: str) -> str:
    """Field names that are equal in this form are the same to a lake. Source: the vendor's deployment scripts."""
    return "".join(char for char in name.lower() if char in "0123456789abcdefghijklmnopqrstuvwxyz")


COMPUTED_FIELDS = (
    "id",
    "name",
    "uniqueName",
    "url",
    "contentType",
    "fileSize",
    "frameCount",
    "frameRate",
    "resolution",
    "storagePath",
    "bucketName",
    "createdAt",
    "updatedAt",
)
"""Fields of files and collections that a lake computes, and answers whatever was written under their names. Source: the
vendor's page on details of collections and items."""

_COMPUTED = frozenset(map(normal_form, COMPUTED_FIELDS))


@functools.lru_cache(maxsize=4096)
def is_computed(name: str) -> bool:
    """Whether the lake computes a field, so that the value in the lake tells nothing about what was written."""
    return normal_form(name) in _COMPUTED


def in_our_spelling(found: MetadataValues, asked: Iterable[str]) -> dict[str, Any]:
    """Return the fields of `found` that were asked for, under the names they were asked for by. A lake may answer under
    its own spelling of a name."""
    right: dict[str, Any] = {}
    missing: list[str] = []
    for name in dict.fromkeys(asked):
        if name in found:
            right[name] = found[name]
        else:
            missing.append(name)
    if missing:
        others = {normal_form(name): value for name, value in found.items() if name not in right}
        for name in missing:
            form = normal_form(name)
            if form and form in others:
                right[name] = others[form]
    return right


def merge_layers(layers: Iterable[MetadataValues], spelling: Spelling = AS_WRITTEN) -> dict[str, Any]:
    """Merge metadata from the widest layer to the narrowest: Tags are united in order, other fields overridden.
    `spelling`: how the lake spells the names."""
    if spelling:
        layers = map(spelling.of, layers)
    merged: dict[str, Any] = {}
    tags: dict[str, None] | None = None
    for layer in layers:
        for name, value in layer.items():
            if name == TAGS:
                # No Tags, said by a layer, are something else than Tags that no layer speaks of.
                tags = {**(tags or {}), **dict.fromkeys(value)}
            else:
                merged[name] = value
    if tags is not None:
        merged[TAGS] = list(tags)
    return merged


def merge_tags(*, before: Sequence[str], ours: Sequence[str], theirs: Sequence[str]) -> list[str]:
    """Merge Tags three ways. `before`: what we wrote last; `ours`: what the manifest says now; `theirs`: what the lake
    has. What others set stays, what we took back goes, what we add comes last."""
    wanted = dict.fromkeys(as_the_lake_has_them(ours, before, theirs))
    taken_back = set(as_the_lake_has_them(before, before, theirs)) - wanted.keys()
    kept = dict.fromkeys(tag for tag in theirs if tag not in taken_back)
    return list(kept | wanted)


def as_the_lake_has_them(tags: Sequence[str], written: Sequence[str], theirs: Sequence[str]) -> list[str]:
    """Return Tags of ours, with those that were written before in the spelling under which the lake keeps them."""
    forms = {form: tag for tag in theirs if tag not in tags and (form := normal_form(tag))}
    if not forms:
        return list(tags)
    return [forms.get(normal_form(tag), tag) if tag in written and tag not in theirs else tag for tag in tags]


def fields_that_left(before: MetadataValues, after: MetadataValues) -> list[str]:
    """Fields that were written and are named no more. The protocol removes no field, so they can only be reported."""
    return [name for name in before if name != TAGS and name not in after]


def update_to_send(before: MetadataValues | None, after: MetadataValues) -> dict[str, Any]:
    """The fields that have to be written so that a file with `before` has `after`. A Tag set that left becomes []."""
    if before is None:
        return dict(after)
    update = {name: value for name, value in after.items() if name not in before or not same_json(before[name], value)}
    if TAGS in update and TAGS in before and set(update[TAGS]) == set(before[TAGS]):
        del update[TAGS]
    if TAGS in before and TAGS not in after and before[TAGS]:
        update[TAGS] = []
    return update


def same_json(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal, at every depth. In JSON, `true` is not 1 and `false` is not 0, although Python
    compares them as equal. 1 and 1.0 are the same number."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same_json(value, other[name]) for name, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same_json, one, other))
    return bool(one == other)


def same_value(one: Any, other: Any) -> bool:
    """Whether the lake has the value that was written. A lake may return a scalar as its text: a lake that returns "1"
    for 1 did not drift."""
    if same_json(one, other):
        return True
    return _scalar_text(one) is not None and _scalar_text(one) == _scalar_text(other)


def _scalar_text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int | float) else None


def update_to_mend(
    before: MetadataValues, after: MetadataValues, lake: MetadataValues, tags: Literal["own", "exact"]
) -> dict[str, Any]:
    """Return the fields to write so that a file that has `lake` has `after`. `before`: what was written last.

    `tags`: with `own`, Tags that other clients set stay; with `exact` they go, if the manifest names any.

    A value that is only the text of the wanted one ("1" for 1) counts as equal, unless the manifest changed the value
    from that one: then the user asks for another type.

    A field that the lake computes is compared with what was written last, never with the lake.
    """

    def is_right(name: str, value: Any) -> bool:
        if is_computed(name):
            return name in before and same_json(before[name], value)
        there = lake.get(name)
        return same_value(there, value) and (
            same_json(there, value) or name not in before or not same_json(there, before[name])
        )

    update = {name: value for name, value in after.items() if name != TAGS and not is_right(name, value)}
    if TAGS in after or before.get(TAGS):
        theirs = lake.get(TAGS) or []
        ours = as_the_lake_has_them(after.get(TAGS, []), before.get(TAGS, []), theirs)
        wanted = list(ours) if tags == "exact" else merge_tags(before=before.get(TAGS, []), ours=ours, theirs=theirs)
        if set(wanted) != set(theirs):
            update[TAGS] = wanted
    return update


def overwrites_others(before: MetadataValues, update: MetadataValues, lake: MetadataValues) -> bool:
    """Whether an update replaces a value that another client wrote. `before`: what was written last; `lake`: what the
    lake has. Tags are merged, or the manifest says that they are `exact`, so that they don't count. Fields that the
    lake computes don't count either."""
    return any(
        name != TAGS
        and not is_computed(name)
        and lake.get(name) is not None
        and not same_value(lake[name], before.get(name))
        for name in update
    )
