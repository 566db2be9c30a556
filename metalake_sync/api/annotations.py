"""Writes and removes annotations of images that are in the lake, by each kind of address.

Owns: the arguments of these calls, the images that the entries of a source match, and the result for each. Must not:
use a state, or compare a set with the lake's: each set is sent as the source has it. Longer than 300 lines, because
each function states its arguments and errors for users.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from metalake_sync.annotations.entries import AnnotationSpec
from metalake_sync.annotations.index import AnnotationIndex
from metalake_sync.annotations.index_builder import open_index
from metalake_sync.api.arguments import PYTHON, known_format, one_of, several, translated_remedies
from metalake_sync.api.connected import ProgressCallback, must_be_there, unusable_items
from metalake_sync.api.items import Items
from metalake_sync.api.matching import ImagesBeside, WhatIsThere, Written
from metalake_sync.api.objects import AnnotationsLike, annotations_file, shown_source, without_file
from metalake_sync.api.results import FailedItem, SomeFailed, WriteResult
from metalake_sync.apply.annotations import MODES
from metalake_sync.apply.pages import send_in_halves
from metalake_sync.core.events import Progress
from metalake_sync.core.shapes import FormatName, ShapeType, ShapeTypeName
from metalake_sync.core.snapshots import AnnotationKind, MediaType
from metalake_sync.errors import LakeError, LakeRejected, UsageError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.remote.annotation_objects import ImageAddress, pages, set_for_image

Kind: TypeAlias = Literal["human", "machine"]

Addresses: TypeAlias = Callable[[str, str | None], ImageAddress]
"""Returns the address of an image in the lake, from its name and the bucket that the source names for it."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """The arguments that every method takes."""

    operation: str
    source: AnnotationsLike
    kind: Kind
    normalized: bool
    format: FormatName | None
    """None: detected."""
    old_form: bool | None
    shape_type: ShapeTypeName | None
    destination_project_id: str | None

    def check(self) -> None:
        """Raise UsageError for annotations that can't be attached to a project."""
        if self.destination_project_id is not None and self.kind != "machine":
            raise UsageError(
                "only machine annotations can be attached to a project, and 'kind' is human",
                remedy="Remove 'destination_project_id', or correct 'kind'.",
            )

    def options(self) -> dict[str, Any]:
        """Return the arguments that only some formats take, as far as they are given. Raises UsageError for an unknown
        type."""
        options: dict[str, Any] = {}
        if self.old_form is not None:
            options["old_form"] = self.old_form
        if self.shape_type is not None:
            options["shape_type"] = ShapeType(one_of("shape_type", self.shape_type, get_args(ShapeTypeName)))
        return options


class Annotations(Items):
    """Sets are replaced image by image: an entry is the whole set of its image under the operation.

    A `source` is the path of a file, a folder or a glob, or the annotations themselves: a list of dictionaries in the
    vendor's form, or a pandas DataFrame (`api.objects`). `format`: the name of a format, built in or of an installed
    package; None detects it. Label files of YOLO take names and sizes from the images beside them (or in `images`
    beside `labels`). `operation`: the unique id of the project or model run. `kind`: who drew the shapes. `normalized`:
    the coordinates are fractions of the image's size; the lake converts them to pixels.

    `old_form` and `shape_type` are for MetaLake's JSON. `old_form`: whether the `metadata` of a shape holds attributes
    of its label, as in section 2.6 of the vendor's page; None: it does for shapes without `type`. `shape_type`: the
    type of shapes without `type`; None: `shape_type` at the top of the file, or the key of the coordinates.
    `storageName` of an image sets its bucket, and the bucket of the images after it in the file.

    `destination_project_id`: the project of the annotation studio that a model run is attached to after all sets were
    sent. If that fails, SomeFailed reports it, and the annotations stay in the lake.

    Each method raises ManifestErrors for a source that can't be used, and SomeFailed.
    """

    def upload_annotations_for_collection(
        self,
        collection_name: str,
        operation: str,
        source: AnnotationsLike,
        *,
        kind: Kind,
        normalized: bool = False,
        format: FormatName | None = None,
        old_form: bool | None = None,
        shape_type: ShapeTypeName | None = None,
        destination_project_id: str | None = None,
        progress: ProgressCallback | None = None,
    ) -> WriteResult:
        """Annotate images of a collection; entries are file names. Vendor's page: 2.2, and 2.6."""
        collection = self.find_collection(collection_name, "image")
        unique = {item.name: item.unique_name for item in self.get_item_list_from_collection(collection.id)}
        return self._annotate(
            Drawn(operation, source, kind, normalized, format, old_form, shape_type, destination_project_id),
            lambda image, _: ImageAddress(unique_name=unique[image]),
            progress,
            known=unique,
        )

    def upload_annotations_by_storage_path(
        self,
        operation: str,
        source: AnnotationsLike,
        *,
        kind: Kind,
        bucket_name: str | None = None,
        normalized: bool = False,
        format: FormatName | None = None,
        old_form: bool | None = None,
        shape_type: ShapeTypeName | None = None,
        destination_project_id: str | None = None,
        progress: ProgressCallback | None = None,
    ) -> WriteResult:
        """Annotate images by their path in the storage, with a leading slash. `bucket_name`: None for the default
        bucket. Vendor's page: 2.3."""
        return self._annotate(
            Drawn(operation, source, kind, normalized, format, old_form, shape_type, destination_project_id),
            lambda image, bucket: ImageAddress.at_path(image, bucket or bucket_name),
            progress,
            by_bucket=True,
        )

    def upload_annotations_by_unique_name(
        self,
        operation: str,
        source: AnnotationsLike,
        *,
        kind: Kind,
        normalized: bool = False,
        format: FormatName | None = None,
        old_form: bool | None = None,
        shape_type: ShapeTypeName | None = None,
        destination_project_id: str | None = None,
        progress: ProgressCallback | None = None,
    ) -> WriteResult:
        """Annotate images by their unique names. Vendor's page: 2.4."""
        return self._annotate(
            Drawn(operation, source, kind, normalized, format, old_form, shape_type, destination_project_id),
            lambda image, _: ImageAddress(unique_name=image),
            progress,
            there=lambda names: self._there(names, [MediaType.IMAGE]),
        )

    def upload_annotations_by_job_id(
        self,
        job_id: str,
        operation: str,
        source: AnnotationsLike,
        *,
        kind: Kind,
        normalized: bool = False,
        format: FormatName | None = None,
        old_form: bool | None = None,
        shape_type: ShapeTypeName | None = None,
        destination_project_id: str | None = None,
        progress: ProgressCallback | None = None,
    ) -> WriteResult:
        """Annotate images of one upload; entries are file names. Vendor's page: 2.5. Raises UsageError for a job that
        the lake does not know."""
        self.get_job_status(job_id)
        return self._annotate(
            Drawn(operation, source, kind, normalized, format, old_form, shape_type, destination_project_id),
            lambda image, _: ImageAddress(job_id=job_id, file_name=image),
            progress,
        )

    def attach_model_runs_to_project(self, project_id: str, operations: Sequence[str]) -> None:
        """Attach the machine annotations of operations to a project of the annotation studio. Attaching one again
        changes nothing.

        Raises StudioMissing if the lake has no studio, and LakeRejected for an operation without machine annotations.
        """
        self._client.attach_model_runs(project_id, several("operations", operations))

    def remove_annotations(self, collection_id: str, operation: str) -> None:
        """Remove the annotations of an operation from a collection, also those of other clients."""
        with must_be_there(
            f"collection of the id '{collection_id}'", "'find_collection' returns the id of a collection."
        ):
            self._client.delete_annotations(collection_id, operation, str(uuid.uuid4()))

    def _annotate(
        self,
        drawn: Drawn,
        address: Addresses,
        progress: ProgressCallback | None,
        known: Mapping[str, str] | None = None,
        there: WhatIsThere | None = None,
        by_bucket: bool = False,
    ) -> WriteResult:
        """Send the sets of a source.

        `known`: the image names in the collection, if they are known. `there`: returns which names exist. `by_bucket`:
        entries are storage paths.
        """
        drawn.check()
        with annotations_file(drawn.source) as path:
            result = self._annotate_from(path, drawn, address, progress, known, there, by_bucket)
        if drawn.destination_project_id is None:
            return result
        try:
            self.attach_model_runs_to_project(drawn.destination_project_id, [drawn.operation])
        except LakeError as error:
            item = FailedItem(
                f"project {drawn.destination_project_id}", str(error), not isinstance(error, LakeRejected)
            )
            raise SomeFailed((item,), result) from error
        return replace(result, attached_to=drawn.destination_project_id)

    def _annotate_from(
        self,
        path: str,
        drawn: Drawn,
        address: Addresses,
        progress: ProgressCallback | None,
        known: Mapping[str, str] | None,
        there: WhatIsThere | None,
        by_bucket: bool,
    ) -> WriteResult:
        shown = shown_source(drawn.source, "annotations")
        spec = AnnotationSpec(
            operation=drawn.operation,
            kind=AnnotationKind(one_of("kind", drawn.kind, ("human", "machine"))),
            sources=(path,),
            base_dir=Path.cwd(),
            declared_at=shown,
            normalized=drawn.normalized,
            format=known_format(drawn.format),
            options=drawn.options(),
        )
        beside = ImagesBeside(path, known or ())
        with translated_remedies(PYTHON), closing(open_index([spec], beside, by_bucket=by_bucket)) as index:
            images = [image for image in index.images() if known is None or image in known]
            unmatched = [image for image in index.images() if known is not None and image not in known]
            unmatched += index.without_file
            written = Written(there if known is None else lambda names: set(names))
            failed = asyncio.run(self._send(index, images, address, written, progress))
            found = list(index.notes())
            failed += without_file(unusable_items(found), path, shown)
            notes = [str(note).replace(path, shown) for note in found]
        return written.result(failed, notes, unmatched)

    async def _send(
        self,
        index: AnnotationIndex,
        images: Sequence[str],
        address: Addresses,
        written: Written,
        progress: ProgressCallback | None,
    ) -> list[FailedItem]:
        session, started, sent = str(uuid.uuid4()), datetime.now(UTC), 0
        labels = index.labels()
        references = self._client.label_references(labels) if labels else {}
        missing = sorted(labels.keys() - references.keys())
        if missing:
            raise LakeRejected(f"the lake gives no reference for the labels {', '.join(missing)}", status=200)

        def sets() -> Iterator[dict[str, Any]]:
            for image in images:
                record = index.record(image)
                to = address(index.in_its_bucket(image), record.bucket)
                yield set_for_image(to, index.operation, record, references, kind=index.kind, created_at=started)

        async def send(page: Sequence[dict[str, Any]]) -> None:
            updated = await asyncio.to_thread(
                self._client.update_annotations,
                index.operation,
                page,
                mode=MODES[index.kind],
                normalized=index.normalized,
                session_id=session,
                total=len(images),
                uploaded=sent,
            )
            written.page([names[id(entry)] for entry in page], updated)

        failed: list[FailedItem] = []
        names: dict[int, str] = {}
        for page in pages(sets()):
            names = {id(entry): images[sent + number] for number, entry in enumerate(page)}
            sent += len(page)
            for entry, rejection in await send_in_halves(page, send):
                failed.append(FailedItem(names[id(entry)], str(rejection), retryable=False))
            if progress is not None:
                seconds = (datetime.now(UTC) - started).total_seconds()
                progress(Progress(sent, len(images), 0, 0, "annotating", seconds))
        return failed
