"""Metadata as values: how layers are merged, how metadata is compared, how Tags are merged.

Owns: these rules. Must not: read sources or call the lake.

Metadata maps a field to a string, number, boolean, list or object. The field `Tags` is special: a list of strings. A
write replaces the Tags as a whole, and merges all other fields.

Longer than 300 lines, because layers, spellings and updates follow the same rules for names and Tags, and change
together.
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
    """The metadata of a file or a collection head, with its digest. Many files share one instance."""

    values: MetadataValues
    digest: str

    def __bool__(self) -> bool:
        return bool(self.values)


def metadata_set(values: MetadataValues) -> MetadataSet:
    """Return metadata with its digest. The order of fields and the order of Tags do not change the digest."""
    canonical = {**values, TAGS: sorted(values[TAGS])} if TAGS in values else dict(values)
    return MetadataSet(values, digest_of_json(canonical))


def digest_of_json(value: object) -> str:
    """Return the BLAKE3 hash (hex) of a JSON value in canonical form: sorted keys, no spaces, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return blake3(text.encode("utf-8", "surrogatepass")).hexdigest()


NO_METADATA = metadata_set({})


INTEGER_BITS = 64
"""The size of the largest integer that lakes and JSON readers keep."""


DEPTH_LIMIT = 64


def unsendable_number(value: object, depth: int = 0) -> str | None:
    """Return why a value contains a number that cannot be sent, as a clause after its name, or None.

    Raises RecursionError for a value that is nested more than DEPTH_LIMIT levels.
    """
    if depth > DEPTH_LIMIT:
        raise RecursionError
    match value:
        case bool():
            return None
        case int() if value.bit_length() > INTEGER_BITS:
            return f"is an integer of {value.bit_length()} bits; at most {INTEGER_BITS} bits can be sent"
        case float() if not math.isfinite(value):
            return "is not a finite number, which JSON requires"
        case Mapping() | list() | tuple():
            inner = value.values() if isinstance(value, Mapping) else value
            return next(filter(None, (unsendable_number(one, depth + 1) for one in inner)), None)
        case _:
            return None


@dataclass(frozen=True, slots=True)
class Spelling:
    """The lake's spelling of fields and tags that the manifest spells differently.

    The lake offers its spelling when the planner checks the names (see `planning.written_names`).
    """

    fields: Mapping[str, str] = dataclass_field(default_factory=dict)
    """The manifest's spelling of a field → the lake's."""
    tags: Mapping[str, str] = dataclass_field(default_factory=dict)
    """The manifest's spelling of a tag → the lake's."""

    def __bool__(self) -> bool:
        return bool(self.fields or self.tags)

    def of(self, values: MetadataValues) -> MetadataValues:
        """Return the values as the lake spells them. If a field is present in both spellings, the lake's one wins."""
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
        """Return all pairs of the manifest's and the lake's spelling: fields first, then tags."""
        return [*self.fields.items(), *self.tags.items()]

    def extended(self, newer: Spelling) -> Spelling:
        """Return this spelling, followed by the one that the lake offered for its results."""
        return Spelling(_chained(self.fields, newer.fields), _chained(self.tags, newer.tags))


def _chained(older: Mapping[str, str], newer: Mapping[str, str]) -> dict[str, str]:
    chained = {name: newer.get(known, known) for name, known in older.items()} | dict(newer)
    return {name: known for name, known in chained.items() if name != known}


AS_WRITTEN = Spelling()


def normal_form(name: str) -> str:
    """Return the form by which a lake compares field names. Source: the vendor's deployment scripts."""
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
"""Fields of files and collections that a lake computes. It ignores values that a client writes to them.

Source: the vendor's page on details of collections and items.
"""

_COMPUTED = frozenset(map(normal_form, COMPUTED_FIELDS))


@functools.lru_cache(maxsize=4096)
def is_computed(name: str) -> bool:
    """Return whether the lake computes a field, so that its value does not show what was written."""
    return normal_form(name) in _COMPUTED


def in_our_spelling(found: MetadataValues, asked: Iterable[str]) -> dict[str, Any]:
    """Return the fields of `found` that were requested, under the requested names.

    A lake may answer under its own spelling of a name.
    """
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
    """Merge metadata from the widest to the narrowest layer. Tags are united in order, other fields overridden."""
    if spelling:
        layers = map(spelling.of, layers)
    merged: dict[str, Any] = {}
    tags: dict[str, None] | None = None
    for layer in layers:
        for name, value in layer.items():
            if name == TAGS:
                # A layer with an empty list of Tags differs from layers without Tags.
                tags = {**(tags or {}), **dict.fromkeys(value)}
            else:
                merged[name] = value
    if tags is not None:
        merged[TAGS] = list(tags)
    return merged


def merge_tags(*, before: Sequence[str], ours: Sequence[str], theirs: Sequence[str]) -> list[str]:
    """Merge Tags three ways. Tags of other clients stay, Tags that the manifest dropped go, new ones come last.

    Without Tags of other clients, the result has the manifest's order.

    `before`: the Tags that were written last. `ours`: the manifest's Tags. `theirs`: the lake's Tags.
    """
    wanted = dict.fromkeys(as_the_lake_has_them(ours, before, theirs))
    dropped = set(as_the_lake_has_them(before, before, theirs)) - wanted.keys()
    kept = dict.fromkeys(tag for tag in theirs if tag not in dropped)
    return list(wanted) if kept.keys() <= wanted.keys() else list(kept | wanted)


def as_the_lake_has_them(tags: Sequence[str], written: Sequence[str], theirs: Sequence[str]) -> list[str]:
    """Return the manifest's Tags. Those that were written before are in the lake's spelling."""
    forms = {form: tag for tag in theirs if tag not in tags and (form := normal_form(tag))}
    if not forms:
        return list(tags)
    return [forms.get(normal_form(tag), tag) if tag in written and tag not in theirs else tag for tag in tags]


def fields_that_left(before: MetadataValues, after: MetadataValues) -> list[str]:
    """Return the fields that were written and that the manifest dropped.

    The protocol cannot remove a field, so the plan can only report them.
    """
    return [name for name in before if name != TAGS and name not in after]


def update_to_send(before: MetadataValues | None, after: MetadataValues) -> dict[str, Any]:
    """Return the fields to write so that a file with `before` has `after`. Dropped Tags become an empty list."""
    if before is None:
        return dict(after)
    update = {name: value for name, value in after.items() if name not in before or not same_json(before[name], value)}
    if TAGS in update and TAGS in before and set(update[TAGS]) == set(before[TAGS]):
        del update[TAGS]
    if TAGS in before and TAGS not in after and before[TAGS]:
        update[TAGS] = []
    return update


def same_json(one: Any, other: Any) -> bool:
    """Return whether two JSON values are equal, at every depth.

    In JSON, `true` is not 1 and `false` is not 0, although Python compares them as equal. 1 and 1.0 are equal.
    """
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same_json(value, other[name]) for name, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same_json, one, other))
    return bool(one == other)


def same_value(one: Any, other: Any) -> bool:
    """Return whether the lake has the value that was written.

    A lake may return a scalar as its text: "1" for 1 is not drift.
    """
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

    `tags`: `own` keeps Tags that other clients set. `exact` removes them, if the manifest has any Tags.

    A value in the lake that is the text of the wanted one ("1" for 1) counts as equal, unless it was the manifest's
    value before: then the user changed the type.

    A field that the lake computes is compared with what was written last, never with the lake's value.
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
    """Return whether an update overwrites a value that another client wrote.

    `before`: what was written last. `lake`: the lake's metadata. Tags do not count, because they are merged or the
    manifest asks for `exact`. Fields that the lake computes do not count either.
    """
    return any(
        name != TAGS
        and not is_computed(name)
        and lake.get(name) is not None
        and not same_value(lake[name], before.get(name))
        for name in update
    )
