"""The annotation stage: sends one set per changed image and operation, in pages bounded by images and bytes.

Owns: the pages. A page that the lake rejects is bisected until the bad set is isolated.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from metalake_sync.apply.bisect import send_in_halves
from metalake_sync.apply.labels import LabelBook
from metalake_sync.apply.recorder import Recorder
from metalake_sync.core.actions import Annotate, RemoveAnnotations
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.core.shapes import EMPTY_SET_DIGEST, ImageRecord
from metalake_sync.core.snapshots import AnnotationKind, CollectionKey
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.desired import DesiredCollection
from metalake_sync.protocol.wire import OperationMode
from metalake_sync.remote.annotation_objects import pages, set_for_image
from metalake_sync.remote.client import LakeClient

if TYPE_CHECKING:
    from metalake_sync.protocol.annotation_sets import LabelReference

MODES = {AnnotationKind.HUMAN: OperationMode.HUMAN, AnnotationKind.MACHINE: OperationMode.MACHINE}

AnnotationAction = Annotate | RemoveAnnotations


@dataclass(slots=True)
class _Upload:
    """The sets of one operation that are sent together. `total` counts the images of all pages."""

    collection: CollectionKey
    operation: str
    kind: AnnotationKind
    normalized: bool
    total: int
    session_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    uploaded: int = 0
    records: dict[str, ImageRecord] = field(default_factory=dict)
    """The sets of the page that is being sent, by file name. The state keeps those that the lake confirms."""


class AnnotationStage:
    """`desired`: the opened collections, which read the shapes of an image from their source."""

    def __init__(
        self,
        client: LakeClient,
        recorder: Recorder,
        desired: Mapping[CollectionKey, DesiredCollection],
        labels: LabelBook,
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._desired = desired
        self._labels = labels

    async def annotate(
        self, collection: CollectionPlan, actions: Iterable[AnnotationAction], unique_names: Mapping[str, str]
    ) -> None:
        """Send sets. `unique_names`: of files that were just uploaded, by name. Other actions have their own."""
        by_operation: dict[tuple[str, AnnotationKind], list[AnnotationAction]] = {}
        for action in actions:
            by_operation.setdefault((action.annotations.operation, action.annotations.kind), []).append(action)
        for (operation, kind), group in by_operation.items():
            index = self._desired[collection.key].annotations.get(operation)
            normalized = index.normalized if index is not None else False
            upload = _Upload(collection.key, operation, kind, normalized, len(group))
            references = await self._labels.references() if any(_has_shapes(action) for action in group) else {}
            sets = (self._set(upload, action, unique_names, references) for action in group)
            for page in _paired(group, pages(sets)):
                await self._send_page(upload, page)

    async def _send_page(self, upload: _Upload, page: Sequence[tuple[AnnotationAction, dict[str, Any]]]) -> None:
        upload.uploaded += len(page)
        refused = await send_in_halves(page, lambda part: self._send(upload, part))
        for (action, _), refusal in refused:
            self._recorder.fail([action], refusal, retryable=False)
        for action, _ in page:
            upload.records.pop(action.name, None)

    async def _send(self, upload: _Upload, page: Sequence[tuple[AnnotationAction, dict[str, Any]]]) -> None:
        if any(isinstance(action, RemoveAnnotations) for action, _ in page):
            await asyncio.to_thread(self._recorder.state.sync)
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
        self._recorder.confirm(
            [action for action, _ in page], lambda: self._record(upload, [action for action, _ in page])
        )

    def _record(self, upload: _Upload, actions: Sequence[AnnotationAction]) -> None:
        handle = self._recorder.handle(upload.collection)
        state = self._recorder.state
        sent = [(action.name, action.annotations) for action in actions if isinstance(action, Annotate)]
        state.annotation_sets.record(handle, sent, lambda name, _: upload.records.get(name))
        state.annotation_sets.forget(
            handle, [(a.name, a.annotations.operation) for a in actions if isinstance(a, RemoveAnnotations)]
        )

    def _set(
        self,
        upload: _Upload,
        action: AnnotationAction,
        unique_names: Mapping[str, str],
        references: Mapping[str, LabelReference],
    ) -> dict[str, Any]:
        unique_name = action.unique_name or unique_names[action.name]
        record = ImageRecord(action.name, ())
        if isinstance(action, Annotate) and _has_shapes(action):
            record = self._desired[upload.collection].record(action.annotations.operation, action.name)
            upload.records[action.name] = record
        return set_for_image(
            unique_name,
            action.annotations.operation,
            record,
            references,
            kind=action.annotations.kind,
            created_at=datetime.now(UTC),
        )


def _has_shapes(action: AnnotationAction) -> bool:
    return isinstance(action, Annotate) and action.annotations.digest != EMPTY_SET_DIGEST


def _paired(
    actions: Sequence[AnnotationAction], sets: Iterator[list[dict[str, Any]]]
) -> Iterator[list[tuple[AnnotationAction, dict[str, Any]]]]:
    """Pair each set of a page with its action."""
    start = 0
    for page in sets:
        yield list(zip(actions[start : start + len(page)], page, strict=True))
        start += len(page)
