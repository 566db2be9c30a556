"""`metalake-sync job`: commands for the jobs of a lake."""

from __future__ import annotations

import click

from metalake_sync.cli.connection import LakeFlags, takes_lake


@click.group("job", epilog="Example: metalake-sync job wait 654c5167a467d18f9fdb767c")
def command() -> None:
    """Show the status of a job of the lake, or wait for the job to end."""


@command.command("status", epilog="Example: metalake-sync job status 654c5167a467d18f9fdb767c")
@takes_lake
@click.argument("job_id")
def status(flags: LakeFlags, job_id: str) -> None:
    """Print the status and progress of a job."""
    with flags.lake() as lake:
        job = lake.get_job_status(job_id)
    flags.show(job, lambda: iter([f"{job.status}, {job.progress:.0f} %"]))


@command.command("wait", epilog="Example: metalake-sync job wait 654c5167a467d18f9fdb767c")
@takes_lake
@click.argument("job_id")
def wait(flags: LakeFlags, job_id: str) -> None:
    """Wait until a job is completed. Fails if the job fails."""
    with flags.lake() as lake:
        job = lake.wait_for_job_complete(job_id)
    flags.show(job, lambda: iter([job.status]))


@command.command("progress", epilog="Example: metalake-sync job progress birds")
@takes_lake
@click.argument("collection")
def progress(flags: LakeFlags, collection: str) -> None:
    """Print the progress of the upload of a collection."""
    with flags.lake() as lake:
        found = lake.get_upload_status(collection)
    shown_progress = f"{found.progress:.0f} %" if found.progress is not None else "the lake reports no progress"
    flags.show(found, lambda: iter([shown_progress]))
