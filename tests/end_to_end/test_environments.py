"""One manifest for two environments (examples/environments): each has a state, and knows nothing of the other."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.embedded_lake.store_servers import StoreMissing, StoreServer, s3_server
from tests.end_to_end.world import Done, World

EXAMPLE = Path(__file__).parents[2] / "examples" / "environments"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    try:
        with s3_server(tmp_path_factory.mktemp("s3")) as server:
            yield server
    except StoreMissing as reason:
        pytest.skip(str(reason))


class Environments:
    """The example with a lake, in which both environments have a collection. `place`: of the states, or empty."""

    def __init__(self, world: World, place: str, credentials: dict[str, str]) -> None:
        self.world = world
        self.place = place
        self.credentials = credentials
        shutil.copytree(EXAMPLE, world.folder, dirs_exist_ok=True)
        world.images("a.png", "b.png")
        for name in ("dev", "prod"):
            path = world.folder / f"{name}.env"
            values = dict(line.split("=", 1) for line in path.read_text().splitlines())
            assert values["ENV"] == name
            path.write_text(f"ENV={name}\nLAKE_URL={world.lake.url}\nSTATE={place}\n")
        if not place:
            manifest = world.folder / "birds.yaml"
            lines = manifest.read_text().splitlines(keepends=True)
            manifest.write_text("".join(line for line in lines if not line.startswith("state: ")))

    def good(self, environment: str, command: str, *options: str) -> Done:
        arguments = (command, "birds.yaml", "--var-file", f"{environment}.env", *options)
        return self.world.good(*arguments, **self.credentials)

    def check_that_they_are_apart(self) -> None:
        self.good("dev", "apply")
        # The production lake has not been touched, and its plan starts from nothing.
        plan = self.good("prod", "plan", "--json").document
        assert {action["collection"] for action in plan["actions"]} == {"birds-prod"}
        assert plan["warnings"] == []
        self.good("prod", "apply")
        (self.world.folder / "images" / "a.png").unlink()
        self.good("dev", "apply", "--auto-approve")
        assert self.world.names("birds-dev") == ["b.png"]
        assert self.world.names("birds-prod") == ["a.png", "b.png"]
        for environment, trashed in (("dev", []), ("prod", ["a.png"])):
            for refresh in ("list", "full"):
                plan = self.good(environment, "plan", "--json", "--refresh", refresh).document
                found = [(one["action"], one["collection"], one["file"]) for one in plan["actions"]]
                assert found == [("trash", f"birds-{environment}", name) for name in trashed]
                assert plan["warnings"] == []
            other = "prod" if environment == "dev" else "dev"
            for command in ("status", "history", "drift"):
                printed = self.good(environment, command)
                assert f"birds-{other}" not in printed.out + printed.err, command


def test_the_example_is_valid_for_each_environment(world: World) -> None:
    shutil.copytree(EXAMPLE, world.folder, dirs_exist_ok=True)
    world.images("a.png")
    for environment in ("dev", "prod"):
        assert "is valid" in world.good("validate", "birds.yaml", "--var-file", f"{environment}.env").out
    text = (EXAMPLE / "birds.yaml").read_text()
    assert yaml.safe_load(text)["name"] == "birds-${ENV}"


def test_environments_have_a_file_each(world: World) -> None:
    Environments(world, "", {}).check_that_they_are_apart()
    states = {path.name for path in (world.folder / ".metalake-sync").glob("*.db")}
    assert states == {"birds-dev.db", "birds-prod.db"}


def test_environments_have_a_prefix_each_in_a_shared_store(world: World, s3: StoreServer) -> None:
    credentials = {**s3.environment, "AWS_ENDPOINT_URL_S3": s3.endpoint}
    environments = Environments(world, str(s3.new_bucket("team")), credentials)
    environments.check_that_they_are_apart()
    # A new machine, which has only what the store has.
    shutil.rmtree(world.folder / ".metalake-sync")
    plan = environments.good("prod", "plan", "--json").document
    assert [(one["action"], one["collection"]) for one in plan["actions"]] == [("trash", "birds-prod")]
