"""The annotation stage: sends one set per changed image and operation, and attaches model runs to studio projects.

Owns: the pages, bounded by images and bytes, and the labels that they refer to. Managed and unmanaged images take the
same way; only the address differs. A page that the lake rejects is bisected until the bad set is isolated.

Model runs are attached last. The studio is another service, which a deployment may not have. If it rejects a model run,
only the attachment fails: the annotations are sent already.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from metalake_sync.apply.pages import AddressLookup, PageSender, has_image_address, image_address
from metalake_sync.apply.recorder import Recorder
from metalake_sync.core.actions import Annotate, AttachModelRun, SetAction
from metalake_sync.core.addresses import Address, Place
from metalake_sync.core.shapes import ImageRecord
from metalake_sync.core.snapshots import AnnotationKind, KeptSet
from metalake_sync.errors import LakeError, LakeRejected, SyncError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.protocol.wire import OperationMode
from metalake_sync.remote.annotation_objects import LabelTree, merge_label_trees, pages, set_for_image
from metalake_sync.remote.client import LakeClient
from metalake_sync.state.annotation_bases import BaseId
from metalake_sync.state.pending_writes import PendingSet

if TYPE_CHECKING:
    from metalake_sync.annotations.index import AnnotationIndex
    from metalake_sync.protocol.annotation_sets import LabelReference


MODES = {AnnotationKind.HUMAN: OperationMode.HUMAN, AnnotationKind.MACHINE: OperationMode.MACHINE}

Indexes = Mapping[tuple[Place, str], "AnnotationIndex"]
"""The opened annotation sources by place and operation."""


@dataclass(slots=True)
class _Upload:
    """The sets of one place and operation that are sent together. `total` counts the images of all pages."""

    place: Place
    operation: str
    kind: AnnotationKind
    normalized: bool
    total: int
    session_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    uploaded: int = 0
    pending: dict[str, PendingSet] = field(default_factory=dict)
    """The sets of the page that is being sent, by file name."""
    bases: dict[str, BaseId] = field(default_factory=dict)
    """The stored shapes of the sets to record, by file name."""


class AnnotationStage:
    """`indexes`: the sources, which the shapes of an image are read from."""

    def __init__(self, client: LakeClient, recorder: Recorder, indexes: Indexes, addresses: AddressLookup) -> None:
        self._client = client
        self._recorder = recorder
        self._indexes = indexes
        self._addresses = addresses
        self._labels = LabelBook(client, indexes.values())

    async def send(self, actions: Iterable[SetAction], unique_names: Mapping[str, str] | None = None) -> None:
        """Send sets. `unique_names`: of files that were just uploaded, by name. Other actions have their own."""
        groups: dict[tuple[Place, str, AnnotationKind], list[SetAction]] = {}
        for action in actions:
            wanted = action.annotations
            groups.setdefault((action.at.place, wanted.operation, wanted.kind), []).append(action)
        for (place, operation, kind), group in groups.items():
            names = unique_names or {}
            if isinstance(place, Address):
                names = await self._addresses.unique_names(place, [action.at for action in group])
                group = self._without_missing(place, group, names)
            index = self._indexes.get((place, operation))
            upload = _Upload(place, operation, kind, index.normalized if index is not None else False, len(group))
            sends_labels = any(isinstance(action, Annotate) for action in group)
            merged = [one.merge.shapes for one in group if isinstance(one, Annotate) and one.merge is not None]
            references = await self._labels.references(merged) if sends_labels else {}
            sender = PageSender(self._recorder, place)
            sets = (self._set(upload, action, names, references) for action in group)
            for page in _paired(group, pages(sets)):
                upload.uploaded += len(page)
                await self._record_pending(upload, [action.at.name for action, _ in page])
                rejected = await sender.send(page, partial(self._send, upload), lambda pair: pair[0])
                self._forget_rejected(upload, [action.at.name for action, _ in rejected])

    async def _record_pending(self, upload: _Upload, names: Sequence[str]) -> None:
        """Record what is about to be sent, so that a run after a kill knows that the lake may have it from us."""
        state = self._recorder.state
        sets = [upload.pending.pop(name) for name in names]
        with state.write():
            upload.bases = state.pending_writes.put_sets(self._recorder.lake, upload.place, upload.operation, sets)
        await asyncio.to_thread(state.sync)

    def _forget_rejected(self, upload: _Upload, names: Sequence[str]) -> None:
        if names:
            state = self._recorder.state
            with state.write():
                state.pending_writes.drop_sets(self._recorder.lake, upload.place, upload.operation, names)

    def _without_missing(
        self, place: Address, actions: Sequence[SetAction], unique_names: Mapping[str, str]
    ) -> list[SetAction]:
        """Report images that the lake does not have, and return the other actions."""
        here = [action for action in actions if has_image_address(action.at, unique_names)]
        if len(here) < len(actions):
            missing = LakeRejected(f"the lake does not have this file in '{place.within}'", status=200)
            gone = [action for action in actions if not has_image_address(action.at, unique_names)]
            self._recorder.fail(gone, missing, retryable=True)
        return here

    async def _send(self, upload: _Upload, page: Sequence[tuple[SetAction, dict[str, Any]]]) -> None:
        """Send a page of sets, and record them when the lake confirms them."""
        actions = [action for action, _ in page]
        await asyncio.to_thread(
            self._client.update_annotations,
            upload.operation,
            [annotations for _, annotations in page],
            mode=MODES[upload.kind],
            normalized=upload.normalized,
            session_id=upload.session_id,
            total=upload.total,
            uploaded=upload.uploaded,
        )
        self._recorder.confirm(actions, lambda: self._record(upload, actions))

    def _record(self, upload: _Upload, actions: Sequence[SetAction]) -> None:
        records = self._recorder.records_at(upload.place)
        wanted = [(action.at, action.to_record if isinstance(action, Annotate) else None) for action in actions]
        records.record_sets(
            [(at, one) for at, one in wanted if one is not None], lambda name, _: upload.bases.get(name)
        )
        # A combined set differs from the source's. It stays until one side changes again.
        records.keep_sets(
            [
                (action.at, KeptSet(action.annotations, action.merge.stored))
                for action in actions
                if isinstance(action, Annotate) and action.merge is not None and action.merge.stored is not None
            ]
        )
        records.forget_sets(upload.operation, [at.name for at, one in wanted if one is None])
        self._recorder.state.pending_writes.confirm_sets(
            self._recorder.lake, upload.place, upload.operation, [action.at.name for action in actions]
        )

    def _set(
        self,
        upload: _Upload,
        action: SetAction,
        unique_names: Mapping[str, str],
        references: Mapping[str, LabelReference],
    ) -> dict[str, Any]:
        record = ImageRecord(action.at.name, ())
        wanted, base, kept = None, None, None
        if isinstance(action, Annotate):
            wanted = action.to_record
            record = self._indexes[upload.place, upload.operation].record(action.at.name)
            if action.merge is not None:
                # The state keeps the source's set: what the other client drew stays theirs in the next comparison.
                base, record = record if wanted is not None else None, action.merge.shapes
                kept = action.merge.stored
        upload.pending[action.at.name] = PendingSet(
            action.at, upload.operation, upload.kind, record, wanted, base, kept
        )
        return set_for_image(
            image_address(action.at, unique_names),
            upload.operation,
            record,
            references,
            kind=upload.kind,
            created_at=datetime.now(UTC),
        )


class LabelBook:
    """The lake's references of labels, requested once per run for all labels that the manifest's sources use.

    `indexes`: of every operation of the manifest. The lake creates the labels that it does not have yet.
    """

    def __init__(self, client: LakeClient, indexes: Iterable[AnnotationIndex]) -> None:
        self._client = client
        self._indexes = indexes
        self._references: Mapping[str, LabelReference] | None = None
        self._asking = asyncio.Lock()

    async def references(self, merged: Sequence[ImageRecord] = ()) -> Mapping[str, LabelReference]:
        """Return the references by label. `merged`: sets that may have labels and attributes of other clients."""
        async with self._asking:
            if self._references is None or merged:
                trees: list[LabelTree] = [index.labels() for index in self._indexes]
                if merged:
                    from metalake_sync.annotations.index_builder import labels_of

                    trees += (labels_of(one.shapes) for one in merged)
                self._references = {**(self._references or {}), **await self._request(merge_label_trees(trees))}
            return self._references

    async def _request(self, tree: dict[str, dict[str, list[Any]]]) -> Mapping[str, LabelReference]:
        references = await asyncio.to_thread(self._client.label_references, tree)
        missing = sorted(tree.keys() - references.keys())
        if missing:
            raise LakeRejected(f"the lake did not return a reference for the labels {', '.join(missing)}", status=200)
        return references


def _paired(
    actions: Sequence[SetAction], sets: Iterator[list[dict[str, Any]]]
) -> Iterator[list[tuple[SetAction, dict[str, Any]]]]:
    """Pair each set of a page with its action."""
    start = 0
    for page in sets:
        yield list(zip(actions[start : start + len(page)], page, strict=True))
        start += len(page)


class AttachmentStage:
    """`lake`: the identity of the lake in the state."""

    def __init__(self, client: LakeClient, recorder: Recorder, lake: str) -> None:
        self._client = client
        self._recorder = recorder
        self._lake = lake

    async def run(self, actions: Sequence[AttachModelRun]) -> None:
        incomplete = {
            failure.action.annotations.operation
            for failure in self._recorder.failures
            if isinstance(failure.action, Annotate)
        }
        for action in actions:
            if action.operation in incomplete:
                error = SyncError("some of its annotations were not sent", remedy="Fix these failures first.")
                self._recorder.fail([action], _describe(action, error), retryable=True)
                continue
            try:
                await asyncio.to_thread(self._client.attach_model_runs, action.project, [action.operation])
            except LakeError as rejection:
                self._recorder.fail(
                    [action], _describe(action, rejection), retryable=not isinstance(rejection, LakeRejected)
                )
                continue
            self._recorder.confirm([action], lambda action=action: self._record(action))  # type: ignore[misc]

    def _record(self, action: AttachModelRun) -> None:
        self._recorder.state.attached.put(self._lake, action.operation, action.project)


def _describe(action: AttachModelRun, error: SyncError) -> SyncError:
    """Return the error with the attachment that failed."""
    message = f"model run '{action.operation}' is not attached to project '{action.project}': {error.message}"
    return SyncError(message, remedy=error.remedy, where=error.where)
