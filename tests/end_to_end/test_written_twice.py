"""A metadata field of one file that two places of a manifest set: a warning, as soon as the records show it."""

from __future__ import annotations

from typing import Any

from tests.end_to_end.world import BIRDS, World


def entries(**values: dict[str, Any]) -> dict[str, Any]:
    """A metadata source: file (its `_` at the end is `.png`) → metadata."""
    return {"files": [{"file": f"{name}.png", "metadata": metadata} for name, metadata in values.items()]}


def conflicts(world: World) -> list[str]:
    found = world.good("plan", "manifest.yaml", "--json").document["warnings"]
    return [note["message"] for note in found if note["code"] == "written_twice"]


def test_a_field_from_a_collection_and_from_two_addresses(world: World) -> None:
    world.images("a.png", "b.png", "c.png")
    world.write("one.json", entries(a={"Camera": "B", "Note": "x"}, b={"Camera": "A"}))
    world.write("two.json", entries(birds_a={"Camera": "C", "Tags": ["u"]}, birds_c={"Other": "z"}))
    birds = {**BIRDS, "metadata": {"Camera": "A", "Tags": ["t"]}}
    world.manifest(birds)
    world.good("apply", "manifest.yaml")
    by_name = {"source": "one.json", "by": "collection", "collection": "birds"}
    by_unique_name = {"source": "two.json", "by": "unique_name"}
    world.manifest(birds, metadata=[by_name, by_unique_name])
    world.good("apply", "manifest.yaml", "--auto-approve")
    found = conflicts(world)
    assert sorted(found) == [
        "1 file gets different values of 'Camera' from 'metadata' by files of birds and 'metadata' by unique names,"
        " which overwrite each other: a.png",
        "1 file gets different values of 'Camera' from 'metadata' by files of birds and collection 'birds', which"
        " overwrite each other: a.png",
        "1 file gets different values of 'Camera' from 'metadata' by unique names and collection 'birds', which"
        " overwrite each other: birds_a.png",
    ]
    # A block that left the manifest does not count, even before its records are removed.
    world.manifest(birds, metadata=[by_name])
    assert len(conflicts(world)) == 1
    world.write("one.json", entries(a={"Note": "x"}))
    world.good("apply", "manifest.yaml", "--auto-approve")
    assert conflicts(world) == []


def test_several_blocks_of_one_kind_of_address(world: World) -> None:
    world.images("a.png", "b.png")
    world.write("one.json", entries(a={"Camera": "A", "Tags": ["t"]}, b={"Camera": "A"}))
    world.write("two.json", entries(a={"Camera": "B", "Tags": ["u"], "Note": "x"}, b={"Camera": "A"}))
    block = {"by": "collection", "collection": "birds"}
    world.manifest(BIRDS)
    world.good("apply", "manifest.yaml")
    world.manifest(BIRDS, metadata=[{**block, "source": "one.json"}, {**block, "source": "two.json"}])
    expected = (
        "1 file gets different values of 'Camera' from several blocks of 'metadata' by files of birds, and the last one"
        " counts: a.png"
    )
    # No records are needed, and none end the warning.
    assert conflicts(world) == [expected]
    world.good("apply", "manifest.yaml", "--auto-approve")
    assert conflicts(world) == [expected]
    world.write("two.json", entries(a={"Note": "x"}, b={"Camera": "A"}))
    assert conflicts(world) == []
