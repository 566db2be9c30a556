"""`metalake-sync formats`: what each format reads, writes and loses, and packages whose format cannot be used."""

from __future__ import annotations

from typing import Any

from metalake_sync.annotations.formats.base import AnnotationFormat
from metalake_sync.annotations.writing import stated_losses
from metalake_sync.format_registry import BUILT_IN, load_format
from tests.end_to_end.test_installed_formats import TOY
from tests.end_to_end.world import World


def listed(world: World, **environment: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in world.good("formats", "--json", **environment).document}


def add_package(world: World, name: str, code: str) -> str:
    """Write an installed package that adds one format. Returns the folder for the module search path."""
    info = f"site/{name}_format-1.0.dist-info"
    world.write(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}-format\nVersion: 1.0\n")
    world.write(f"{info}/entry_points.txt", f"[metalake_sync.formats]\n{name} = {name}_format:FORMAT\n")
    world.write(f"site/{name}_format.py", code)
    return str(world.folder / "site")


def test_each_built_in_format_is_listed_as_it_declares_itself(world: World) -> None:
    formats = listed(world)
    assert list(formats) == sorted(BUILT_IN)
    for name, row in formats.items():
        one: AnnotationFormat = load_format(name)
        assert (row["title"], row["reads"], row["writes"]) == (one.title, one.reads, one.writes)
        assert row["detected"] == one.detected
        assert row["extensions"] == list(one.extensions)
        assert row["reading_loses"] == list(one.loses)
        assert row["package"] is row["error"] is None
        losses = stated_losses(one.output()) if one.writes else ()
        assert len(row["writing_loses"]) == len(losses)
    assert formats["kitti"]["writing_loses"] == [
        "polygons",
        "lines",
        "shapes of points",
        "shapes whose label KITTI can't hold",
        "metadata fields",
        "attributes",
    ]
    assert formats["coco"]["writing_loses"] == ["lines", "attribute values with a confidence of 1"]
    assert formats["metalake"]["writing_loses"] == []
    for name in ("label_studio", "cvat", "datumaro", "darwin", "labelme"):
        assert "confidences and metadata of attribute values" in formats[name]["writing_loses"]
    printed = world.good("formats").out
    assert "coco_panoptic" in printed
    assert "reading leaves out: captions, labels of whole images, holes of masks" in printed
    assert "writing leaves out or changes: polygons, lines, shapes of points, shapes whose label" in printed


def test_the_format_of_a_package_is_listed_with_the_package(world: World) -> None:
    row = listed(world, PYTHONPATH=str(TOY))["toy"]
    assert row["package"] == "toy-annotations"
    assert row["writes"]
    assert "of the package 'toy-annotations'" in world.good("formats", PYTHONPATH=str(TOY)).out


def test_packages_whose_format_cannot_be_used_are_named(world: World) -> None:
    add_package(world, "broken", "raise RuntimeError('compiled for another Python')\n")
    add_package(world, "other", "class FORMAT:\n    name = 'something_else'\n")
    site = add_package(world, "bare", "class FORMAT:\n    name = 'bare'\n")
    formats = listed(world, PYTHONPATH=site)
    assert set(formats) == {*BUILT_IN, "bare", "broken", "other"}
    assert "compiled for another Python" in formats["broken"]["error"]
    assert "is not an annotation format of this name" in formats["other"]["error"]
    assert "does not declare what a format needs" in formats["bare"]["error"]
    for name in ("bare", "broken", "other"):
        assert formats[name]["package"] == f"{name}-format"
        assert f"Update or uninstall '{name}-format'" in formats[name]["error"]
    assert "cannot be used, of the package 'broken-format'" in world.good("formats", PYTHONPATH=site).out


def test_a_package_whose_format_has_the_name_of_another_one_is_named(world: World) -> None:
    site = add_package(world, "coco", "raise AssertionError('it is not loaded')\n")
    add_package(world, "twice", "class FORMAT:\n    name = 'twice'\n")
    info = "site/zzz_format-1.0.dist-info"
    world.write(f"{info}/METADATA", "Metadata-Version: 2.1\nName: zzz-format\nVersion: 1.0\n")
    world.write(f"{info}/entry_points.txt", "[metalake_sync.formats]\ntwice = zzz_format:FORMAT\n")
    rows = world.good("formats", "--json", PYTHONPATH=site).document
    coco, other = [one for one in rows if one["name"] == "coco"]
    assert (coco["package"], coco["error"], coco["title"]) == (None, None, "COCO")
    assert other["package"] == "coco-format"
    assert other["error"] == (
        "the package 'coco-format' adds a format 'coco', which is built in, so that this one is not used."
        " Update or uninstall 'coco-format'."
    )
    first, second = [one for one in rows if one["name"] == "twice"]
    assert {first["package"], second["package"]} == {"twice-format", "zzz-format"}
    assert f"which is of the package '{first['package']}', so that this one is not used" in second["error"]
    assert "cannot be used, of the package 'coco-format'" in world.good("formats", PYTHONPATH=site).out
