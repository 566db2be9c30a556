"""`import --claim`: after a lost state, files that we uploaded are ours again, and `prune` covers them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.end_to_end.world import PRUNED, World


@pytest.fixture
def lost(world: World) -> World:
    """Three files that we uploaded. The state is gone."""
    world.images("a.png", "b.png", "other.jpg")
    world.manifest(PRUNED)
    world.good("apply", "manifest.yaml")
    shutil.rmtree(world.folder / ".metalake-sync")
    return world


def adopted(world: World) -> int:
    return int(world.good("status", "--json", "manifest.yaml").document["collections"][0]["adopted"])


def test_a_claimed_file_that_leaves_the_sources_is_pruned(lost: World) -> None:
    lost.lake.requests.clear()
    done = lost.good("import", "--claim", "birds", "--auto-approve", "manifest.yaml").out
    assert "birds: 3 adopted files to claim" in done
    assert "    b.png" in done
    assert "Claimed 3 files. The copy of the old state is " in done
    assert lost.lake.requests.writes == 0
    assert adopted(lost) == 0
    assert "Nothing to do" in lost.good("plan", "manifest.yaml").out
    (lost.folder / "images" / "a.png").unlink()
    (trash,) = lost.good("plan", "--json", "manifest.yaml").document["actions"]
    assert (trash["action"], trash["file"]) == ("trash", "a.png")
    lost.good("apply", "--auto-approve", "manifest.yaml")
    assert lost.names() == ["b.png", "other.jpg"]


def test_without_a_claim_it_is_never_pruned(lost: World) -> None:
    lost.good("import", "manifest.yaml")
    (lost.folder / "images" / "a.png").unlink()
    lost.good("apply", "--auto-approve", "manifest.yaml")
    assert lost.names() == ["a.png", "b.png", "other.jpg"]


def test_a_glob_claims_only_what_it_matches(lost: World) -> None:
    done = lost.good("import", "--claim", "birds/*.png", "--auto-approve", "manifest.yaml").out
    assert "Claimed 2 files" in done
    assert adopted(lost) == 1


def test_a_claim_that_matches_nothing_is_an_error(lost: World) -> None:
    done = lost.run("import", "--claim", "birds/*.png", "--claim", "birds/*.gif", "--auto-approve", "manifest.yaml")
    assert (done.code, "'--claim birds/*.gif' matches no file in the state or in the lake" in done.err) == (64, True)
    assert adopted(lost) == 3
    # Files that were claimed before match, and so do files that only the lake has.
    for _ in range(2):
        lost.good("import", "--claim", "birds/*.png", "--auto-approve", "manifest.yaml")
    (lost.folder / "images" / "other.jpg").unlink()
    shutil.rmtree(lost.folder / ".metalake-sync")
    done = lost.good("import", "--claim", "birds/other.jpg", "--auto-approve", "manifest.yaml")
    assert "1 matching file of the lake cannot be claimed" in done.out


def test_a_claim_needs_approval_and_nothing_is_recorded_without_it(lost: World) -> None:
    done = lost.run("import", "--claim", "birds", "manifest.yaml")
    assert done.code == 7
    assert "Nothing was claimed. Pass --auto-approve to approve." in done.err
    assert adopted(lost) == 3


def test_files_without_a_source_are_named_with_what_becomes_of_them(lost: World) -> None:
    lost.good("import", "manifest.yaml")
    (lost.folder / "images" / "a.png").unlink()
    done = lost.good("import", "--claim", "birds", "--auto-approve", "manifest.yaml").out
    assert "1 of them is no longer on this disk: the next apply trashes them" in done
    (trash,) = lost.good("plan", "--json", "manifest.yaml").document["actions"]
    assert trash["file"] == "a.png"


def test_a_manifest_from_standard_input_is_read_once(lost: World) -> None:
    text = (lost.folder / "manifest.yaml").read_text()
    done = lost.run("import", "--claim", "birds", "--auto-approve", "--state", "shared.db", "-", stdin=text)
    assert done.code == 0, done.err
    assert "Claimed 3 files" in done.out


def test_a_second_claim_has_nothing_to_do(lost: World) -> None:
    lost.good("import", "--claim", "birds", "--auto-approve", "manifest.yaml")
    done = lost.good("import", "--claim", "birds", "--auto-approve", "--json", "manifest.yaml").out
    assert json.loads(done.splitlines()[-1]) == {"message_type": "claimed", "files": 0}


def test_the_copy_of_the_old_state_has_the_old_records(lost: World) -> None:
    done = lost.good("import", "--claim", "birds", "--auto-approve", "--json", "manifest.yaml").out
    copy = Path(json.loads(done.splitlines()[-1])["backup"])
    assert copy.exists()
    old = lost.good("state", "show", "--json", "--state", str(copy), "manifest.yaml").document
    assert old["collections"][0]["adopted"] == 3


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--claim", "bird"], "the manifest has no collection with records for '--claim bird'"),
        (["--claim", "birds", "--emit"], "--emit and --claim exclude each other"),
    ],
)
def test_a_wrong_claim_is_a_usage_error(lost: World, flags: list[str], says: str) -> None:
    done = lost.run("import", *flags, "--auto-approve", "manifest.yaml")
    assert done.code == 64
    assert says in done.err


def test_a_claim_is_a_run_of_the_history(lost: World) -> None:
    lost.good("import", "--claim", "birds/*.png", "--auto-approve", "manifest.yaml")
    (run, _) = lost.good("history", "--json", "manifest.yaml").document
    assert run["command"] == "import --claim 'birds/*.png' manifest.yaml"
    assert "--claim" in run["provenance"]["command_line"]
    assert [(one["action"], one["file"], one["before"], one["after"]) for one in run["actions"]] == [
        ("claim", "a.png", "adopted", "uploaded"),
        ("claim", "b.png", "adopted", "uploaded"),
    ]
    told = lost.good("history", "--run", run["id"], "--diff", "manifest.yaml").out
    assert "claimed    birds/a.png  requested, adopted → uploaded" in told
    assert "2 files claimed" in lost.good("status", "manifest.yaml").out
    reverted = lost.good("revert", run["id"], "manifest.yaml").out
    assert "birds: 2 claimed files stay recorded as uploaded: a.png, b.png" in reverted


def test_a_file_that_was_not_on_the_disk_is_named_and_not_claimed(lost: World) -> None:
    (lost.folder / "images" / "a.png").unlink()
    done = lost.good("import", "--claim", "birds/*.png", "--auto-approve", "manifest.yaml").out
    assert "Claimed 1 file." in done
    assert "note: birds: 1 matching file of the lake cannot be claimed, because it was not on this disk" in done
    assert ": a.png. 'prune' leaves them." in done
    again = lost.good("import", "--claim", "birds/*.png", "--auto-approve", "--json", "manifest.yaml")
    assert again.events[-1] == {"message_type": "claimed", "files": 0, "only_in_lake": 1}
    lost.images("a.png")
    assert "Claimed 1 file." in lost.good("import", "--claim", "birds/*.png", "--auto-approve", "manifest.yaml").out
