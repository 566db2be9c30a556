"""What a lake must hold after a run, in plain Python and from the manual alone.

Owns: which files a manifest wants, what a run may and must do with each file of a lake, and what a state may know.
Must not: import anything of metalake_sync. It judges the engine, so it shares none of its code.

A run that was killed, or that met faults, leaves open what its state has recorded. So the model keeps, for each file,
every record that the state may have, and each successful run leaves those that agree with what it did.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any, Literal

Key = tuple[str, str]
"""A collection and a name in it."""

Shapes = tuple[tuple[float, ...], ...]
"""Boxes as (x, y, width, height), in order."""

Sets = Mapping[str, Shapes]
"""Operation → shapes. An operation without shapes is absent."""

TAGS = "Tags"


class Objection(AssertionError):
    """The lake is not as the model says."""


class Collision(Exception):
    """Two files of a collection have one name."""


@dataclass(frozen=True)
class Item:
    """A file in the lake. `content`: a digest of its bytes."""

    id: str
    content: str
    size: int
    metadata: Mapping[str, Any]
    sets: Sets

    @property
    def tags(self) -> frozenset[str]:
        return frozenset(self.metadata.get(TAGS) or ())


Lake = Mapping[Key, Item]


@dataclass(frozen=True)
class Wish:
    """What a manifest says of one file. `sets`: an operation whose source does not name the file is absent."""

    path: str
    content: str
    size: int
    metadata: Mapping[str, Any]
    sets: Sets


@dataclass(frozen=True)
class Policy:
    """What a manifest says of one collection. `modes`: of each operation."""

    tags: Literal["own", "exact"]
    prune: bool
    adopt: Literal["match", "take_over", "never"]
    on_change: Literal["replace", "keep", "fail"]
    override: bool
    modes: Mapping[str, str]


@dataclass(frozen=True)
class Record:
    """What a state may know of one file. `uploaded`: by this manifest; otherwise the file was adopted. `written`: the
    metadata that the manifest said when it was last written, None if it never was. `sets`: what was sent; an operation
    that was cleared has no shapes."""

    id: str
    path: str
    content: str
    uploaded: bool
    written: Mapping[str, Any] | None
    sets: Sets


@dataclass(frozen=True)
class Outcome:
    """What a successful run makes of one file. `item`: as the lake must have it, None if it must not have the name; its
    id is empty for a new file. `tags`: the least and the most that its Tags may be. `refused`: the run must stop before
    it does anything. `record`: what the state knows then."""

    item: Item | None
    record: Record | None
    least: frozenset[str] = frozenset()
    most: frozenset[str] = frozenset()
    refused: bool = False

    def agrees(self, before: Item | None, after: Item | None) -> bool:
        if self.refused:
            return False
        if self.item is None or after is None:
            return self.item is None and after is None
        fresh = not self.item.id
        return (
            (after.id == self.item.id if not fresh else before is None or after.id != before.id)
            and after.content == self.item.content
            and _fields(after.metadata) == _fields(self.item.metadata)
            and self.least <= after.tags <= self.most
            and after.sets == self.item.sets
        )

    def allows_half(self, before: Item | None, after: Item | None) -> bool:
        """Whether a run that was interrupted may leave the file like that."""
        if after == before:
            return True
        if self.refused:
            return False
        if self.item is None:
            return after is None
        fresh = not self.item.id
        if after is None:
            return fresh
        if after.content != self.item.content:
            return False
        if before is not None and after.id == before.id:
            earlier, sets, tags = before.metadata, before.sets, before.tags
            if fresh:
                return False
        elif fresh:
            earlier, sets, tags = {}, {}, frozenset()
        else:
            return False
        names = set(_fields(after.metadata)) | set(_fields(self.item.metadata)) | set(_fields(earlier))
        return (
            all(
                after.metadata.get(name) in (earlier.get(name), self.item.metadata.get(name))
                and _same(after.metadata.get(name), (earlier.get(name), self.item.metadata.get(name)))
                for name in names
            )
            and after.tags <= (self.most | tags)
            and all(
                after.sets.get(operation, ()) in (sets.get(operation, ()), self.item.sets.get(operation, ()))
                for operation in {*after.sets, *sets, *self.item.sets}
            )
        )


def _same(value: Any, among: tuple[Any, ...]) -> bool:
    return any(type(value) is type(one) and value == one for one in among)


def _fields(metadata: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """Fields without Tags, with their types: 1 is not True."""
    return {name: (type(value).__name__, value) for name, value in metadata.items() if name != TAGS}


# What a manifest wants.


def wishes(
    collection: Mapping[str, Any], disk: Mapping[str, tuple[str, int]], sources: Mapping[str, Mapping[str, Shapes]]
) -> dict[str, Wish]:
    """Name → wish. `disk`: path → (digest, size) of each file. `sources`: operation → image → shapes.

    Raises Collision.
    """
    found: dict[str, Wish] = {}
    for folder in collection["folders"]:
        root = folder["path"] + "/"
        of_folder = folder.get("metadata", {})
        tags = [*collection["metadata"][TAGS], *of_folder.get(TAGS, ())]
        metadata: dict[str, Any] = {**collection["metadata"], **of_folder, TAGS: tags}
        for path, (content, size) in disk.items():
            if not path.startswith(root) or _is_excluded(path.removeprefix(root), folder.get("exclude", ())):
                continue
            parts = PurePosixPath(path.removeprefix(root)).parts
            name = "__".join(parts) if folder.get("naming") == "path" else parts[-1]
            if name in found:
                raise Collision(name)
            # An entry names a file as it is called in the collection or on disk.
            sets = {
                block["operation"]: sources[block["operation"]][entry]
                for block in collection["annotations"]
                for entry in {name, parts[-1]} & sources[block["operation"]].keys()
            }
            found[name] = Wish(path, content, size, metadata, sets)
    return found


def _is_excluded(path: str, patterns: Iterable[str]) -> bool:
    parts = PurePosixPath(path).parts
    return any(
        pattern.rstrip("/") in parts[:-1] if pattern.endswith("/") else fnmatchcase(parts[-1], pattern)
        for pattern in patterns
    )


def policy_of(collection: Mapping[str, Any]) -> Policy:
    return Policy(
        collection.get("tags", "own"),
        collection.get("prune", False),
        collection.get("adopt", "match"),
        collection.get("on_change", "replace"),
        collection.get("metadata_override", False),
        {block["operation"]: block.get("mode", "replace") for block in collection["annotations"]},
    )


def meaning(collections: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What a manifest says, with its defaults written out. Manifests of one meaning are equal here."""
    return [
        {
            "tags": "own",
            "prune": False,
            "adopt": "match",
            "on_change": "replace",
            "metadata_override": False,
            **collection,
            "folders": [{"naming": "name", "exclude": [], "metadata": {}, **one} for one in collection["folders"]],
            "annotations": [{"mode": "replace", **one} for one in collection["annotations"]],
        }
        for collection in collections
    ]


def in_target(key: Key, targets: Iterable[str]) -> bool:
    """Whether a file belongs to what a run means."""
    collection, name = key
    targets = list(targets)
    return not targets or any(
        target == collection or fnmatchcase(f"{collection}/{name}", target) for target in targets if target
    )


# What a run makes of one file.


def outcome(wish: Wish, record: Record | None, item: Item | None, policy: Policy, *, full: bool) -> Outcome:
    """What a successful run makes of a file that the manifest wants. `full`: it looks at everything in the lake."""
    if item is None:
        return _fresh(wish, policy, frozenset(), frozenset())
    if record is None or (not record.uploaded and record.id != item.id):
        return _met(wish, record, item, policy, full=full)
    if record.id != item.id:
        if item.content == wish.content:
            return _untouched(item, record) if policy.adopt == "never" else _adopted(wish, item, policy, full=full)
        return _other_bytes(wish, record, item, policy)
    if record.content != wish.content:
        if policy.on_change == "keep":
            return _kept(wish, record, item, policy, full=full, path=record.path, content=record.content)
        return _other_bytes(wish, record, item, policy)
    return _kept(wish, record, item, policy, full=full, path=wish.path, content=wish.content)


def _untouched(item: Item | None, record: Record | None) -> Outcome:
    tags = item.tags if item is not None else frozenset[str]()
    return Outcome(item, record, tags, tags)


def _fresh(wish: Wish, policy: Policy, given_back: frozenset[str], perhaps: frozenset[str]) -> Outcome:
    """A file that is sent. `given_back`: Tags that others had set on the file that it replaces."""
    tags = frozenset(wish.metadata[TAGS])
    sets = {operation: shapes for operation, shapes in wish.sets.items() if shapes}
    item = Item("", wish.content, wish.size, wish.metadata, sets)
    record = Record("", wish.path, wish.content, True, wish.metadata, sets)
    return Outcome(item, record, tags | given_back, tags | given_back | perhaps)


def _other_bytes(wish: Wish, record: Record | None, item: Item, policy: Policy) -> Outcome:
    """The lake has other bytes under the name than the manifest wants, and may replace them."""
    if policy.on_change == "fail":
        return replace(_untouched(item, record), refused=True)
    if policy.on_change == "keep":
        return _untouched(item, record)
    ours = frozenset((record.written or {}).get(TAGS, ())) if record is not None else frozenset[str]()
    others = item.tags - ours if policy.tags == "own" else frozenset[str]()
    return _fresh(wish, policy, others, item.tags)


def _met(wish: Wish, record: Record | None, item: Item, policy: Policy, *, full: bool) -> Outcome:
    """A file in the lake of which nothing is known."""
    if policy.adopt == "never":
        return _untouched(item, record)
    if item.content == wish.content:
        return _adopted(wish, item, policy, full=full)
    if policy.adopt == "match":
        return _untouched(item, record)
    if policy.on_change == "keep" or (policy.on_change == "fail" and item.size == wish.size):
        return _adopted(wish, item, policy, full=full)
    return _other_bytes(wish, None, item, policy)


def _adopted(wish: Wish, item: Item, policy: Policy, *, full: bool) -> Outcome:
    metadata, least, most = dict(item.metadata), item.tags, item.tags
    written = None
    if policy.override:
        metadata |= wish.metadata
        least = most = frozenset(wish.metadata[TAGS]) | (item.tags if policy.tags == "own" else frozenset())
        written = wish.metadata
    sets = {**item.sets, **{operation: shapes for operation, shapes in wish.sets.items() if shapes}}
    known = {operation: shapes for operation, shapes in wish.sets.items() if shapes}
    # Where even the sizes differ, the bytes count as changed from then on.
    content = wish.content if item.size == wish.size else ""
    record = Record(item.id, wish.path, content, False, written, known)
    return Outcome(replace(item, metadata=metadata, sets=sets), record, least, most)


def _kept(wish: Wish, record: Record, item: Item, policy: Policy, *, full: bool, path: str, content: str) -> Outcome:
    """The bytes stay; metadata and shapes become as the manifest says."""
    metadata, least, most = dict(item.metadata), item.tags, item.tags
    written = record.written
    before = written or {}
    if record.uploaded or policy.override:
        wanted = wish.metadata
        if not full:
            wanted = {name: value for name, value in wanted.items() if not _holds(before, name, value)}
        metadata |= {name: value for name, value in wanted.items() if name != TAGS}
        if TAGS in wanted:
            ours = frozenset(wish.metadata[TAGS])
            least = most = ours
            if policy.tags == "own":
                least = most = (item.tags - frozenset(before.get(TAGS, ()))) | ours
        written = wish.metadata
    sets, known = dict(item.sets), dict(record.sets)
    for operation in {*policy.modes, *record.sets, *item.sets}:
        if operation in wish.sets:
            shapes = wish.sets[operation]
            if full or record.sets.get(operation, ()) != shapes:
                sets[operation] = shapes
            known[operation] = shapes
        elif operation not in policy.modes:
            if record.sets.get(operation):
                sets[operation] = ()
            known.pop(operation, None)
        elif policy.modes[operation] == "replace" and (operation in record.sets or record.uploaded):
            if full or record.sets.get(operation):
                sets[operation] = ()
            known[operation] = ()
    sets = {operation: shapes for operation, shapes in sets.items() if shapes}
    record = replace(record, path=path, content=content, written=written, sets=known)
    return Outcome(replace(item, metadata=metadata, sets=sets), record, least, most)


def _holds(metadata: Mapping[str, Any], name: str, value: Any) -> bool:
    if name not in metadata:
        return False
    if name == TAGS:
        return frozenset(metadata[name]) == frozenset(value)
    return type(metadata[name]) is type(value) and bool(metadata[name] == value)


# The whole.


@dataclass
class Knowledge:
    """What a state may know. `records`: every possibility for each file. `in_flight`: contents that an interrupted run
    may have been about to send. `must_claim`: ids that this state's runs have put into the lake. `owed`: Tags of others
    that an interrupted replacement took away."""

    records: dict[Key, list[Record | None]] = field(default_factory=dict)
    in_flight: dict[Key, dict[str, list[Wish]]] = field(default_factory=dict)
    must_claim: set[str] = field(default_factory=set)
    owed: dict[Key, frozenset[str]] = field(default_factory=dict)

    def copy(self) -> Knowledge:
        """As it is now, to be restored. What was in the lake by then is known for sure; the rest may not be."""
        in_flight = {key: dict(contents) for key, contents in self.in_flight.items()}
        return Knowledge(dict(self.records), in_flight, set(self.must_claim), dict(self.owed))

    def of(self, key: Key, item: Item | None) -> list[Record | None]:
        known = self.records.get(key, [None])
        started = self.in_flight.get(key, {})
        if item is None or item.content not in started or any(one is not None and one.id == item.id for one in known):
            return known
        claimed: list[Record | None] = [
            Record(item.id, wish.path, item.content, True, written, {})
            for wish in started[item.content]
            for written in (wish.metadata, {})
        ]
        return claimed if item.id in self.must_claim else [*known, *claimed]

    def completed_late(self, key: Key, before: Item | None, after: Item | None) -> Iterator[Item]:
        """The file as an interrupted run may have sent it, if it comes into its collection only now: with the metadata
        that the manifest said then."""
        if before is None and after is not None:
            for wish in self.in_flight.get(key, {}).get(after.content, ()):
                yield Item(after.id, after.content, after.size, wish.metadata, {})


@dataclass(frozen=True)
class Run:
    """What a run was about. `wanted` and `policies`: of the collections of its manifest. `hidden`: whether a path that
    is gone may only be out of sight."""

    wanted: Mapping[Key, Wish]
    policies: Mapping[str, Policy]
    targets: tuple[str, ...]
    full: bool
    hidden: Callable[[str], bool]


def judge_success(knowledge: Knowledge, run: Run, before: Lake, after: Lake) -> None:
    """Raise Objection where a run that says it succeeded did not. `knowledge` becomes what its state knows then."""
    for key in sorted({*before, *after, *run.wanted, *knowledge.records}):
        old, new = before.get(key), after.get(key)
        if not in_target(key, run.targets) or key[0] not in run.policies:
            _must_be_untouched(key, old, new, "is not what the run means")
            continue
        fitting: list[Record | None] = []
        seen: list[Outcome] = []
        for record in knowledge.of(key, old):
            for possible in outcomes(knowledge, run, key, record, old):
                seen.append(possible)
                if possible.agrees(old, new):
                    _add(fitting, _with_id(possible.record, new))
        if not fitting:
            raise Objection(_words(key, old, new, seen))
        knowledge.records[key] = fitting
    knowledge.must_claim |= _new_ids(before, after)
    if not run.targets:
        knowledge.in_flight.clear()
        knowledge.owed.clear()


def judge_interruption(
    knowledge: Knowledge, run: Run, before: Lake, after: Lake, left_out: Container[Key] = ()
) -> None:
    """Raise Objection where a run that did only a part of its work did what no run may: it was killed, met faults, or
    did what is still due of a saved plan. `left_out`: files that such a plan does not name."""
    for key in sorted({*before, *after, *run.wanted, *knowledge.records}):
        old, new = before.get(key), after.get(key)
        if not in_target(key, run.targets) or key[0] not in run.policies:
            _must_be_untouched(key, old, new, "is not what the run means")
            continue
        if key in left_out:
            _must_be_untouched(key, old, new, "is not named by the plan")
        possible: list[Record | None] = []
        seen: list[Outcome] = []
        for start in (old, *knowledge.completed_late(key, old, new)):
            for record in knowledge.of(key, start):
                for half in outcomes(knowledge, run, key, record, start):
                    seen.append(half)
                    if half.allows_half(start, new):
                        for between in _between(record, half.record, start, new):
                            _add(possible, between)
        if not possible:
            raise Objection(_words(key, old, new, seen))
        knowledge.records[key] = possible
        wish = run.wanted.get(key)
        if wish is not None and (new is None or new.content != wish.content):
            started = knowledge.in_flight.setdefault(key, {})
            started.setdefault(wish.content, [])
            if wish not in started[wish.content]:
                started[wish.content] = [*started[wish.content], wish]
        if old is not None and (new is None or new.id != old.id or key in knowledge.owed):
            knowledge.owed[key] = knowledge.owed.get(key, frozenset()) | old.tags
    knowledge.must_claim |= _new_ids(before, after)


def may_be_refused(knowledge: Knowledge, run: Run, before: Lake) -> tuple[bool, bool]:
    """Whether `on_change: fail` may stop a run, and whether it must."""
    possible = necessary = False
    for key in run.wanted:
        if in_target(key, run.targets):
            refused = [
                one.refused
                for record in knowledge.of(key, before.get(key))
                for one in outcomes(knowledge, run, key, record, before.get(key))
            ]
            possible |= any(refused)
            necessary |= all(refused)
    return possible, necessary


def may_wait(knowledge: Knowledge, run: Run, before: Lake) -> bool:
    """Whether a run of a part may leave files as they are, because a file of another part is still in the trash.

    A replacement of that file was interrupted, and no other file is replaced until its new bytes have arrived.
    """
    return any(key not in before and not in_target(key, run.targets) for key in knowledge.owed)


def outcomes(knowledge: Knowledge, run: Run, key: Key, record: Record | None, item: Item | None) -> Iterator[Outcome]:
    """What a run may make of a file; more than one only where the manual leaves it open."""
    policy = run.policies[key[0]]
    wish = run.wanted.get(key)
    if wish is not None:
        found = outcome(wish, record, item, policy, full=run.full)
        yield replace(found, most=found.most | knowledge.owed.get(key, frozenset()))
        return
    ours = record is not None and item is not None and record.uploaded and record.id == item.id
    if record is None or not ours or not policy.prune:
        yield _untouched(item, record if item is not None else None)
        return
    gone = Outcome(None, None)
    twins = [one for other, one in run.wanted.items() if other[0] == key[0] and one.content == record.content]
    if run.hidden(record.path):
        yield _untouched(item, record)
        if twins:
            yield gone
    else:
        yield gone
        if run.targets and twins:
            # A renamed file goes only together with the upload under its new name.
            yield _untouched(item, record)


def _between(
    old: Record | None, new: Record | None, before: Item | None, after: Item | None
) -> Iterator[Record | None]:
    """Every record that an interrupted run may have left."""
    if after is not None and (before is None or after.id != before.id):
        # It was sent by this run, so that the next one has to know it for its own.
        assert new is not None
        for written in ({}, new.written):
            yield from _with_some_sets(replace(new, id=after.id, written=written), {}, new.sets)
        return
    yield old
    if new is None or not new.id:
        if before is None or after is None:
            yield None
        return
    if old is None or old.id != new.id:
        for written in (None, new.written):
            yield from _with_some_sets(replace(new, written=written), {}, new.sets)
        return
    for content, path in {(old.content, old.path), (new.content, new.path)}:
        for written in (old.written, new.written):
            yield from _with_some_sets(replace(old, content=content, path=path, written=written), old.sets, new.sets)


def _with_some_sets(record: Record, old: Sets, new: Sets) -> Iterator[Record]:
    missing = object()
    operations = [one for one in {*old, *new} if old.get(one, missing) != new.get(one, missing)]
    for chosen in itertools.product((old, new), repeat=len(operations)):
        sets = {one: shapes for one, shapes in new.items() if one not in operations}
        sets |= {one: source[one] for one, source in zip(operations, chosen, strict=True) if one in source}
        yield replace(record, sets=sets)


def _with_id(record: Record | None, item: Item | None) -> Record | None:
    return replace(record, id=item.id) if record is not None and item is not None and not record.id else record


def _add(records: list[Record | None], record: Record | None) -> None:
    if record not in records:
        records.append(record)


def _new_ids(before: Lake, after: Lake) -> set[str]:
    return {item.id for item in after.values()} - {item.id for item in before.values()}


def _must_be_untouched(key: Key, before: Item | None, after: Item | None, why: str) -> None:
    if before != after:
        raise Objection(f"{'/'.join(key)} {why}, and it changed: {before} → {after}")


def must_be_same(before: Lake, after: Lake, why: str) -> None:
    """Raise Objection where anything in the lake changed."""
    for key in sorted({*before, *after}):
        _must_be_untouched(key, before.get(key), after.get(key), why)


def _words(key: Key, before: Item | None, after: Item | None, possible: Iterable[Outcome]) -> str:
    listed = "".join(f"\n  {one}" for one in possible)
    return f"{'/'.join(key)}:\n before {before}\n after {after}\n possible:{listed}"
