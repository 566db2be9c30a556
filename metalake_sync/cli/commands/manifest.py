"""`metalake-sync init|validate|schema`: write a starter manifest, check a manifest, and print the JSON Schemas."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metalake_sync.cli.manifest_options import SAFE, ManifestFlags, takes_manifest
from metalake_sync.cli.options import IGNORE_COMPATIBILITY, option
from metalake_sync.cli.terminal import count, echo_json, say, shown, size
from metalake_sync.errors import ExitCode, GuardStopped, ManifestError, ManifestErrors, UsageError

if TYPE_CHECKING:
    from metalake_sync.core.plan import Plan

IGNORED_FOLDERS = (".metalake-sync/", ".metalake/")


@click.command("init", epilog="Example: metalake-sync init birds")
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path, file_okay=False))
def init_command(folder: Path) -> None:
    """Write a starter manifest with comments into DIR (default: the current folder), and a folder for its images.

    Adds the state to .gitignore.
    """
    from metalake_sync.manifest.authoring import STARTER_FOLDER, STARTER_MANIFEST

    manifest, images = folder / "manifest.yaml", folder / STARTER_FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with manifest.open("x") as file:
            file.write(STARTER_MANIFEST)
        if not images.exists():
            images.mkdir()
            # Git keeps no empty folder, and a folder that is missing in a checkout is an error.
            (images / ".gitkeep").touch()
        ignored = _keep_out_of_git(folder / ".gitignore")
    except FileExistsError:
        raise UsageError(f"'{manifest}' exists already", remedy="Nothing was changed. Choose another folder.") from None
    except OSError as error:
        raise UsageError(f"'{folder}' cannot be written: {error.strerror}", remedy="Choose another folder.") from error
    say(f"Wrote {manifest}" + (f" and added {' and '.join(ignored)} to .gitignore." if ignored else "."))
    say(f"Next: put images into {images}, edit the manifest, and run: metalake-sync apply {manifest}")


def _keep_out_of_git(gitignore: Path) -> list[str]:
    """Append the missing lines and return them. Existing lines stay unchanged."""
    text = gitignore.read_bytes() if gitignore.exists() else b""
    missing = [line for line in IGNORED_FOLDERS if line.encode() not in text.splitlines()]
    if missing:
        start = b"" if not text or text.endswith(b"\n") else b"\n"
        with gitignore.open("ab") as file:
            file.write(start + "".join(f"{line}\n" for line in missing).encode())
    return missing


@click.command("validate", epilog="Example: metalake-sync validate birds.yaml --online")
@takes_manifest
@option("--online", is_flag=True, help="Also ask the lake to check the tags and metadata fields, and say so.")
@SAFE
@IGNORE_COMPATIBILITY
def validate_command(flags: ManifestFlags, online: bool, safe: bool, ignore_compatibility: bool) -> None:
    """Check the manifest, its files, patterns, sources and the address of its state. Reads neither lake nor state.

    All errors are reported together, each with its line and column.
    """
    from metalake_sync.cli.render_plan import render_notes
    from metalake_sync.core.checks import LIST_ALL_FINDINGS, failed
    from metalake_sync.core.notes import UNUSABLE
    from metalake_sync.planning.run_options import RunOptions

    with closing(flags.words(silent=flags.as_json)) as listener:
        options = RunOptions(ignore_compatibility=ignore_compatibility)
        engine = flags.engine(listener, options, safe=safe)
        plan = engine.validate(online=online)
    summary = plan.summary()
    stopped = failed(plan.findings)
    invalid = [note for note in plan.notes if note.code in UNUSABLE]
    if flags.as_json:
        from metalake_sync.documents.base import to_json
        from metalake_sync.documents.plan import plan_document

        echo_json(to_json(plan_document(plan, shapes=False), include={"manifest", "warnings", "findings"}, indent=2))
        if invalid:
            click.get_current_context().exit(ExitCode.USAGE)
        if stopped:
            click.get_current_context().exit(ExitCode.GUARDED)
        return
    if not flags.quiet:
        for line in render_notes(tuple(note for note in plan.notes if note not in invalid), all_notes=flags.verbose):
            say(line)
    if invalid:
        raise ManifestErrors([ManifestError(note.message, where=note.where) for note in invalid])
    if stopped:
        raise GuardStopped(
            f"{count(len(stopped), 'file or label', 'files or labels')} failed a check, so that apply would do nothing",
            remedy=LIST_ALL_FINDINGS,
        )
    say(
        f"{engine.manifest.source} is valid: {count(len(plan.collections), 'collection')},"
        f" {count(summary.upload, 'file')} ({size(summary.bytes_to_send)}),"
        f" {count(summary.annotate, 'annotation set')}."
    )
    if online:
        say(_asked_words(plan, shown(engine.manifest.model.remote.url)))


def _asked_words(plan: Plan, lake: str) -> str:
    """Return what `--online` asked the lake."""
    from metalake_sync.planning.written_names import MetadataNames

    names = MetadataNames.written_by(plan)
    asked = [
        *([count(len(names.tags), "tag")] if names.tags else []),
        *([count(len(names.fields), "metadata field")] if names.fields else []),
    ]
    if not asked:
        return f"{lake} answers. The manifest writes no tag and no metadata field that it could check."
    return f"{lake} accepts the manifest's {' and '.join(asked)}."


@click.command("schema", epilog="Example: metalake-sync schema > manifest.schema.json")
@click.argument(
    "name", type=click.Choice(["manifest", "plan", "events", "check"]), default="manifest", metavar="[NAME]"
)
def schema_command(name: str) -> None:
    """Print the JSON Schema of the manifest. NAME selects the plan, the events of 'apply --json', or the
    findings of 'check --sources --json' instead."""
    from metalake_sync.documents.schemas import schema_text

    echo_json(schema_text(name).rstrip("\n"))
