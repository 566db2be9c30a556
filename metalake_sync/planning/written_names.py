"""Asks the lake, once per run, about the names that a plan writes: tags, metadata fields and labels.

Owns: whether the lake accepts tags and fields and how it spells them, and the notes on labels that it does not have
yet, because a typo would create a new class. Must not: write anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

from metalake_sync.core.actions import Annotate
from metalake_sync.core.metadata import TAGS, MetadataSet, MetadataValues, Spelling, is_computed
from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.core.plan import AddressedPlan, CollectionPlan, Plan
from metalake_sync.core.snapshots import CollectionKey
from metalake_sync.errors import LakeAnswerInvalid, LakeRejected, ManifestError
from metalake_sync.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from metalake_sync.annotations.index import AnnotationIndex
    from metalake_sync.planning.desired import DesiredCollection
    from metalake_sync.planning.unmanaged_sources import OperationAt
    from metalake_sync.remote.client import LakeClient


COMPUTED_CLAUSE = "the lake computes these fields itself; they are sent, and not compared with the lake"


@dataclass(frozen=True, slots=True)
class MetadataNames:
    """The distinct tags and fields of metadata, in order of appearance."""

    tags: dict[str, None] = field(default_factory=dict)
    fields: dict[str, None] = field(default_factory=dict)

    @classmethod
    def of(cls, sets: Iterable[MetadataValues]) -> MetadataNames:
        names = cls()
        for values in sets:
            fields: dict[str, Any] = dict(values)
            names.tags.update(dict.fromkeys(fields.pop(TAGS, ())))
            names.fields.update(dict.fromkeys(fields))
        return names

    @classmethod
    def written_by(cls, plan: Plan) -> MetadataNames:
        """The names that an apply of the plan would write."""
        once = {metadata.digest: metadata.values for metadata in _about_to_be_written(plan)}
        return cls.of(once.values())


@dataclass(frozen=True, slots=True)
class MetadataCheck:
    """The lake's answer about tags and fields."""

    objection: str | None = None
    """Why the lake rejects them. None if it accepts them."""
    spelling: Spelling = field(default_factory=Spelling)
    """The names that the lake spells differently."""


def check_metadata_names(client: LakeClient, names: MetadataNames) -> MetadataCheck:
    """Ask the lake about tags and fields. Costs at most two calls, regardless of the number of files."""
    tags = client.validate_tags(list(names.tags)) if names.tags else None
    if tags is not None and tags.objection is not None:
        return MetadataCheck(tags.objection)
    fields = client.validate_fields(list(names.fields)) if names.fields else None
    if fields is not None and fields.objection is not None:
        return MetadataCheck(fields.objection)
    return MetadataCheck(
        spelling=Spelling(_known(fields.renames if fields else {}), _known(tags.renames if tags else {}))
    )


def raise_objection(check: MetadataCheck, manifest: str) -> None:
    """Raise ManifestError with the lake's message if it rejects a tag or a field."""
    if check.objection is not None:
        raise ManifestError(
            f"the lake rejects the metadata: {check.objection}",
            where=manifest,
            remedy="Nothing was sent. Correct the metadata in the manifest or its sources.",
        )


def notes_on_spelling(names: MetadataNames, spelling: Spelling) -> tuple[Note, ...]:
    """Notes on names that are written as the lake spells them, not as the manifest does. `names`: what is written."""
    notes = []
    for what, renames, written in (
        ("metadata fields", spelling.fields, names.fields),
        ("tags", spelling.tags, names.tags),
    ):
        renamed = [
            f"'{ours}' as '{theirs}'" for ours, theirs in renames.items() if ours in written or theirs in written
        ]
        if renamed:
            notes.append(
                Note.naming(NoteCode.LAKES_SPELLING, f"the lake has its own spelling of {what}; sent", renamed)
            )
    return tuple(notes)


def notes_on_computed(names: MetadataNames) -> tuple[Note, ...]:
    """A note if fields are written that the lake computes itself."""
    computed = [f"'{name}'" for name in names.fields if is_computed(name)]
    if not computed:
        return ()
    return (Note.naming(NoteCode.COMPUTED_FIELD, COMPUTED_CLAUSE, computed, "metadata"),)


def _known(renames: Mapping[str, str]) -> dict[str, str]:
    """Drop renames that lead back to the original name. They would never settle."""
    return {asked: known for asked, known in renames.items() if renames.get(known, known) == known}


def _about_to_be_written(plan: Plan) -> Iterator[MetadataSet]:
    for action in plan.actions():
        if action.metadata_written is not None:
            yield action.metadata_written


def new_labels(
    client: LakeClient,
    plans: Sequence[CollectionPlan],
    desired: Mapping[CollectionKey, DesiredCollection],
    addressed: Sequence[AddressedPlan] = (),
    indexes: Mapping[OperationAt, AnnotationIndex] | None = None,
) -> Iterator[Note]:
    """A note for each label that applying the plans would create, with the most similar label of the lake.

    `indexes`: of the `addressed` plans.
    """
    used: dict[str, str] = {}
    for plan in plans:
        operations = {
            action.annotations.operation
            for action in plan.annotations
            if isinstance(action, Annotate) and action.annotations.shape_count
        }
        for operation in sorted(operations):
            for label in desired[plan.key].annotations[operation].labels():
                used.setdefault(label, operation)
    for elsewhere in addressed:
        sends = any(isinstance(action, Annotate) and action.annotations.shape_count for action in elsewhere.actions)
        if sends and indexes is not None and elsewhere.operation is not None:
            for label in indexes[elsewhere.address, elsewhere.operation].labels():
                used.setdefault(label, elsewhere.operation)
    if not used:
        return
    try:
        known = {listed.label_text for listed in client.list_labels()}
    except (LakeRejected, LakeAnswerInvalid) as error:
        unread = f"cannot read the labels of the lake ({error.message}), so new labels are not shown"
        yield Note(NoteCode.LABELS_UNREAD, unread)
        return
    if not known:
        # No label can be a typo of another yet, so one note names them all.
        labels = ", ".join(f"'{label}'" for label in sorted(used))
        yield Note(NoteCode.NEW_LABEL, f"the lake has no labels yet; this plan creates {labels}")
        return
    import difflib

    in_lower_case = {label.casefold(): label for label in sorted(known)}
    for label in sorted(used.keys() - known):
        same = in_lower_case.get(label.casefold())
        near = [same] if same is not None else difflib.get_close_matches(label, known, n=1)
        meant = f"; did you mean '{near[0]}'?" if near else ""
        yield Note(NoteCode.NEW_LABEL, f"label '{label}' is new in the lake{meant}", used[label])
