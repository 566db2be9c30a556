"""Two manifests that write the same: a warning, and no more. Their states are beside each other."""

from __future__ import annotations

import shlex
import shutil
from typing import Any

import pytest
import yaml

from metalake_sync.core.targets import parse_target
from metalake_sync.planning.other_manifests import fitting_targets
from tests.end_to_end.world import BIRDS, PRUNED, World, boxes

CAMERA = {"metadata": {"Camera Id": "CAM_1", "Location": "north"}, "metadata_scope": "collection"}


def write_second(world: World, *collections: dict[str, Any], name: str = "night.yaml", **top: Any) -> None:
    """Write another manifest of the same lake."""
    document = yaml.safe_load((world.folder / "manifest.yaml").read_text())
    document["collections"] = list(collections)
    (world.folder / name).write_text(yaml.safe_dump({**document, **top}))


def warnings(world: World, manifest: str, *options: str) -> list[tuple[str, str]]:
    """The place and the message of each warning of a plan about another manifest."""
    found = world.good("plan", manifest, "--json", *options).document["warnings"]
    return [(one["where"], one["message"]) for one in found if one["code"] == "another_manifest"]


def clause(world: World, manifest: str, other: str) -> str:
    """What the one warning of a plan says that the other manifest writes too."""
    ((where, message),) = warnings(world, manifest)
    assert where == "birds"
    assert message.startswith(f"the manifest {other} also writes this: ")
    return message.removeprefix(f"the manifest {other} also writes this: ").partition("; ")[0]


def test_both_are_warned_of_files_and_of_the_head(world: World) -> None:
    world.images("a.png", "b.png", "c.png")
    world.manifest({**BIRDS, **CAMERA})
    world.good("apply", "manifest.yaml")
    shared = {"name": "birds", "type": "image", "files": ["images/a.png", "images/b.png"], **CAMERA}
    write_second(world, {**shared, "metadata": {"Location": "north"}})
    # Before the second manifest has a state, and for both afterwards.
    expected = "metadata of the collection (Location), 2 files (a.png, b.png)"
    assert clause(world, "night.yaml", "manifest.yaml") == expected
    world.good("apply", "night.yaml")
    assert clause(world, "night.yaml", "manifest.yaml") == expected
    assert clause(world, "manifest.yaml", "night.yaml") == expected
    for manifest in ("manifest.yaml", "night.yaml"):
        before = world.lake.requests.writes
        assert world.good("apply", manifest, "--json").summary["done"]["unchanged"] > 0
        assert world.lake.requests.writes == before


def test_the_remedy_ends_the_warning(world: World) -> None:
    world.images("a.png", "b.png")
    world.manifest(BIRDS)
    world.good("apply", "manifest.yaml")
    write_second(world, {"name": "birds", "type": "image", "files": ["images/a.png"]})
    world.good("apply", "night.yaml")
    write_second(world)
    world.good("apply", "night.yaml")
    assert clause(world, "manifest.yaml", "night.yaml") == "1 file (a.png)"
    assert remedy(world, "manifest.yaml") == ["state", "forget", "night.yaml", "--target", "birds/a.png"]
    world.good("state", "forget", "night.yaml", "--target", "birds/a.png")
    assert warnings(world, "manifest.yaml") == []


def remedy(world: World, manifest: str) -> list[str]:
    """The command that the one warning of a plan suggests, without the name of the program."""
    ((_, message),) = warnings(world, manifest)
    _, found, command = message.partition("remove its records of these files only: metalake-sync ")
    assert found
    return shlex.split(command)


def uploaded(world: World, manifest: str) -> list[str]:
    shown = world.good("state", "show", manifest, "--target", "birds").out.splitlines()
    return [line.split()[0].removeprefix("birds/") for line in shown if line.split()[1] == "uploaded"]


def test_the_suggested_command_keeps_the_records_of_the_manifests_own_files(world: World) -> None:
    names = [f"{letter}{number}.png" for letter in "ab" for number in (1, 2, 3)]
    world.images(*names, "c[1].png")
    folder = {"path": "images", "include": ["*1.png", "*2.png", "c*.png"]}
    world.manifest({**BIRDS, "folders": [folder]})
    world.good("apply", "manifest.yaml")
    night = {**PRUNED, "folders": [{**folder, "include": ["*2.png", "*3.png", "c*.png"]}]}
    write_second(world, night)
    world.good("apply", "night.yaml")
    assert uploaded(world, "night.yaml") == ["a3.png", "b3.png"]
    write_second(world, {**night, "folders": [{**folder, "include": ["*3.png"]}]})
    world.good("apply", "night.yaml")
    # Both plans say the same: night.yaml adopted the files of both, so its records can go.
    first, second = remedy(world, "manifest.yaml"), remedy(world, "night.yaml")
    assert first == second
    assert first[:3] == ["state", "forget", "night.yaml"]
    assert "birds" not in first
    world.good(*first)
    assert warnings(world, "manifest.yaml") == warnings(world, "night.yaml") == []
    (world.folder / "images/a3.png").unlink()
    plan = world.good("plan", "night.yaml", "--json").document
    assert [(action["action"], action["file"]) for action in plan["actions"]] == [("trash", "a3.png")]


def test_forgetting_files_that_the_manifest_uploaded_needs_approval(world: World) -> None:
    world.images("a.png", "b.png")
    world.manifest({"name": "birds", "type": "image", "files": ["images/a.png"]})
    world.good("apply", "manifest.yaml")
    world.manifest(PRUNED)
    write_second(world, PRUNED)
    world.good("apply", "night.yaml")
    forget = ("state", "forget", "night.yaml", "--target", "birds")
    refused = world.run(*forget)
    assert refused.code == 7
    assert "1 was uploaded by this manifest, and no later run prunes it" in refused.err
    assert uploaded(world, "night.yaml") == ["b.png"]
    done = world.good(*forget, "--auto-approve", "--json").document
    assert (done["forgotten"], done["uploaded"]) == (2, 1)
    world.good("apply", "night.yaml")
    # Files that were adopted are forgotten without approval.
    assert "Forgot 2 files;" in world.good(*forget).out


@pytest.mark.parametrize(
    ("files", "others", "expected"),
    [
        (["a.png"], ["b.png"], ["birds/a.png"]),
        (
            ["a[1].png", "b*.png", "c?.png"],
            ["a1.png", "bb.png"],
            ["birds/a[[]1].png", "birds/b[*].png", "birds/c[?].png"],
        ),
        (["x1.png", "x2.png", "x3.png", "x4.png"], ["y1.png"], ["birds/x*.png"]),
        (["1_2.png", "2_2.png", "3_2.png", "4_2.png"], ["1_3.png"], ["birds/*_2.png"]),
        (["[a1", "[a2", "[a3", "[a4"], ["b"], ["birds/[[]a*"]),
        (["a", "b", "c", "d"], [], ["birds/*"]),
        (["a", "b", "c", "d"], ["e"], []),
        (["aa", "aaa", "aaaa", "aaaaa"], ["b"], ["birds/aa*"]),
    ],
)
def test_targets_fit_the_files_of_both_and_no_others(files: list[str], others: list[str], expected: list[str]) -> None:
    found = fitting_targets("birds", files, [*files, *others])
    assert found == expected
    for text in found:
        target = parse_target(text, ["birds"])
        assert target is not None
        assert not any(target.takes("birds", name) for name in others)
    if found:
        parsed = [parse_target(text, ["birds"]) for text in found]
        assert all(any(one is not None and one.takes("birds", name) for one in parsed) for name in files)


def test_a_plan_that_trashes_files_of_another_manifest_says_so(world: World) -> None:
    world.images("a.png", "b.png", "c.png")
    world.manifest(PRUNED)
    world.good("apply", "manifest.yaml")
    write_second(world, {"name": "birds", "type": "image", "files": ["images/a.png", "images/b.png"]})
    world.good("apply", "night.yaml")
    world.manifest({"name": "birds", "type": "image", "files": ["images/b.png", "images/c.png"], "prune": True})
    found = [message for _, message in warnings(world, "manifest.yaml")]
    assert any(
        message.startswith("this plan trashes 1 file (a.png) that the manifest night.yaml has too") for message in found
    )
    world.good("apply", "manifest.yaml", "--auto-approve")
    assert not any("trashes" in message for _, message in warnings(world, "manifest.yaml"))


def test_one_collection_with_files_of_two_manifests_is_no_conflict(world: World) -> None:
    world.images("a.png", "b.png")
    first = {"name": "birds", "type": "image", "files": ["images/a.png"], **CAMERA}
    world.manifest(first)
    world.good("apply", "manifest.yaml")
    write_second(world, {"name": "birds", "type": "image", "files": ["images/b.png"]})
    world.good("apply", "night.yaml")
    assert warnings(world, "manifest.yaml") == warnings(world, "night.yaml") == []


def test_an_operation_of_managed_and_of_unmanaged_images(world: World) -> None:
    world.images("a.png", "b.png")
    drawn = {"operation": "human", "kind": "human", "source": "boxes.json"}
    world.write("boxes.json", boxes(a_png=[(1, 2, 3, 4)], b_png=[(1, 2, 3, 4)]))
    world.manifest({**BIRDS, "annotations": [drawn]})
    world.good("apply", "manifest.yaml")
    world.write("one.json", boxes(a_png=[(1, 2, 3, 4)]))
    unmanaged = {**drawn, "source": "one.json", "by": "collection", "collection": "birds"}
    write_second(world, annotations=[unmanaged])
    world.good("apply", "night.yaml")
    assert clause(world, "manifest.yaml", "night.yaml") == "1 annotation set of 'human'"
    ((where, message),) = warnings(world, "night.yaml")
    assert where == "human"
    assert "manifest.yaml also writes this: 1 annotation set of 'human';" in message
    write_second(world, annotations=[{**unmanaged, "operation": "model", "kind": "machine"}], name="other.yaml")
    world.good("apply", "other.yaml")
    assert not any("other.yaml" in message for _, message in warnings(world, "manifest.yaml"))


def test_states_that_are_not_those_of_another_manifest(world: World) -> None:
    world.images("a.png")
    world.manifest(BIRDS)
    world.good("apply", "manifest.yaml")
    folder = world.folder / ".metalake-sync"
    # The same manifest with another state, a copy of the state, a damaged file, and a manifest that is gone.
    world.good("apply", "manifest.yaml", "--state", ".metalake-sync/second.db")
    shutil.copy(folder / "manifest.db", folder / "copy.db")
    (folder / "damaged.db").write_bytes(b"x" * 5000)
    write_second(world, dict(BIRDS))
    world.good("apply", "night.yaml")
    (world.folder / "night.yaml").unlink()
    assert warnings(world, "manifest.yaml") == []
    # A name that the manifest did not have before.
    world.manifest(BIRDS, name="renamed")
    assert warnings(world, "manifest.yaml") == []


def test_a_state_that_was_moved_is_one_state(world: World) -> None:
    world.images("a.png")
    world.manifest(BIRDS)
    world.good("apply", "manifest.yaml")
    write_second(world, dict(BIRDS))
    world.good("apply", "night.yaml")
    world.good("state", "migrate", "night.yaml", "--to", ".metalake-sync/moved.db")
    assert clause(world, "manifest.yaml", "night.yaml") == "1 file (a.png)"
    # The state that is used from now on counts, and not the one that was left.
    world.good("state", "forget", "night.yaml", "--state", ".metalake-sync/moved.db", "--target", "birds/a.png")
    assert warnings(world, "manifest.yaml") == []


def test_manifests_of_other_lakes(world: World) -> None:
    world.images("a.png")
    world.manifest(BIRDS)
    world.good("apply", "manifest.yaml")
    for lake in ("embedded:one", "embedded:two"):
        write_second(world, dict(BIRDS), name=f"{lake[-3:]}.yaml", remote={"url": lake})
        world.good("apply", f"{lake[-3:]}.yaml")
    assert warnings(world, "manifest.yaml") == warnings(world, "one.yaml") == []
