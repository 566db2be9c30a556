"""`metalake-sync import`: adopt files that are in the lake already."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metalake_sync.cli.manifest_options import (
    LOCK_TIMEOUT,
    ManifestFlags,
    RunFlags,
    observes,
    takes_manifest,
)
from metalake_sync.cli.options import option
from metalake_sync.cli.terminal import ask, count, echo_json, say, shown
from metalake_sync.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from metalake_sync.engine import Engine
    from metalake_sync.operations.claiming import Claim

MANIFEST_START = """\
# Written by 'metalake-sync import --emit' from the collections of the lake. Put each collection's files into its
# folder, or correct the paths. Then 'metalake-sync import' adopts the files, and 'plan' shows the differences.
version: 1
remote:
  url: ${LAYERNEXT_URL:-embedded:.metalake}
  api_key: ${LAYERNEXT_API_KEY}
  secret: ${LAYERNEXT_SECRET}
"""


@click.command("import", epilog="Example: metalake-sync import birds.yaml --emit && metalake-sync import birds.yaml")
@takes_manifest
@observes
@option("--emit", is_flag=True, help="Write the lake's collections that MANIFEST does not contain.")
@option(
    "--claim",
    multiple=True,
    metavar="COLLECTION[/GLOB]",
    help="Record adopted files as uploaded by this manifest, so that 'prune' covers them. May be repeated.",
)
@option("--auto-approve", is_flag=True, help="Do not ask for approval of --claim.")
@LOCK_TIMEOUT
def import_command(
    flags: ManifestFlags, run: RunFlags, emit: bool, claim: tuple[str, ...], auto_approve: bool, lock_timeout: float
) -> None:
    """Adopt files of the manifest that are in the lake already, by name and size. Sends nothing.

    The next apply does not send adopted files, and they are never pruned. Metadata that differs is reported; apply
    writes it only with 'metadata_override: true'.

    With --claim, matching files count as uploaded by this manifest, also those that were adopted earlier. Use it after
    a lost state: its files are adopted again, and without a claim they would never be pruned. The command shows the
    files and asks for approval.

    With --emit, the command writes MANIFEST from the lake of LAYERNEXT_URL if the file does not exist. If it exists,
    the command prints the missing collections.
    """
    from metalake_sync.operations.adoption import adopt_only

    if emit:
        if claim:
            raise UsageError("--emit and --claim exclude each other", remedy="Use one of them.")
        _write_manifest(flags, run)
        return
    with closing(flags.listener()) as listener:
        engine = flags.engine(listener, run.options())
        applied = adopt_only(engine, lock_timeout_s=lock_timeout, command=f"import {flags.manifest}")
        listener(applied.finished)
    if claim:
        _claim(engine, flags, claim, approved=auto_approve, lock_timeout_s=lock_timeout)
    if applied.finished.failed or applied.unreadable:
        click.get_current_context().exit(ExitCode.SOME_FAILED)


def _claim(
    engine: Engine, flags: ManifestFlags, targets: tuple[str, ...], *, approved: bool, lock_timeout_s: float
) -> None:
    """Record adopted files as uploaded, after approval."""
    from metalake_sync.operations.claiming import NAMES_SHOWN, claim

    def approve(claims: Sequence[Claim]) -> None:
        if not (flags.as_json or flags.quiet):
            for one in claims:
                for line in _claim_lines(one) if one.files else ():
                    say(line)
        files = count(sum(one.files for one in claims), "file")
        question = f"Record {files} as uploaded by this manifest?"
        ask(question, approved=approved, as_json=flags.as_json, without="Nothing was claimed.")

    command = shlex.join(["import", *(word for target in targets for word in ("--claim", target)), flags.manifest])
    claims, copy = claim(
        engine, targets, approve, lock_timeout_s=lock_timeout_s, all_names=flags.verbose, command=command
    )
    files = sum(one.files for one in claims)
    if flags.as_json:
        from metalake_sync.documents.base import to_json
        from metalake_sync.documents.events import ClaimedEvent

        only_in_lake = sum(len(one.only_in_lake) for one in claims) or None
        echo_json(to_json(ClaimedEvent(files=files, only_in_lake=only_in_lake, backup=str(copy) if copy else None)))
        return
    if copy is None:
        say("Nothing to claim: no adopted file matches.")
    else:
        say(f"Claimed {count(files, 'file')}. The copy of the old state is {copy}.")
    for one in claims:
        if one.only_in_lake:
            say(_only_in_lake_line(one, len(one.only_in_lake) if flags.verbose else NAMES_SHOWN))


def _only_in_lake_line(claim: Claim, most: int) -> str:
    names = claim.only_in_lake[:most]
    more = "" if len(names) == len(claim.only_in_lake) else ", …"
    number = len(claim.only_in_lake)
    why = "it was" if number == 1 else "they were"
    listed = ", ".join(map(shown, names)) + more
    return (
        f"note: {shown(str(claim.collection))}: {count(number, 'matching file')} of the lake cannot be claimed, because"
        f" {why} not on this disk and another client may have uploaded such files: {listed}."
        " 'prune' leaves them. Put the files back into the sources and run the command again, or use 'metalake-sync"
        " trash collection'."
    )


def _claim_lines(claim: Claim) -> Iterator[str]:
    yield f"{shown(str(claim.collection))}: {count(claim.files, 'adopted file')} to claim"
    yield from (f"    {shown(name)}" for name in claim.names)
    if claim.files > len(claim.names):
        yield f"    and {claim.files - len(claim.names)} more; -v shows all"
    if claim.without_source:
        then = "the next apply trashes them" if claim.prune else "an apply with 'prune: true' would trash them"
        are = "is" if claim.without_source == 1 else "are"
        yield f"    {claim.without_source} of them {are} no longer on this disk: {then}"


def _write_manifest(flags: ManifestFlags, run: RunFlags) -> None:
    """Write a new manifest, or print the collections that an existing one does not contain."""
    from metalake_sync.engine import Engine
    from metalake_sync.manifest import load_manifest
    from metalake_sync.operations.adoption import collection_blocks

    target = Path(flags.manifest)
    fresh = flags.manifest != "-" and not target.exists()
    draft = target.with_name(f".{target.name}.part") if fresh else None
    listener = flags.words()
    try:
        if draft is not None:
            try:
                draft.write_text(MANIFEST_START)
            except OSError as error:
                raise UsageError(f"'{target}' cannot be written: {error.strerror}") from error
            manifest = load_manifest(str(draft), environment=os.environ)
            engine = Engine(manifest, run.options(), listener, flags.state)
        else:
            engine = flags.engine(listener, run.options())
        known = frozenset((one.type, one.name) for one in engine.manifest.collections)
        with engine.reach() as client:
            blocks = list(collection_blocks(client, known))
        if draft is None:
            click.echo("".join(blocks) or "# the manifest contains every collection of the lake", nl=not blocks)
            return
        draft.write_text(
            MANIFEST_START + "collections:\n" + "".join(blocks) if blocks else MANIFEST_START + "collections: []\n"
        )
        draft.rename(target)
        say(f"Wrote {target} with {len(blocks)} collections.")
    finally:
        listener.close()
        if draft is not None:
            draft.unlink(missing_ok=True)
