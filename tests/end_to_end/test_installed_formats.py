"""Annotation formats that an installed package adds: in the manifest, the schema, the options, detection and pull.

The package is in `tests/annotations/toy_package`. Commands find it as they find any installed package: through its
entry point on the module search path.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metalake_sync.errors import ExitCode
from metalake_sync.format_registry import BUILT_IN
from tests.end_to_end.world import BIRDS, World

TOY = Path(__file__).parents[1] / "annotations" / "toy_package"
BOXES = "#toy\na.png cell 1.0 2.0 3.0 4.0\na.png cell 5.0 6.0 7.0 8.0 0.5\nb.png nucleus 1.0 1.0 2.0 2.0\n"
"""Without a final confidence where the lake keeps none; sorted as the lake lists images."""


@pytest.fixture
def toy(world: World) -> World:
    """Two images, and their boxes in the format of the package."""
    world.images("a.png", "b.png")
    world.write("labels/all.boxes", BOXES)
    return world


def birds(**annotation: Any) -> dict[str, Any]:
    block = {"operation": "model", "kind": "machine", "source": "labels", **annotation}
    return {**BIRDS, "annotations": [block]}


@pytest.mark.parametrize("named", [{}, {"format": "toy"}], ids=["detected", "named"])
def test_a_source_in_the_format_is_sent_and_pulled_back(toy: World, named: dict[str, str]) -> None:
    toy.manifest(birds(**named))
    toy.good("apply", "manifest.yaml", PYTHONPATH=str(TOY))
    toy.good("pull", "manifest.yaml", "--collection", "birds", "--to", "out", "--format", "toy", PYTHONPATH=str(TOY))
    written = (toy.folder / "out" / "annotations.boxes").read_text()
    assert [line.split()[1:6] for line in written.splitlines()] == [line.split()[1:6] for line in BOXES.splitlines()]
    again = toy.good("plan", "manifest.yaml", "--json", PYTHONPATH=str(TOY))
    assert again.document["summary"]["annotate"] == 0


def test_an_unreadable_entry_is_reported_with_its_location(toy: World) -> None:
    toy.write("labels/all.boxes", BOXES + "b.png nucleus 1.0\n")
    toy.manifest(birds())
    done = toy.good("plan", "manifest.yaml", PYTHONPATH=str(TOY))
    assert "lines do not have the form: image label x y width height; left out (once: line 5)" in done.out + done.err


def test_schema_and_options_name_the_format(toy: World) -> None:
    schema = toy.good("schema", "manifest", PYTHONPATH=str(TOY)).document
    for model in ("Annotation", "DownloadAnnotationsOf"):
        assert "toy" in str(schema["$defs"][model]["properties"]["format"])
    for command in (("pull",), ("annotations", "upload"), ("collection", "download")):
        assert "toy" in toy.good(*command, "--help", PYTHONPATH=str(TOY)).out


def test_without_the_package_the_name_is_an_error_with_its_location(toy: World) -> None:
    toy.manifest(birds(format="toy"))
    done = toy.run("plan", "manifest.yaml")
    assert done.code == ExitCode.USAGE
    assert "'format' is 'toy'" in done.err
    names = sorted(BUILT_IN)
    assert f"Write {', '.join(names[:-1])} or {names[-1]}" in done.err
    assert "manifest.yaml:" in done.err


def test_a_package_that_cannot_be_loaded_affects_only_its_own_format(toy: World) -> None:
    info = "site/broken_format-1.0.dist-info"
    toy.write(f"{info}/METADATA", "Metadata-Version: 2.1\nName: broken-format\nVersion: 1.0\n")
    toy.write(f"{info}/entry_points.txt", "[metalake_sync.formats]\nbroken = broken_format:FORMAT\n")
    toy.write("site/broken_format.py", "raise RuntimeError('compiled for another Python')\n")
    site = str(toy.folder / "site")
    assert "broken" not in toy.good("schema", "manifest", PYTHONPATH=site).out
    toy.manifest(birds(format="broken"))
    done = toy.run("plan", "manifest.yaml", PYTHONPATH=site)
    assert done.code != 0
    assert "the annotation format 'broken' of the package 'broken-format' can't be loaded" in done.err
    assert "Update or uninstall 'broken-format'" in done.err
