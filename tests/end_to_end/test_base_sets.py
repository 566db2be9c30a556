"""The state holds, of every annotation set that the lake confirmed, exactly the shapes that were sent."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metalake_sync.core.addresses import Address
from metalake_sync.core.shapes import ImageRecord, digest_of_shapes, encode_record
from metalake_sync.core.snapshots import CollectionKey, MediaType
from metalake_sync.embedded_lake.faults import FaultPlan
from metalake_sync.state.store import StateStore
from tests.embedded_lake.talk import png
from tests.end_to_end.test_annotation_sources import WRITERS, aviary, manifest, write_coco
from tests.end_to_end.world import World, boxes

__all__ = ["aviary"]

BIRDS = CollectionKey(MediaType.IMAGE, "birds")


def state_file(world: World) -> Path:
    (path,) = (world.folder / ".metalake-sync").glob("*.db")
    return path


def bases(world: World) -> Iterator[tuple[str, str, ImageRecord | None]]:
    """Yield name, digest and shapes of every recorded set of the operation 'op'."""
    with StateStore(state_file(world)) as state:
        (lake,) = state.collections.lakes()
        handle, _ = state.collections.of_lake(lake)[BIRDS]
        for file in state.files.all(handle):
            for operation, known in file.annotations.items():
                yield file.name, known.digest, state.annotation_sets.base(handle, file.name, operation)


def is_exact(digest: str, record: ImageRecord | None) -> bool:
    """Whether a record has the digest of the set that was sent."""
    assert record is not None
    nameless = ImageRecord("", record.shapes, record.normalized)
    return digest_of_shapes(b"human" + encode_record(nameless)) == digest


NEEDED_BY_NOTHING = """
id NOT IN (SELECT base FROM annotation_sets WHERE base IS NOT NULL)
AND id NOT IN (SELECT before FROM run_sets WHERE before IS NOT NULL)
AND id NOT IN (SELECT after FROM run_sets WHERE after IS NOT NULL)
"""
"""Base sets that neither a record nor the history refers to."""


def assert_exact(world: World, *names: str) -> None:
    found = list(bases(world))
    assert [name for name, _, _ in found] == list(names)
    assert all(is_exact(digest, record) for _, digest, record in found)
    with sqlite3.connect(state_file(world)) as db:
        assert db.execute(f"SELECT count(*) FROM annotation_bases WHERE {NEEDED_BY_NOTHING}").fetchone() == (0,)


@pytest.mark.parametrize("format_name", WRITERS)
def test_each_confirmed_set_has_a_base(aviary: World, format_name: str) -> None:
    manifest(aviary, WRITERS[format_name](aviary.folder))
    aviary.good("apply", "manifest.yaml")
    assert_exact(aviary, "crow.png", "gull.png")


def test_sets_in_fractions_have_bases_in_fractions(aviary: World) -> None:
    manifest(aviary, WRITERS["yolo"](aviary.folder), normalized=True)
    aviary.good("apply", "manifest.yaml")
    assert_exact(aviary, "crow.png", "gull.png")
    assert all(record is not None and record.normalized for _, _, record in bases(aviary))


def test_a_changed_set_has_a_new_base(aviary: World) -> None:
    manifest(aviary, write_coco(aviary.folder))
    aviary.good("apply", "manifest.yaml")
    before = {name: record for name, _, record in bases(aviary)}
    document = json.loads((aviary.folder / "coco.json").read_text())
    document["annotations"][2]["bbox"][0] += 1
    aviary.write("coco.json", document)
    aviary.good("apply", "manifest.yaml")
    assert_exact(aviary, "crow.png", "gull.png")
    after = {name: record for name, _, record in bases(aviary)}
    assert [name for name in after if after[name] != before[name]] == ["gull.png"]


def test_bases_go_with_their_sets_and_files(aviary: World) -> None:
    manifest(aviary, write_coco(aviary.folder))
    aviary.good("apply", "manifest.yaml")
    aviary.write("images/gull.png", png(salt=b"another gull"))
    aviary.good("apply", "manifest.yaml", "--auto-approve")
    assert sorted(name for name, _, _ in bases(aviary)) == ["crow.png", "gull.png"]
    assert all(is_exact(digest, record) for _, digest, record in bases(aviary))
    aviary.manifest({"name": "birds", "type": "image", "folders": [{"path": "images"}]})
    aviary.good("apply", "manifest.yaml", "--auto-approve")
    assert_exact(aviary)


def test_a_rejected_set_leaves_the_base_as_it_was(aviary: World) -> None:
    manifest(aviary, write_coco(aviary.folder))
    aviary.good("apply", "manifest.yaml")
    before = list(bases(aviary))
    document = json.loads((aviary.folder / "coco.json").read_text())
    document["annotations"][2]["bbox"][0] += 1
    aviary.write("coco.json", document)
    reject_sets(aviary)
    assert aviary.run("apply", "manifest.yaml").code != 0
    assert list(bases(aviary)) == before


def reject_sets(world: World) -> None:
    fault = {"kind": "status", "status": 400, "route": "update_annotations", "times": None}
    world.lake.faults.use(FaultPlan.model_validate({"faults": [fault]}))


def forget_bases(world: World) -> None:
    """Leave the state as an earlier version wrote it."""
    with sqlite3.connect(state_file(world)) as db:
        db.execute("UPDATE annotation_sets SET base = NULL")


def test_a_state_of_an_earlier_version_gets_its_bases_from_the_sources(aviary: World) -> None:
    manifest(aviary, write_coco(aviary.folder))
    aviary.good("apply", "manifest.yaml")
    forget_bases(aviary)
    aviary.lake.requests.clear()
    aviary.good("apply", "manifest.yaml")
    assert aviary.lake.requests.writes == 0
    assert_exact(aviary, "crow.png", "gull.png")


def test_a_source_that_changed_since_an_earlier_version_gives_no_base(aviary: World) -> None:
    manifest(aviary, write_coco(aviary.folder))
    aviary.good("apply", "manifest.yaml")
    forget_bases(aviary)
    document: dict[str, Any] = json.loads((aviary.folder / "coco.json").read_text())
    document["annotations"][2]["bbox"][0] += 1
    aviary.write("coco.json", document)
    reject_sets(aviary)
    assert aviary.run("apply", "manifest.yaml").code != 0
    assert {name: record is None for name, _, record in bases(aviary)} == {"crow.png": False, "gull.png": True}


def test_adopted_sets_have_bases(aviary: World) -> None:
    manifest(aviary, write_coco(aviary.folder))
    aviary.good("apply", "manifest.yaml")
    state_file(aviary).unlink()
    done = aviary.good("apply", "manifest.yaml", "--refresh", "full", "--json").summary["done"]
    assert (done["adopt"], done["annotate"]) == (3, 0)
    assert_exact(aviary, "crow.png", "gull.png")


def test_sets_of_unmanaged_files_have_bases(world: World) -> None:
    world.talk.upload({"crow.png": png(salt=b"c")}, "theirs")
    block = {"operation": "op", "kind": "human", "source": "boxes.json", "by": "collection", "collection": "theirs"}
    world.manifest(annotations=[block])
    world.write("boxes.json", boxes(crow_png=[[1, 2, 10, 7]]))
    world.good("apply", "manifest.yaml")
    with StateStore(state_file(world)) as state:
        ((lake, address),) = state._connection.execute("SELECT lake, address FROM addressed_sets")
        records = state.of_address(lake, Address.from_key(address))
        (sent,) = records.sets("op").values()
        assert is_exact(sent.digest, records.base("op", "crow.png"))
