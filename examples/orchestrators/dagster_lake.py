"""A Dagster asset that keeps a MetaLake as a manifest says, and a check that the lake has every file.

Run: LAKE_MANIFEST=birds.yaml dagster dev -f dagster_lake.py

A plan that trashes, replaces or overwrites anything fails the asset and shows what it would do. To approve it, start
the asset with the configuration `approve: true`, or run `metalake-sync apply`.
"""

import dagster as dg

from metalake_sync import Project, SomeFailed
from metalake_sync.errors import GuardStopped


class LakeConfig(dg.Config):
    """What a person can say when starting the asset by hand."""

    approve: bool = False
    """Carry out the plan even if it destroys something."""
    max_delete: str = "10%"
    """How much of a collection one run may trash or replace."""


class Lake(dg.ConfigurableResource):
    """The manifest. Its credentials come from the environment."""

    manifest: str

    def open(self, on_event=None) -> Project:
        return Project.load(self.manifest, on_event=on_event)


@dg.asset(group_name="lake", kinds={"metalake"})
def lake(context: dg.AssetExecutionContext, config: LakeConfig, project: Lake) -> dg.MaterializeResult:
    """The collections of the manifest, in the lake."""
    opened = project.open(on_event=lambda event: context.log.debug(str(event)))
    plan = opened.plan(max_delete=config.max_delete)
    counts = {name: count for name, count in plan.to_dict()["summary"].items() if count}
    if plan.destructive and not config.approve:
        raise dg.Failure(
            "The plan destroys something, so a person has to approve it: start the asset with 'approve: true'.",
            metadata={"summary": counts},
            allow_retries=False,
        )
    try:
        result = opened.apply(plan)
    except GuardStopped as stopped:
        raise dg.Failure(str(stopped), allow_retries=False) from stopped
    except SomeFailed as failed:
        # What succeeded is recorded, so a retry sends only the rest.
        raise dg.Failure(str(failed), allow_retries=any(one.retryable for one in failed.failed)) from failed
    return dg.MaterializeResult(metadata={"run": result.run_id, "planned": counts, "bytes_sent": result.bytes_sent})


@dg.asset_check(asset=lake)
def the_lake_has_every_file(project: Lake) -> dg.AssetCheckResult:
    """Compare the lake with what was sent: each file is there, with its size."""
    checked = project.open().check()
    differing = [str(one) for one in checked.mismatches]
    return dg.AssetCheckResult(passed=not differing, metadata={"files": checked.files, "differing": differing[:20]})


defs = dg.Definitions(
    assets=[lake],
    asset_checks=[the_lake_has_every_file],
    resources={"project": Lake(manifest=dg.EnvVar("LAKE_MANIFEST"))},
    jobs=[dg.define_asset_job("sync_lake", selection=[lake])],
    schedules=[dg.ScheduleDefinition(name="hourly", job_name="sync_lake", cron_schedule="0 * * * *")],
)
