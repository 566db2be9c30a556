"""`metalake-sync annotations`: writes and removes annotations of images in the lake, draws annotation sources, and
accepts changes of other clients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from metalake_sync.cli.commands.metadata import check_addressing, written
from metalake_sync.cli.lake_options import LakeFlags, takes_lake
from metalake_sync.cli.manifest_options import ManifestFlags, takes_manifest
from metalake_sync.cli.options import option
from metalake_sync.cli.selection_options import KINDS, READ_FORMATS, takes_form
from metalake_sync.cli.terminal import count, echo_json, say, shown
from metalake_sync.errors import UsageError

if TYPE_CHECKING:
    from metalake_sync.api import WriteResult
    from metalake_sync.core.shapes import FormatName, ShapeTypeName
    from metalake_sync.operations.acceptance import Accepted, AcceptedSet


@click.command("preview", epilog="Example: metalake-sync annotations preview birds.yaml --to preview --sample 50")
@takes_manifest
@option(
    "--to",
    "to",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder to write the images and index.html to.",
)
@option(
    "--sample",
    type=click.IntRange(1),
    default=24,
    show_default=True,
    help="Number of images to draw for each collection and operation, evenly spread.",
)
@option("--image", "images", multiple=True, metavar="NAME", help="Draw this image. Can be repeated.")
@option("--operation", "operations", multiple=True, metavar="ID", help="Draw only this operation. Can be repeated.")
@option("--changed", is_flag=True, help="Draw only annotation sets that differ from the last apply.")
def preview(
    flags: ManifestFlags, to: Path, sample: int, images: tuple[str, ...], operations: tuple[str, ...], changed: bool
) -> None:
    """Draw the shapes of a sample of images: one PNG with a legend for each, and index.html with all of them.

    The images of an earlier preview are removed from the folder. Other files in it stay. The command does not ask the
    lake, and only --changed reads the state. Needs: pip install 'metalake-sync[preview]'.
    """
    from metalake_sync.operations.preview import PreviewSpec, draw_changes, draw_preview

    spec = PreviewSpec(to, sample, frozenset(images), frozenset(operations))
    if changed:
        from metalake_sync.planning.run_options import RunOptions

        drawn = draw_changes(flags.engine(options=RunOptions(refresh="none")), spec)
    else:
        drawn = draw_preview(flags.load(), spec)
    if flags.as_json:
        document = {
            "page": str(drawn.page),
            "pictures": [
                {
                    "collection": one.collection,
                    "operation": one.operation,
                    "file": one.name,
                    "path": str(to / one.png),
                    "labels": dict(one.labels),
                }
                for one in drawn.images
            ],
            "notes": list(drawn.notes),
        }
        echo_json(json.dumps(document, indent=2))
        return
    told = () if flags.quiet else drawn.notes if flags.verbose else drawn.notes[:10]
    for note in told:
        say(f"note: {shown(note)}")
    if told and len(told) < len(drawn.notes):
        say(f"note: and {len(drawn.notes) - len(told)} more; the page lists all of them")
    say(f"Drew {count(len(drawn.images), 'image')}; open {shown(str(drawn.page))}")


@click.command("accept", epilog="Example: metalake-sync annotations accept birds.yaml --operation birds_human crow.png")
@takes_manifest
@click.argument("files", metavar="[FILE]...", nargs=-1)
@option("--operation", "operations", multiple=True, metavar="ID", help="Accept only this operation. Can be repeated.")
@option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write (default: accepted.json beside the source, or accepted-OPERATION.json if the manifest has"
    " several operations).",
)
def accept(flags: ManifestFlags, files: tuple[str, ...], operations: tuple[str, ...], output: Path | None) -> None:
    """Write annotation sets that another client changed in the lake to a file that the manifest can read as a source.

    Without FILE, all sets that differ from the sources because another client changed them are accepted. FILE is the
    name of a file in its collection, or its path. Entries of other images in the file stay. The manifest, the state and
    the lake stay as they are.
    """
    from metalake_sync.operations.acceptance import AcceptSpec, accept

    accepted = accept(flags.engine(), AcceptSpec(frozenset(operations), files, output))
    if flags.as_json:
        echo_json(json.dumps(_accepted_document(accepted), indent=2, ensure_ascii=True))
        return
    for note in accepted.notes:
        say(f"note: {shown(note)}")
    if not accepted.files:
        say("Nothing to accept: no set differs from its source because another client changed it")
    for file in accepted.files:
        sets = count(len(file.sets), "set")
        say(f"{shown(file.collection)}, {shown(file.operation)}: wrote {sets} to {shown(file.path)}")
        for one in () if flags.quiet else file.sets:
            say(f"  {shown(one.file)}  {count(one.shapes, 'shape')}: {one.changes.summary}")
            for line in one.changes.details:
                say(f"      {shown(line)}")
        if file.source is not None:
            say(f"Add it as the last source at {shown(file.declared_at)}:")
            say(f"  source: {shown(json.dumps(file.source, ensure_ascii=False))}")
        if file.format is not None:
            say(f"Also remove 'format: {shown(file.format)}' there, so that the format of each file is detected")


def _accepted_document(accepted: Accepted) -> dict[str, Any]:
    from metalake_sync.documents.base import to_json

    def changes(one: AcceptedSet) -> Any:
        return json.loads(to_json(one.changes, include={"summary", "unit", "counts", "labels", "changes", "left_out"}))

    return {
        "files": [
            {
                "path": file.path,
                "collection": file.collection,
                "operation": file.operation,
                "source_at": file.declared_at,
                "source": file.source,
                "remove_format": file.format,
                "sets": [{"file": one.file, "shapes": one.shapes, "shape_changes": changes(one)} for one in file.sets],
            }
            for file in accepted.files
        ],
        "notes": accepted.notes,
    }


@click.group(
    "annotations",
    epilog="Example: metalake-sync annotations upload pred.json --operation yolov5 --kind machine --collection birds",
)
def annotations_command() -> None:
    """Write and remove annotations of images in the lake, preview them, and accept changes of other clients."""


@annotations_command.command(
    "upload",
    epilog="Example: metalake-sync annotations upload pred.json --operation yolov5 --kind machine --collection birds",
)
@takes_lake
@click.argument("source", type=click.Path(path_type=Path))
@option(
    "--operation",
    required=True,
    help="Unique id of the annotation project or model run. Its earlier sets of these images are replaced.",
)
@option("--kind", type=KINDS, required=True, help="Whether people or a model drew the shapes.")
@option("--normalized", is_flag=True, help="Send coordinates as fractions of the image's size.")
@option(
    "--format",
    "source_format",
    type=READ_FORMATS,
    help="Format of the source (default: detected).",
)
@takes_form
@option(
    "--destination-project-id",
    metavar="ID",
    help="Attach the model run to this project of the annotation studio after its annotations were sent.",
)
@option("--collection", metavar="NAME", help="Match entries by name in this collection.")
@option("--job", metavar="ID", help="Match entries by name in this upload job.")
@option("--by-unique-name", is_flag=True, help="Match entries by unique name.")
@option("--by-storage-path", is_flag=True, help="Match entries by path in the storage, with a leading slash.")
@option("--bucket", help="Bucket for --by-storage-path (default: the lake's default bucket).")
def upload(
    flags: LakeFlags,
    source: Path,
    operation: str,
    kind: Literal["human", "machine"],
    normalized: bool,
    source_format: FormatName | None,
    old_form: bool | None,
    shape_type: ShapeTypeName | None,
    destination_project_id: str | None,
    collection: str | None,
    job: str | None,
    by_unique_name: bool,
    by_storage_path: bool,
    bucket: str | None,
) -> None:
    """Write annotations from a file, a folder or a glob. Each entry replaces the whole annotation set of its image."""
    check_addressing(collection, job, by_unique_name, by_storage_path, bucket)
    with flags.lake() as lake, flags.progress() as progress:

        def call() -> WriteResult:
            how: dict[str, Any] = {
                "kind": kind,
                "normalized": normalized,
                "format": source_format,
                "old_form": old_form,
                "shape_type": shape_type,
                "destination_project_id": destination_project_id,
                "progress": progress,
            }
            if collection is not None:
                return lake.upload_annotations_for_collection(collection, operation, source, **how)
            if job is not None:
                return lake.upload_annotations_by_job_id(job, operation, source, **how)
            if by_unique_name:
                return lake.upload_annotations_by_unique_name(operation, source, **how)
            return lake.upload_annotations_by_storage_path(operation, source, bucket_name=bucket, **how)

        flags.finish(call, written)


@annotations_command.command("attach", epilog="Example: metalake-sync annotations attach 64f0c2 yolov5.0.1")
@takes_lake
@click.argument("project")
@click.argument("operations", metavar="OPERATION...", nargs=-1, required=True)
def attach(flags: LakeFlags, project: str, operations: tuple[str, ...]) -> None:
    """Attach model runs to a project of the annotation studio. Their annotations must be in the lake already."""
    if not project.strip() or not all(operation.strip() for operation in operations):
        raise UsageError(
            "the project id or an operation id is empty", remedy="Give the ids: annotations attach PROJECT OPERATION."
        )
    with flags.lake() as lake:
        lake.attach_model_runs_to_project(project, operations)
    flags.show(
        {"project": project, "operations": list(operations)},
        lambda: (f"model run {shown(operation)} attached to project {shown(project)}" for operation in operations),
    )


@annotations_command.command(
    "remove", epilog="Example: metalake-sync annotations remove birds --operation yolov5.0.1 --auto-approve"
)
@takes_lake
@click.argument("collection")
@option("--operation", required=True, help="Unique id of the operation to remove.")
@option("--auto-approve", is_flag=True, help="Do not ask for approval.")
def remove(flags: LakeFlags, collection: str, operation: str, auto_approve: bool) -> None:
    """Remove an operation's annotations from all files of a collection, also from files of other clients."""
    with flags.lake() as lake:
        found = lake.find_collection(collection, "image")
        flags.ask(
            f"All annotations of {shown(operation)} in {shown(collection)} will be removed. Continue?",
            approved=auto_approve,
        )
        lake.remove_annotations(found.id, operation)
    flags.show(
        {"collection": collection, "operation": operation},
        lambda: iter([f"{shown(collection)}: {shown(operation)} removed"]),
    )


@annotations_command.command("labels", epilog="Example: metalake-sync annotations labels --json")
@takes_lake
@option("--group", metavar="ID", help="List only the labels of this group.")
def labels(flags: LakeFlags, group: str | None) -> None:
    """List the labels of the lake."""
    with flags.lake() as lake:
        found = lake.get_all_labels(group)
    flags.show(found, lambda: (shown(label.text) for label in found))


@annotations_command.command("label-groups", epilog="Example: metalake-sync annotations label-groups --json")
@takes_lake
def label_groups(flags: LakeFlags) -> None:
    """List the label groups of the lake."""
    with flags.lake() as lake:
        found = lake.get_all_label_groups()
    flags.show(found, lambda: (f"{group.id}  {shown(group.name)}" for group in found))


annotations_command.add_command(preview)
annotations_command.add_command(accept)
