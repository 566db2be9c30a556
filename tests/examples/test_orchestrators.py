"""The examples for orchestrators, each run by its orchestrator in an environment of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import venv
from pathlib import Path

import filelock
import pytest

from tests.end_to_end.world import PRUNED, World

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "orchestrators"

pytestmark = pytest.mark.long


def python_with(package: str) -> Path:
    """Return the interpreter of an environment that has metalake-sync and the package, and make it if it is missing."""
    place = ROOT / f".venv-{package}"
    python = place / "bin" / "python"
    pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    place.mkdir(exist_ok=True)
    with filelock.FileLock(place / ".lock"):
        if not (place / "made").exists():
            venv.EnvBuilder(with_pip=True, symlinks=True).create(place)
            done = subprocess.run([*pip, package, ROOT], capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"pip can't install {package}: {(done.stderr.strip() or 'no words').splitlines()[-1]}")
            (place / "made").touch()
        # The present code, not that of when the environment was made.
        subprocess.run([*pip, "--no-deps", "--force-reinstall", ROOT], check=True, capture_output=True)
    return python


def environment(world: World, home: Path) -> dict[str, str]:
    return {**world.environment(), "HOME": str(home), "NO_PROXY": "*"}


def birds(world: World) -> list[Path]:
    """Write a manifest with three images that prunes, and return the images."""
    world.images("crow.png", "finch.png", "wren.png")
    world.manifest(PRUNED)
    return sorted((world.folder / "images").iterdir())


DAGSTER = """
import json, sys
sys.path.insert(0, sys.argv[1])
import dagster as dg
from dagster_lake import Lake, LakeConfig, lake, the_lake_has_every_file

ended = []
for approve in json.loads(sys.argv[3]):
    result = dg.materialize(
        [lake, the_lake_has_every_file],
        resources={"project": Lake(manifest=sys.argv[2])},
        run_config=dg.RunConfig({"lake": LakeConfig(approve=approve, max_delete="100%")}),
        raise_on_error=False,
    )
    checks = [one.passed for one in result.get_asset_check_evaluations()]
    sent = [one.metadata["bytes_sent"].value for one in result.asset_materializations_for_node("lake")]
    ended.append([result.success, checks, sent])
print(json.dumps(ended))
"""


def test_dagster_syncs_asks_for_approval_and_checks(world: World, tmp_path: Path) -> None:
    python = python_with("dagster")
    images = birds(world)

    def run(*approvals: bool) -> list[object]:
        command: list[str | Path] = [
            python,
            "-c",
            DAGSTER,
            EXAMPLES,
            world.folder / "manifest.yaml",
            json.dumps(approvals),
        ]
        home = environment(world, tmp_path)
        done = subprocess.run(command, capture_output=True, text=True, env=home, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stderr
        ended: list[object] = json.loads(done.stdout.splitlines()[-1])
        return ended

    size = sum(path.stat().st_size for path in images)
    assert run(False, False) == [[True, [True], [size]], [True, [True], [0]]]
    images[0].unlink()
    assert run(False, True) == [[False, [], []], [True, [True], [0]]]
    assert world.names() == ["finch.png", "wren.png"]


AIRFLOW = """
import json, sys
sys.path.insert(0, sys.argv[1])
import airflow_lake

ended = []
for approve in json.loads(sys.argv[2]):
    run = airflow_lake.lake().test(run_conf={"approve": approve})
    ended.append([str(run.state), {one.task_id: str(one.state) for one in run.get_task_instances()}])
print("\\n" + json.dumps(ended))
"""


def test_airflow_applies_the_plan_that_it_made(world: World, tmp_path: Path) -> None:
    python = python_with("apache-airflow")
    images = birds(world)
    home = environment(world, tmp_path) | {
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
        "AIRFLOW_VAR_LAKE_MANIFEST": str(world.folder / "manifest.yaml"),
        "TMPDIR": str(tmp_path),
    }
    (tmp_path / "dags").mkdir()
    shutil.copy(EXAMPLES / "airflow_lake.py", tmp_path / "dags")
    for command in (["db", "migrate"], ["dags", "reserialize"]):
        made = subprocess.run(
            [python.with_name("airflow"), *command], capture_output=True, text=True, env=home, check=False
        )
        assert made.returncode == 0, made.stderr

    def run(*approvals: bool) -> list[object]:
        command: list[str | Path] = [python, "-c", AIRFLOW, tmp_path / "dags", json.dumps(approvals)]
        done = subprocess.run(command, capture_output=True, text=True, env=home, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stderr
        ended: list[object] = json.loads(done.stdout.splitlines()[-1])
        return ended

    good = ["success", {"plan": "success", "apply": "success"}]
    assert run(False, False) == [good, good]
    assert world.names() == ["crow.png", "finch.png", "wren.png"]
    images[0].unlink()
    assert run(False, True) == [["failed", {"plan": "success", "apply": "failed"}], good]
    assert world.names() == ["finch.png", "wren.png"]
