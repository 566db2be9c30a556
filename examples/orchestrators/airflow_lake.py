"""An Airflow DAG that makes a MetaLake match a manifest each hour: one task plans, the next applies that very plan.

Put this file and the manifest into the DAGs folder, install metalake-sync beside Airflow, and set the variable
`lake_manifest` (AIRFLOW_VAR_LAKE_MANIFEST) to the manifest's path. Credentials come from the environment.

A plan that trashes, replaces or overwrites anything fails the second task. To approve it, clear that task with the
parameter `approve: true`. The plan was saved, so what is applied is what was shown, or nothing.
"""

import tempfile
from datetime import datetime, timedelta
from pathlib import Path

from airflow.exceptions import AirflowFailException
from airflow.sdk import Param, Variable, dag, get_current_context, task

PLANS = Path(tempfile.gettempdir()) / "lake-plans"


@dag(
    schedule="@hourly",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    params={"approve": Param(False, type="boolean", description="Apply the plan even if it destroys something.")},
    default_args={"retries": 3, "retry_delay": timedelta(minutes=1)},
    tags=["metalake"],
)
def lake():
    @task
    def plan() -> dict:
        from metalake_sync import Project

        project = Project.load(Variable.get("lake_manifest"))
        made = project.plan(max_delete="10%")
        PLANS.mkdir(exist_ok=True)
        path = PLANS / f"{get_current_context()['run_id'].replace(':', '-')}.json"
        made.save(path)
        counts = {name: count for name, count in made.to_dict()["summary"].items() if count}
        return {"plan": str(path), "destructive": made.destructive, "summary": counts}

    @task
    def apply(planned: dict) -> dict:
        from metalake_sync import Project
        from metalake_sync.errors import GuardStopped, SyncError

        if planned["destructive"] and not get_current_context()["params"]["approve"]:
            raise AirflowFailException(
                f"the plan destroys something, so a person has to approve it: {planned['summary']}"
            )
        project = Project.load(Variable.get("lake_manifest"))
        try:
            result = project.apply(planned["plan"])
        except GuardStopped as stopped:
            # Another attempt would stop at the same guard.
            raise AirflowFailException(str(stopped)) from stopped
        except SyncError as failed:
            # What succeeded is recorded, so the next attempt sends only the rest.
            raise RuntimeError(str(failed)) from failed
        return {"run": result.run_id, "bytes_sent": result.bytes_sent, "writes": result.writes}

    apply(plan())


lake()
