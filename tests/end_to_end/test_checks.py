"""The checks of the sources: what they find, what they stop, and what they cost."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.checks.made import picture, with_orientation
from tests.end_to_end.world import BIRDS, World

SIXTY = [f"{number:02}.jpg" for number in range(60)]
POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)
ERROR_PAGE = b"<!DOCTYPE html>\n<html><body><h1>502 Bad Gateway</h1></body></html>"


def stopped(world: World, *flags: str) -> str:
    """Apply with --auto-approve. The run must stop and send nothing. Returns its error."""
    world.lake.requests.clear()
    done = world.run("apply", "--auto-approve", *flags, "manifest.yaml")
    assert done.code == 7, (done.code, done.out, done.err)
    assert world.lake.requests.writes == 0
    return done.err


def test_sixty_images_that_became_pointers_stop_the_run_with_one_line(world: World) -> None:
    world.images(*SIXTY)
    world.manifest(BIRDS)
    world.good("apply", "manifest.yaml")
    before = world.talk.read("birds_00.jpg")
    for name in SIXTY:
        world.write(f"images/{name}", POINTER)
    (line,) = stopped(world, "--max-delete", "60").splitlines()
    assert "birds: 60 files are placeholders of Git LFS or git-annex" in line
    assert "run 'git lfs pull'" in line
    assert world.talk.read("birds_00.jpg") == before
    for command in ("plan", "validate"):
        done = world.run(command, "manifest.yaml")
        assert done.code == 7
        assert "00.jpg" in done.out
    # Turned off, the pointers are files like others.
    world.manifest(BIRDS, checks={"images": "off"})
    world.good("apply", "--auto-approve", "--max-delete", "60", "manifest.yaml")
    assert world.talk.read("birds_00.jpg") == POINTER.encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 5000,
        ERROR_PAGE,
        b'{"message": "not found"}',
        picture("PNG")[:-40],
        picture("PNG", (300, 200))[:5000],
    ],
    ids=len,
)
def test_what_cannot_be_an_image_does_not_replace_one(world: World, content: bytes) -> None:
    world.images("a.png", "b.png")
    world.manifest(BIRDS)
    world.good("apply", "manifest.yaml")
    world.write("images/a.png", content)
    error = stopped(world)
    assert "birds/a.png" in error
    assert "b.png" not in error


def test_a_new_file_that_cannot_be_an_image_is_listed(world: World) -> None:
    world.images("a.png")
    world.write("images/empty.png", b"")
    world.write("images/page.png", ERROR_PAGE)
    world.manifest(BIRDS)
    done = world.good("apply", "manifest.yaml")
    assert "birds/empty.png: is empty (0 bytes)" in done.out
    assert "birds/page.png: is a web page" in done.out
    assert world.names() == ["a.png", "empty.png", "page.png"]


def test_a_pointer_is_no_data_in_any_collection(world: World) -> None:
    world.write("models/weights.bin", POINTER)
    world.write("models/empty.bin", b"")
    world.manifest({"name": "models", "type": "other", "folders": [{"path": "models"}]})
    error = stopped(world)
    assert "models/weights.bin: is a Git LFS pointer" in error
    assert "empty.bin" not in error


def test_warnings_do_not_stop_a_plan(world: World) -> None:
    world.write("images/a.png", POINTER)
    world.manifest(BIRDS, checks={"images": "warn"})
    assert "birds/a.png: is a Git LFS pointer" in world.good("apply", "manifest.yaml").out


def codes(document: dict[str, Any]) -> list[str]:
    return [warning["code"] for warning in document["warnings"]]


def test_a_saved_plan_is_stopped_too(world: World) -> None:
    world.images("a.png")
    world.write("images/b.png", POINTER)
    world.manifest(BIRDS)
    assert world.run("plan", "manifest.yaml", "--out", "birds.plan").code == 7
    assert "check_failed" in codes(json.loads((world.folder / "birds.plan").read_text())["plan"])
    assert world.run("apply", "birds.plan").code == 7
    world.images("b.png")
    assert world.run("plan", "manifest.yaml", "--out", "birds.plan").code == 0
    world.good("apply", "birds.plan")
    assert world.names() == ["a.png", "b.png"]


# Structure and pixels.


def damaged(world: World) -> None:
    """Write one whole image, and five that are not."""
    jpg = picture("JPEG")
    world.write("images/whole.jpg", jpg)
    world.write("images/cut.jpg", jpg[: len(jpg) // 2])
    world.write("images/png_inside.jpg", picture("PNG"))
    world.write("images/text.png", b"a text, not an image")
    world.write("images/zeros.jpg", b"\0" * 4000)
    world.write("images/empty.png", b"")


@pytest.mark.parametrize("images", ["error", "header", {"depth": "header"}, {"level": "error"}], ids=str)
def test_damaged_files_stop_a_plan_with_all_findings(world: World, images: object) -> None:
    damaged(world)
    world.manifest(BIRDS, checks={"images": images})
    error = stopped(world)
    for name in ("cut.jpg", "png_inside.jpg", "text.png", "zeros.jpg", "empty.png"):
        assert name in error
    assert "whole.jpg" not in error
    found = world.run("plan", "manifest.yaml", "--json").document["findings"]
    assert {one["file"]: one["check"] for one in found} == {
        "cut.jpg": "truncated",
        "png_inside.jpg": "other_type",
        "text.png": "other_type",
        "zeros.jpg": "zeros",
        "empty.png": "empty",
    }
    assert {one["path"] for one in found} == {f"images/{one['file']}" for one in found}
    validated = world.run("validate", "manifest.yaml", "--json")
    assert (validated.code, validated.document["findings"]) == (7, found)


def test_warnings_about_damaged_files_are_listed_and_the_files_are_sent(world: World) -> None:
    damaged(world)
    world.manifest(BIRDS, checks={"images": "warn"})
    done = world.good("apply", "manifest.yaml")
    assert "birds/cut.jpg: ends inside its image data; get the file again, or exclude it" in done.out
    assert len(world.names()) == 6


def test_a_file_that_decodes_wrongly_is_found_by_decoding_only(world: World) -> None:
    png = picture("PNG", (300, 200))
    broken = bytearray(png)
    broken[200:260] = bytes(60)
    world.write("images/whole.png", png)
    world.write("images/broken.png", bytes(broken))
    world.manifest(BIRDS, checks={"images": "header"})
    world.good("plan", "manifest.yaml")
    world.manifest(BIRDS, checks={"images": "decode"})
    error = stopped(world)
    assert "birds/broken.png: cannot be decoded" in error
    assert "whole.png" not in error


def test_two_names_of_one_file_are_both_checked(world: World) -> None:
    damaged(world)
    world.manifest(BIRDS, {**BIRDS, "name": "again"}, checks={"images": "decode"})
    found = world.run("plan", "manifest.yaml", "--json").document["findings"]
    assert [one["collection"] for one in found] == ["birds"] * 5 + ["again"] * 5


def test_bounds_of_size(world: World) -> None:
    world.write("images/large.png", picture("PNG", (300, 200)))
    world.write("images/small.png", picture("PNG", (30, 20)))
    world.manifest(BIRDS, checks={"images": {"max_pixels": 10_000}})
    assert "birds/large.png: has 300 x 200 pixels, and 'max_pixels' is 10000" in stopped(world)
    world.manifest(BIRDS, checks={"images": {"max_bytes": "0.2kB", "level": "error", "depth": "placeholders"}})
    assert "images exceed" not in stopped(world)
    world.manifest(BIRDS, checks={"images": {"max_bytes": "1MB", "max_pixels": 60_000}})
    world.good("apply", "manifest.yaml")


def test_files_that_the_lake_has_are_not_read_again(world: World) -> None:
    damaged(world)
    world.manifest(BIRDS)
    world.good("apply", "manifest.yaml")
    world.manifest(BIRDS, checks={"images": "error"})
    assert "Nothing was sent" in world.good("apply", "manifest.yaml").out


# Equal bytes.

TRAIN: dict[str, Any] = {"name": "train", "type": "image", "folders": [{"path": "train"}]}
VAL: dict[str, Any] = {"name": "val", "type": "image", "folders": [{"path": "val"}]}


def test_equal_bytes_in_one_collection(world: World) -> None:
    world.write("images/a.png", picture("PNG"))
    world.write("images/b.png", picture("PNG", seed=1))
    os.link(world.folder / "images/a.png", world.folder / "images/linked.png")
    world.write("images/copied.png", picture("PNG"))
    world.manifest(BIRDS, checks={"duplicates": "error"})
    error = stopped(world)
    assert "birds: 2 files have the same bytes as another file of the collection" in error
    assert "copied.png, linked.png" in error
    world.manifest(BIRDS, checks={"duplicates": "warn"})
    world.good("apply", "manifest.yaml")
    # A new copy of a file that the lake has is compared with the record, which is not read.
    world.write("images/later.png", picture("PNG", seed=1))
    done = world.good("plan", "manifest.yaml")
    assert "birds/later.png: has the same bytes as 'images/b.png'" in done.out
    assert "copied.png" not in done.out


def test_a_renamed_file_is_not_a_duplicate_of_itself(world: World) -> None:
    world.write("images/a.png", picture("PNG"))
    world.manifest(BIRDS, checks={"duplicates": "error"})
    world.good("apply", "manifest.yaml")
    (world.folder / "images/a.png").rename(world.folder / "images/b.png")
    world.good("apply", "manifest.yaml")
    assert world.names() == ["a.png", "b.png"]


def test_one_image_in_training_and_validation(world: World) -> None:
    world.write("train/a.png", picture("PNG"))
    world.write("train/b.png", picture("PNG", seed=1))
    world.write("val/other_name.png", picture("PNG"))
    world.manifest(TRAIN, VAL, checks={"split_leak": "error"})
    error = stopped(world)
    assert "train/a.png: has the same bytes as 'val/other_name.png' of collection 'val'" in error
    assert "val/other_name.png: has the same bytes as 'train/a.png' of collection 'train'" in error
    # Collections of different lists may share images.
    lists = [["train", "test"]]
    world.manifest(TRAIN, VAL, {**VAL, "name": "test"}, checks={"split_leak": {"collections": lists}})
    error = stopped(world)
    assert "test/other_name.png" in error
    assert "\nval/" not in error
    world.manifest(TRAIN, VAL, checks={"split_leak": {"collections": [["train", "vla"]]}})
    done = world.run("plan", "manifest.yaml")
    assert done.code == 64
    assert "'vla' is not a collection of the manifest" in done.err


# Labels.


def labeled(world: World, label_of: dict[str, str], **checks: Any) -> None:
    """Write images with one box each, and a manifest that checks their labels."""
    world.images(*label_of)
    shapes = {
        "images": [
            {
                "image": name,
                "annotations": [{"type": "rectangle", "bbox": [1, 1, 5, 5], "label": label, "metadata": {}}],
            }
            for name, label in label_of.items()
        ]
    }
    world.write("boxes.json", shapes)
    block = {"operation": "people", "kind": "human", "source": "boxes.json"}
    world.manifest({**BIRDS, "annotations": [block]}, checks=checks)


def test_a_label_that_is_not_allowed(world: World) -> None:
    labeled(world, {"a.png": "bird", "b.png": "brid", "c.png": "brid"}, labels={"allow": ["bird"]})
    error = stopped(world)
    assert "birds: 2 images have a label that 'checks.labels.allow' does not have ('brid' of 'people')" in error
    assert "b.png, c.png" in error
    done = world.run("check", "manifest.yaml", "--sources")
    assert done.out.splitlines() == [
        "error: birds: 2 images have a label that 'checks.labels.allow' does not have ('brid' of 'people');"
        " correct the label, map it with 'labels.map', or allow it",
        "  b.png (boxes.json: images[1])",
        "  c.png (boxes.json: images[2])",
        "3 files checked: 2 errors, 0 warnings.",
    ]
    found = world.run("check", "manifest.yaml", "--sources", "--json").document["findings"]
    assert [(one["file"], one["label"], one["path"]) for one in found] == [
        ("b.png", "brid", "boxes.json: images[1]"),
        ("c.png", "brid", "boxes.json: images[2]"),
    ]
    labeled(world, {"a.png": "bird", "b.png": "bird"}, labels={"allow": ["bird"]})
    world.good("apply", "manifest.yaml")


def test_a_label_whose_share_moved(world: World) -> None:
    names = [f"{number}.png" for number in range(10)]
    moved = {"labels": {"max_share_change": "20%"}}
    labeled(world, {name: "bird" if number % 2 else "cat" for number, name in enumerate(names)}, **moved)
    world.good("apply", "manifest.yaml")
    labeled(world, {name: "bird" if number % 2 or number < 3 else "cat" for number, name in enumerate(names)}, **moved)
    world.good("plan", "manifest.yaml")
    labeled(world, dict.fromkeys(names, "bird"), **moved)
    error = stopped(world)
    assert "birds/bird: is 100.0 % of the shapes of 'people' and was 50.0 %, and 'max_share_change' is 20 %" in error
    assert "birds/cat: is 0.0 % of the shapes of 'people' and was 50.0 %" in error


def test_a_box_outside_of_its_image_in_both_orientations(world: World) -> None:
    """The image is 64 x 48 as stored and 48 x 64 as shown."""
    for name in ("shown.jpg", "stored.jpg", "neither.jpg"):
        world.write(f"images/{name}", with_orientation(6) + name.encode())
    places = {"shown.jpg": [2, 50, 10, 10], "stored.jpg": [50, 2, 10, 10], "neither.jpg": [60, 60, 10, 10]}
    world.write(
        "boxes.json",
        {
            "images": [{"id": n, "file_name": name, "width": 0, "height": 0} for n, name in enumerate(places)],
            "annotations": [
                {"id": n, "image_id": n, "category_id": 1, "bbox": bbox} for n, bbox in enumerate(places.values())
            ],
            "categories": [{"id": 1, "name": "bird"}],
        },
    )
    block = {"operation": "people", "kind": "human", "source": "boxes.json"}
    world.manifest({**BIRDS, "annotations": [block]}, checks={"boxes": "error"})
    done = world.run("check", "manifest.yaml", "--sources", "--json")
    outside = [one["file"] for one in done.document["findings"] if one["check"] == "box_outside"]
    assert "neither.jpg" in outside
    assert "shown.jpg" not in outside


# The command.


def test_check_sources_needs_no_lake_and_checks_every_file(world: World) -> None:
    damaged(world)
    world.manifest(BIRDS)
    world.good("apply", "manifest.yaml")
    world.lake.requests.clear()
    done = world.run("check", "manifest.yaml", "--sources", LAYERNEXT_URL="http://127.0.0.1:9")
    assert done.code == 7
    assert "birds/cut.jpg (images/cut.jpg): ends inside its image data" in done.out
    assert done.out.splitlines()[-1] == "6 files checked: 5 errors, 0 warnings."
    document = world.run("check", "manifest.yaml", "--sources", "--json").document
    schema = json.loads((Path(__file__).parents[2] / "schemas/check.schema.json").read_text())
    jsonschema.validate(document, schema)
    assert (document["files"], document["errors"], document["warnings"]) == (6, 5, 0)
    for name in ("cut.jpg", "png_inside.jpg", "text.png", "zeros.jpg", "empty.png"):
        (world.folder / "images" / name).unlink()
    world.write("images/copy.jpg", picture("JPEG"))
    done = world.good("check", "manifest.yaml", "--sources")
    assert "birds/whole.jpg (images/whole.jpg): has the same bytes as 'images/copy.jpg'" in done.out
    assert world.run("check", "manifest.yaml", "--sources", "--download").code == 64


def test_check_sources_of_a_part_of_the_manifest(world: World) -> None:
    damaged(world)
    world.write("val/a.jpg", b"")
    world.manifest(BIRDS, VAL)
    assert "1 file checked: 1 error" in world.run("check", "manifest.yaml", "--sources", "--target", "val").out
    assert (
        "2 files checked: 2 errors" in world.run("check", "manifest.yaml", "--sources", "--target", "birds/*.png").out
    )
    assert "6 files checked: 5 errors" in world.run("check", "manifest.yaml", "--sources", "--exclude", "val").out


def test_the_manifest_decides_what_check_sources_stops_for(world: World) -> None:
    damaged(world)
    world.manifest(BIRDS, checks={"images": "warn"})
    assert "0 errors, 5 warnings" in world.good("check", "manifest.yaml", "--sources").out
    world.manifest(BIRDS, checks={"images": "off", "duplicates": "off"})
    assert "0 errors, 0 warnings" in world.good("check", "manifest.yaml", "--sources").out
