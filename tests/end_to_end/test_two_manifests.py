"""Two manifests that write the same: a warning, and no more. Their states are beside each other."""

from __future__ import annotations

import shutil
from typing import Any

import yaml

from tests.end_to_end.world import BIRDS, World, boxes

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
    world.good("state", "forget", "night.yaml", "--target", "birds")
    assert warnings(world, "manifest.yaml") == []


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


def test_manifests_of_other_lakes(world: World) -> None:
    world.images("a.png")
    world.manifest(BIRDS)
    world.good("apply", "manifest.yaml")
    for lake in ("embedded:one", "embedded:two"):
        write_second(world, dict(BIRDS), name=f"{lake[-3:]}.yaml", remote={"url": lake})
        world.good("apply", f"{lake[-3:]}.yaml")
    assert warnings(world, "manifest.yaml") == warnings(world, "one.yaml") == []
