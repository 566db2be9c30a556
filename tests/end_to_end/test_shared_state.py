"""A state in a bucket: runners that lose their disk, and two of them at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from tests.embedded_lake.store_servers import StoreMissing, StoreServer, s3_server
from tests.end_to_end.world import BIRDS, World

PRUNED = {**BIRDS, "prune": True}


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    try:
        with s3_server(tmp_path_factory.mktemp("s3")) as server:
            yield server
    except StoreMissing as reason:
        pytest.skip(str(reason))


class Runner(World):
    """A checkout on a machine of its own, with the credentials of the bucket."""

    store: StoreServer

    def environment(self, **changes: str) -> dict[str, str]:
        known = {**self.store.environment, "AWS_ENDPOINT_URL_S3": self.store.endpoint}
        return super().environment(**{**known, **changes})


@pytest.fixture
def runner(world: World, s3: StoreServer) -> Runner:
    """The first checkout: three files, and a state in a new bucket."""
    one = Runner(world.folder, world.lake, world.talk)
    one.store = s3
    one.images("a.png", "b.png", "c.png")
    one.manifest(PRUNED, state=f"{s3.new_bucket('team/birds')}")
    return one


def fresh(old: Runner, name: str) -> Runner:
    """A new checkout on a new machine: the files have new times and inodes. Of the old one, nothing is left."""
    folder = old.folder.parent / name
    folder.mkdir()
    for path in sorted(old.folder.rglob("*")):
        target = folder / path.relative_to(old.folder)
        if ".metalake-sync" in path.parts:
            continue
        if path.is_dir():
            target.mkdir()
        else:
            target.write_bytes(path.read_bytes())
    shutil.rmtree(old.folder)
    new = Runner(folder, old.lake, old.talk)
    new.store = old.store
    return new


def test_a_new_machine_sends_nothing_again_and_prunes_what_the_repository_lost(runner: Runner) -> None:
    assert "3 files uploaded" in runner.good("apply", "manifest.yaml").out
    second = fresh(runner, "second")
    again = second.good("apply", "--json", "manifest.yaml")
    assert again.summary["bytes_sent"] == 0
    assert second.good("plan", "--json", "--detailed-exitcode", "manifest.yaml").document["actions"] == []
    third = fresh(second, "third")
    (third.folder / "images/b.png").unlink()
    third.images("d.png")
    done = third.good("apply", "--auto-approve", "manifest.yaml").out
    assert "1 file uploaded" in done
    assert "1 file trashed" in done
    assert third.names() == ["a.png", "c.png", "d.png"]
    history = fresh(third, "fourth").good("history", "--json", "manifest.yaml").document
    assert [run["summary"]["upload"] for run in history] == [1, 3]


def test_a_fresh_checkout_writes_no_rows_for_unchanged_files(runner: Runner) -> None:
    runner.good("apply", "manifest.yaml")
    # The first run after an upload records that the lake has what was sent.
    runner.good("apply", "manifest.yaml")
    second = fresh(runner, "second")
    before = second.good("state", "show", "--json", "manifest.yaml").document
    second.good("apply", "manifest.yaml")
    after = fresh(second, "third").good("state", "show", "--json", "manifest.yaml").document
    # A run that changes nothing leaves its lease's first segment, and no other.
    assert after["shared"]["sequence"] == before["shared"]["sequence"] + 1
    assert after["serial"] == before["serial"]


def test_a_plan_needs_no_lock_and_changes_nothing(runner: Runner) -> None:
    runner.good("apply", "manifest.yaml")
    runner.good("state", "lock", "manifest.yaml")
    refused = runner.run("apply", "manifest.yaml")
    assert refused.code == 11
    assert "another run holds the state: 'state lock' with pid" in refused.err
    assert "state unlock" in refused.err
    before = runner.good("state", "show", "--json", "manifest.yaml").document
    assert "'state lock'" in before["lock"]
    second = fresh(runner, "second")
    second.images("d.png")
    for refresh in ("none", "list", "full"):
        plan = second.good("plan", "--json", "--refresh", refresh, "manifest.yaml").document
        assert [action["file"] for action in plan["actions"]] == ["d.png"]
    assert second.good("state", "show", "--json", "manifest.yaml").document["shared"] == before["shared"]
    assert "Released the lock of 'state lock'" in second.good("state", "unlock", "manifest.yaml").out
    assert "1 file uploaded" in second.good("apply", "manifest.yaml").out


def test_a_plan_saved_on_one_machine_is_applied_on_another(runner: Runner) -> None:
    runner.good("apply", "manifest.yaml")
    runner.images("d.png")
    runner.good("plan", "--out", "the.plan", "manifest.yaml")
    second = fresh(runner, "second")
    assert "1 file uploaded" in second.good("apply", "the.plan").out
    third = fresh(second, "third")
    stale = third.run("apply", "the.plan")
    assert stale.code == 7


def test_migrate_pull_and_push(runner: Runner) -> None:
    text = (runner.folder / "manifest.yaml").read_text()
    runner.manifest(PRUNED)
    runner.good("apply", "manifest.yaml")
    place = next(line for line in text.splitlines() if line.startswith("state: ")).removeprefix("state: ")
    assert f"state: {place}" in runner.good("state", "migrate", "--to", place, "manifest.yaml").out
    runner.write("manifest.yaml", text)
    second = fresh(runner, "second")
    assert second.good("apply", "--json", "manifest.yaml").summary["bytes_sent"] == 0
    second.good("state", "pull", "--to", "copy.db", "manifest.yaml")
    second.images("d.png")
    second.good("apply", "manifest.yaml")
    older = second.run("state", "push", "manifest.yaml", "copy.db")
    assert (older.code, "a newer one" in older.err, "--force" in older.err) == (7, True, True)
    second.good("state", "push", "--force", "manifest.yaml", "copy.db")
    third = fresh(second, "third")
    adopted = third.good("plan", "--json", "manifest.yaml").document
    assert [(action["action"], action["file"]) for action in adopted["actions"]] == [("adopt", "d.png")]
    # A state of another lineage does not replace this one unseen.
    third.good("apply", "--state", "other.db", "manifest.yaml")
    other = third.run("state", "push", "manifest.yaml", "other.db")
    assert (other.code, "another one" in other.err) == (7, True)
    broken = third.write("broken.db", b"not a state")
    refused = third.run("state", "push", "--force", "manifest.yaml", broken.name)
    assert refused.code == 1
    assert "is not a state" in refused.err


def test_rebuild_starts_a_new_state_and_keeps_a_copy_of_the_old_one(runner: Runner) -> None:
    runner.good("apply", "manifest.yaml")
    assert "The old state is in" in runner.good("state", "rebuild", "manifest.yaml").out
    (old,) = (runner.folder / ".metalake-sync" / "backups").glob("*.db")
    second = fresh(runner, "second")
    shown = second.good("state", "show", "--json", "manifest.yaml").document
    assert [(row["files"], row["adopted"]) for row in shown["collections"]] == [(3, 3)]
    assert not old.exists()


def test_a_rebuild_that_fails_leaves_the_old_state(runner: Runner) -> None:
    runner.good("apply", "manifest.yaml")
    before = runner.good("state", "show", "--json", "manifest.yaml").document
    away = runner.run("state", "rebuild", "--retry-for", "1", "manifest.yaml", LAYERNEXT_URL="http://127.0.0.1:1")
    assert away.code == 5
    wrong = runner.run("state", "rebuild", "manifest.yaml", LAYERNEXT_SECRET="wrong-secret")
    assert wrong.code == 12
    after = fresh(runner, "second").good("state", "show", "--json", "manifest.yaml").document
    assert after["collections"] == before["collections"]


def test_two_manifests_of_a_repository_do_not_share_a_state(runner: Runner) -> None:
    (runner.folder / ".git").mkdir()
    text = (runner.folder / "manifest.yaml").read_text()
    for name in ("x", "y"):
        runner.write(f"{name}/images/{name}.png", name.encode())
        runner.write(f"{name}/manifest.yaml", text)
    runner.good("apply", "x/manifest.yaml")
    for name in ("second", "third"):
        for command in (("plan",), ("apply", "--auto-approve", "--max-delete", "100")):
            refused = runner.run(*command, "y/manifest.yaml")
            assert refused.code == 7, refused
            assert "the state belongs to another manifest, x/manifest.yaml" in refused.err
            assert "s3://" in refused.err
        runner.good("plan", "x/manifest.yaml")
        runner = fresh(runner, name)
    # A manifest that was moved keeps its state.
    moved = fresh(runner, "fourth")
    (moved.folder / "x").rename(moved.folder / "z")
    moved.good("apply", "z/manifest.yaml")


@pytest.mark.parametrize("state", ["s3:acme-state/birds", "postgres:h/d", "s3://acme/{nam}", "{}.db"])
def test_what_only_looks_like_a_place_is_refused(runner: Runner, state: str) -> None:
    refused = runner.run("plan", "--state", state, "manifest.yaml")
    assert refused.code == 64
    assert "Use s3://BUCKET/PREFIX" in refused.err
    assert not list(runner.folder.glob("s3*"))


def test_an_untrusted_manifest_does_not_choose_where_the_state_is(runner: Runner) -> None:
    runner.good("apply", "manifest.yaml")
    refused = runner.run("plan", "--safe", "manifest.yaml", METALAKE_SYNC_ORIGIN=runner.lake.url)
    assert refused.code == 64
    assert "a shared 'state' is not allowed with --safe" in refused.err
    text = (runner.folder / "manifest.yaml").read_text()
    place = next(line for line in text.splitlines() if line.startswith("state: ")).removeprefix("state: ")
    runner.write("manifest.yaml", text.replace(place, "s3://a-bucket-of-an-attacker/x"))
    allowed = runner.good(
        "plan", "--safe", "--json", "manifest.yaml", METALAKE_SYNC_ORIGIN=runner.lake.url, METALAKE_SYNC_STATE=place
    )
    assert allowed.document["actions"] == []


def test_a_store_that_is_away_ends_the_run_with_its_own_code(runner: Runner) -> None:
    text = (runner.folder / "manifest.yaml").read_text()
    runner.write("manifest.yaml", text.replace("s3://bucket-", "s3://nobody-made-this-"))
    for command in ("plan", "apply"):
        done = runner.run(command, "manifest.yaml")
        assert done.code == 5, done
        assert "Traceback" not in done.err
    assert (
        runner.talk.post(
            "/api/client/metadata/getCollectionIdByName", {"collectionName": "birds", "objectType": 5}
        ).status_code
        == 204
    )


def test_a_checkout_that_cannot_keep_a_working_copy_is_enough(runner: Runner) -> None:
    runner.write(".metalake-sync", "a file where the folder would be")
    runner.good("apply", "manifest.yaml")
    plan = runner.good("plan", "--json", "manifest.yaml").document
    assert (plan["actions"], plan["summary"]["unchanged"]) == ([], 3)


def test_the_doctor_checks_the_store(runner: Runner) -> None:
    findings = json.loads(runner.run("doctor", "--json", "manifest.yaml").out)
    (state,) = [one for one in findings if one["subject"].startswith("state s3://")]
    assert state["verdict"] == "ok"
    assert "creates a key only once" in state["message"]


def test_the_same_path_in_another_repository_is_a_warning(runner: Runner) -> None:
    def warnings(one: Runner) -> list[str]:
        found = one.good("plan", "manifest.yaml", "--json").document["warnings"]
        return [note["message"] for note in found if note["code"] == "another_manifest"]

    def clone_of(one: Runner, name: str) -> None:
        url = f"https://token:hidden@github.com/acme/{name}.git"
        one.write(".git/config", f'[remote "origin"]\n\turl = {url}\n')

    clone_of(runner, "birds")
    runner.good("apply", "manifest.yaml")
    second = fresh(runner, "second")
    assert warnings(second) == []
    clone_of(second, "fish")
    (message,) = warnings(second)
    assert "from the repository github.com/acme/birds, and this one is github.com/acme/fish" in message
    assert "hidden" not in message
    # A copy of the repository without an address says nothing, and does not take the state over.
    second.write(".git/config", "[core]\n")
    assert warnings(second) == []
    second.good("apply", "manifest.yaml")
    clone_of(second, "fish")
    assert len(warnings(second)) == 1
    # A run that is refused does not count as one of this repository.
    (second.folder / "images/a.png").unlink()
    assert second.run("apply", "manifest.yaml").code == 7
    assert len(warnings(second)) == 1
    second.images("a.png")
    # A repository that was moved is warned once.
    second.good("apply", "manifest.yaml")
    assert warnings(second) == []
    clone_of(second, "birds")
    assert len(warnings(second)) == 1


def test_two_manifests_of_one_machine_are_warned_of_each_other(runner: Runner) -> None:
    runner.good("apply", "manifest.yaml")
    text = (runner.folder / "manifest.yaml").read_text()
    (runner.folder / "night.yaml").write_text(text.replace("team/birds", "team/night"))
    runner.good("apply", "night.yaml")
    for manifest, other in (("manifest.yaml", "night.yaml"), ("night.yaml", "manifest.yaml")):
        found = runner.good("plan", manifest, "--json").document["warnings"]
        (message,) = [note["message"] for note in found if note["code"] == "another_manifest"]
        assert f"the manifest {other} also writes this: 3 files (a.png, b.png, c.png)" in message
    # A job that plans both in a new checkout finds the working copy of the first. One that plans one of them does not.
    second = fresh(runner, "second")
    assert not _another(second, "night.yaml")
    third = fresh(second, "third")
    third.good("plan", "manifest.yaml")
    assert len(_another(third, "night.yaml")) == 1


def _another(runner: Runner, manifest: str) -> list[str]:
    found = runner.good("plan", manifest, "--json").document["warnings"]
    return [note["message"] for note in found if note["code"] == "another_manifest"]
