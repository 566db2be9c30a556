"""`metalake-sync job`: the lake's jobs."""

from __future__ import annotations

import click

from metalake_sync.cli.connection import LakeFlags, takes_lake


@click.group("job", epilog="Example: metalake-sync job wait 654c5167a467d18f9fdb767c")
def command() -> None:
    """Ask about a job of the lake, or wait for it."""


@command.command("status", epilog="Example: metalake-sync job status 654c5167a467d18f9fdb767c")
@takes_lake
@click.argument("job_id")
def status(flags: LakeFlags, job_id: str) -> None:
    """Say where a job stands."""
    with flags.lake() as lake:
        job = lake.get_job_status(job_id)
    flags.show(job, lambda: iter([f"{job.status}, {job.progress:.0f} %"]))


@command.command("wait", epilog="Example: metalake-sync job wait 654c5167a467d18f9fdb767c")
@takes_lake
@click.argument("job_id")
def wait(flags: LakeFlags, job_id: str) -> None:
    """Return when a job is completed; one that failed is an error."""
    with flags.lake() as lake:
        job = lake.wait_for_job_complete(job_id)
    flags.show(job, lambda: iter([job.status]))


@command.command("progress", epilog="Example: metalake-sync job progress birds")
@takes_lake
@click.argument("collection")
def progress(flags: LakeFlags, collection: str) -> None:
    """Say how far the upload of a collection is."""
    with flags.lake() as lake:
        found = lake.get_upload_status(collection)
    told = f"{found.progress:.0f} %" if found.progress is not None else "the lake tells no progress"
    flags.show(found, lambda: iter([told]))
