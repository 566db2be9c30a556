"""Decides which metadata fields of one file or head a revert writes.

Owns: the comparison of the values before and after a run with the lake's, field by field. Must not: read anything, or
touch a field that the run did not change.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any, Literal

from metalake_sync.core.changes import Change, metadata_changes
from metalake_sync.core.metadata import (
    NO_METADATA,
    TAGS,
    MetadataSet,
    MetadataValues,
    is_computed,
    metadata_set,
    same_json,
    same_value,
    update_to_mend,
)
from metalake_sync.lazy_dataclass import dataclass

_ABSENT = object()


@dataclass(frozen=True, slots=True)
class ChangedMetadata:
    """The metadata of one file or head around a run."""

    before: MetadataValues
    """What the lake had before the run."""
    after: MetadataValues
    """What the run wrote."""
    confirmed: MetadataValues | None = None
    """What we had written before the run, if another client had changed it. None: it is `before`."""
    compared: bool = True
    """Whether the run read the lake's values. False: `before` is what we had written."""

    def fields(self) -> Iterator[str]:
        """Yield the fields that the run wrote, except for Tags and for fields that the lake computes."""
        for name, value in self.after.items():
            if name != TAGS and not is_computed(name) and not same_json(self.before.get(name, _ABSENT), value):
                yield name

    def ours_before(self) -> MetadataValues:
        return self.before if self.confirmed is None else self.confirmed


@dataclass(slots=True)
class MetadataReverted:
    """What a revert does with the metadata of one file or head."""

    wanted: MetadataSet
    """What the lake should have."""
    record: MetadataSet
    """What to record as ours."""
    lake: dict[str, Any]
    """The lake's values of the fields that the run changed; the wanted values of all other fields."""
    update: dict[str, Any]
    """The fields to write."""
    changes: tuple[Change, ...]
    overwrites: bool = False
    """Whether the update overwrites a value that another client wrote since the run."""
    changed_later: list[str] = field(default_factory=list)
    """Fields that a later run changed again. They stay."""
    stay: list[str] = field(default_factory=list)
    """Fields that did not exist before the run. No call removes a field."""
    tags_unknown: bool = False
    """Whether the run wrote Tags and the history does not have the lake's Tags before it. They stay."""


def revert_metadata(
    run: ChangedMetadata,
    recorded: MetadataValues,
    lake: MetadataValues,
    tags: Literal["own", "exact"],
    *,
    changed_later: Container[str],
) -> MetadataReverted:
    """Decide about one file or head.

    `recorded`: what was written last. `lake`: what the lake has now, at least for the fields of `run`. `changed_later`:
    the fields that later runs wrote.
    """
    wanted, ours = dict(recorded), dict(recorded)
    seen: dict[str, Any] = {}
    found = MetadataReverted(NO_METADATA, NO_METADATA, {}, {}, ())
    for name in run.fields():
        there = lake.get(name, _ABSENT)
        if there is not _ABSENT and name in run.before and same_value(there, run.before[name]):
            continue
        if there is _ABSENT or not same_value(there, run.after[name]):
            if name in changed_later:
                found.changed_later.append(name)
                continue
            found.overwrites |= there is not _ABSENT and name in run.before
        if name not in run.before:
            if there is not _ABSENT:
                found.stay.append(name)
                wanted.pop(name, None)
                ours.pop(name, None)
            continue
        wanted[name] = run.before[name]
        if there is not _ABSENT:
            seen[name] = there
        _put(ours, name, run.ours_before())
    # A plan does not read Tags before it writes the first ones, so the lake may have had some of them.
    found.tags_unknown = TAGS not in run.before and bool(run.after.get(TAGS))
    changed_tags = _ChangedTags.by(run, tags) if not found.tags_unknown else None
    own_tags = _ChangedTags.by(ChangedMetadata(run.ours_before(), run.after), "own") if not found.tags_unknown else None
    if own_tags is not None and TAGS not in changed_later:
        # The record has what the run left.
        _put(ours, TAGS, run.ours_before())
    elif own_tags is not None:
        _put_tags(ours, own_tags.undone(recorded.get(TAGS, ())), keep_empty=TAGS in run.ours_before())
    if changed_tags is not None:
        # The write adds the Tags of other clients to ours, except with `exact`. A Tag that another client
        # removed stays removed.
        there = [tag for tag in lake.get(TAGS, ()) if tags == "exact" or tag in recorded.get(TAGS, ())]
        _put_tags(wanted, changed_tags.undone(there), keep_empty=TAGS in run.before)
        if TAGS in lake:
            seen[TAGS] = lake[TAGS]
    written = {name for name in (*wanted, TAGS) if name in seen or not same_json(wanted.get(name), recorded.get(name))}
    found.lake = {name: value for name, value in wanted.items() if name not in written} | seen
    found.wanted = metadata_set(wanted)
    found.record = metadata_set(ours)
    found.update = update_to_mend(recorded, wanted, found.lake, tags)
    found.changes = metadata_changes(found.lake, found.update)
    found.overwrites &= any(name != TAGS for name in found.update)
    return found


def _put(values: dict[str, Any], name: str, source: Mapping[str, Any]) -> None:
    if name in source:
        values[name] = source[name]
    else:
        values.pop(name, None)


def _put_tags(values: dict[str, Any], tags: list[str], *, keep_empty: bool) -> None:
    if tags or keep_empty:
        values[TAGS] = tags
    else:
        values.pop(TAGS, None)


@dataclass(frozen=True, slots=True)
class _ChangedTags:
    """The Tags that a run removed from the lake and added to it."""

    before: Sequence[str]
    after: Sequence[str]
    removed: list[str]
    added: frozenset[str]

    @classmethod
    def by(cls, run: ChangedMetadata, tags: Literal["own", "exact"]) -> _ChangedTags | None:
        """Return what a run changed. None: nothing. With `own`, it removed only Tags that we had written."""
        before, after = run.before.get(TAGS, ()), run.after.get(TAGS, ())
        ours = run.ours_before().get(TAGS, ()) if tags == "own" else before
        removed = [tag for tag in before if tag in ours and tag not in after]
        added = frozenset(after).difference(before)
        return cls(before, after, removed, added) if removed or added else None

    def undone(self, tags: Sequence[str]) -> list[str]:
        """Return Tags without the added ones and with the removed ones, in the order before the run."""
        left = dict.fromkeys((*(tag for tag in tags if tag not in self.added), *self.removed))
        order = {tag: number for number, tag in enumerate(self.before)}
        return sorted(left, key=lambda tag: order.get(tag, len(order)))
