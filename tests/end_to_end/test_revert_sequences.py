"""Random sources and edits of another client: after a full refresh, a revert restores exactly what the lake had."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from tests.end_to_end.test_revert import (
    box_of_theirs,
    edit_metadata,
    fractions,
    lake_content,
    last_run,
    revert,
    write_set,
)
from tests.end_to_end.world import BIRDS, World, boxes

IMAGES = ("a.png", "b.png", "c.png")
STEPS = 3
EDITS: list[dict[str, Any]] = [{"Source": "theirs"}, {"Tags": ["one", "zz"]}, {"Site": "q"}]
"""What another client writes to a file."""


def places(random: Random, most: int) -> list[list[float]]:
    return [[random.randrange(20), random.randrange(8), 5, 5] for _ in range(random.randrange(most + 1))]


def write_sources(world: World, random: Random) -> None:
    """A manifest with random boxes, metadata and policies. The first image always has a box of each operation."""
    blocks: list[dict[str, Any]] = []
    for operation in ("people", "cars"):
        if random.random() < 0.15:
            continue
        shapes = {name.replace(".", "_"): places(random, 2) for name in IMAGES[1:] if random.random() < 0.8}
        shapes["a_png"] = [[random.randrange(20), 1, 5, 5]]
        normalized = operation == "cars"
        world.write(f"{operation}.json", fractions(**shapes) if normalized else boxes(**shapes))
        policies = {
            "on_drift": random.choice(["ask", "merge", "overwrite"]),
            "mode": random.choice(["replace", "replace", "append"]),
        }
        source = {"source": f"{operation}.json", "normalized": normalized}
        blocks.append({"operation": operation, "kind": "human", **source, **policies})
    tags = random.sample(["one", "two", "three"], random.randrange(3))
    metadata = {"Source": random.choice("xyz"), "Site": random.choice("uvw"), "Tags": tags}
    world.manifest({**BIRDS, "metadata": metadata, "annotations": blocks, "tags": random.choice(["own", "exact"])})


def edit_at_random(world: World, random: Random) -> None:
    name = random.choice(IMAGES)
    if random.random() < 0.6:
        theirs = [box_of_theirs(world, *place) for place in places(random, 2)]
        write_set(world, random.choice(["people", "cars"]), name, theirs)
    else:
        edit_metadata(world, name, **random.choice(EDITS))


def compared(content: dict[str, Any]) -> dict[str, Any]:
    """The content of the lake without the order of Tags."""
    found = dict(content)
    for key, value in content.items():
        if key.startswith("metadata of "):
            metadata = json.loads(value)
            found[key] = {**metadata, "Tags": sorted(metadata.get("Tags", []))}
    return found


@pytest.mark.parametrize(
    "seed", [number if number < 2 else pytest.param(number, marks=pytest.mark.long) for number in range(20)]
)
def test_a_random_run_and_its_revert_are_undone(world: World, seed: int) -> None:
    random = Random(seed)
    world.images(*IMAGES)
    write_sources(world, random)
    world.good("apply", "manifest.yaml")
    for _ in range(STEPS):
        for _ in range(random.randrange(3)):
            edit_at_random(world, random)
        before, earlier = lake_content(world), last_run(world)
        write_sources(world, random)
        world.good("apply", "--auto-approve", "--refresh", "full", "manifest.yaml")
        run = last_run(world)
        if run == earlier:
            continue
        after = lake_content(world)
        assert revert(world, run, "--auto-approve").code == 0
        assert compared(lake_content(world)) == compared(before)
        own = last_run(world)
        if own != run and random.random() < 0.5:
            assert revert(world, own, "--auto-approve").code == 0
            assert compared(lake_content(world)) == compared(after)
