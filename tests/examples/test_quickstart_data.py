"""The quickstart's annotations, metadata, report and manifest agree with its images and its clip."""

from __future__ import annotations

import csv
import fnmatch
import json
import shutil
import struct
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image, ImageColor

from .measure import Annotation, Pixels, Place, color_of, decoded, depth_px, mp4_boxes, points_of

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"
IMAGES = sorted((QUICKSTART / "pictures").rglob("*.*"), key=lambda path: path.name)
DATA_FOLDERS = ("pictures", "video", "reports")
DATA_LISTS = ("annotations.json", "metadata.json")
MAX_DATA_BYTES = 1_000_000
CORNER_LABELS = {3: "triangle", 4: "quadrilateral", 5: "pentagon", 6: "hexagon", 7: "heptagon", 8: "octagon"}
EDGE_PX = 1  # so close to a shape's edge, its color and the sky's mix

for_each_image = pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.name)


@cache
def shapes_by_image() -> dict[str, list[Annotation]]:
    document = json.loads((QUICKSTART / "annotations.json").read_text(encoding="utf-8"))
    return {entry["image"]: entry["annotations"] for entry in document["images"]}


@cache
def metadata() -> dict[str, dict[str, Any]]:
    document = json.loads((QUICKSTART / "metadata.json").read_text(encoding="utf-8"))
    return {entry["file"]: entry["metadata"] for entry in document["files"]}


@cache
def annotated_colors() -> tuple[str, ...]:
    return tuple(sorted({color_of(annotation) for shapes in shapes_by_image().values() for annotation in shapes}))


def pixels_of(path: Path) -> Pixels:
    return decoded(path, annotated_colors())


@cache
def depths_px(path: Path) -> list[tuple[Annotation, dict[Place, float]]]:
    """Each annotation of an image, with the depth inside the shape of the pixels around it."""
    return [
        (annotation, {place: depth_px(annotation, *place) for place in pixels_of(path).checkerboard_around(annotation)})
        for annotation in shapes_by_image()[path.name]
    ]


def drawn_px(path: Path) -> Counter[str]:
    """How many pixels of an image have each of the annotated colors."""
    return Counter(name for name in pixels_of(path).named if name is not None)


def collection(name: str) -> dict[str, Any]:
    """One collection block of the manifest."""
    document = yaml.safe_load((QUICKSTART / "manifest.yaml").read_text(encoding="utf-8"))
    found: dict[str, Any] = next(block for block in document["collections"] if block["name"] == name)
    return found


def run_check(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "make_data.py"), "--check"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def copied_quickstart(tmp_path: Path) -> Path:
    """A copy of the quickstart's scripts and data."""
    for name in DATA_FOLDERS:
        shutil.copytree(QUICKSTART / name, tmp_path / name)
    for name in ("make_data.py", "scenes.py", *DATA_LISTS):
        shutil.copy(QUICKSTART / name, tmp_path / name)
    return tmp_path


# Files


def test_there_are_24_images_in_both_formats_by_day_and_by_night() -> None:
    kinds = Counter((path.relative_to(QUICKSTART).parts[1], path.suffix) for path in IMAGES)
    assert kinds == {("day", ".png"): 6, ("day", ".jpg"): 6, ("night", ".png"): 6, ("night", ".jpg"): 6}


@for_each_image
def test_an_image_has_the_format_of_its_extension(path: Path) -> None:
    with Image.open(path) as image:
        image.load()
        assert image.format == {".png": "PNG", ".jpg": "JPEG"}[path.suffix]
        assert (image.mode, image.size) == ("RGB", (320, 240))


def test_annotations_and_metadata_name_exactly_the_images() -> None:
    names = [path.name for path in IMAGES]
    assert len(set(names)) == len(names)
    assert sorted(shapes_by_image()) == names
    assert sorted(metadata()) == names


def test_all_data_together_is_small() -> None:
    files = [path for name in DATA_FOLDERS for path in (QUICKSTART / name).rglob("*") if path.is_file()]
    files += [QUICKSTART / name for name in DATA_LISTS]
    assert sum(path.stat().st_size for path in files) < MAX_DATA_BYTES


# Annotations


@for_each_image
def test_every_annotated_shape_is_filled_with_its_color(path: Path) -> None:
    pixels = pixels_of(path)
    for annotation, depths in depths_px(path):
        inner = [place for place, depth in depths.items() if depth >= EDGE_PX]
        assert len(inner) >= 10 * len(points_of(annotation)), annotation
        assert {pixels.name_at(*place) for place in inner} == {color_of(annotation)}, annotation


@for_each_image
def test_every_point_of_a_line_and_every_dot_has_its_color(path: Path) -> None:
    chosen = [annotation for annotation in shapes_by_image()[path.name] if annotation["type"] in ("line", "points")]
    assert chosen
    for annotation in chosen:
        colors = [pixels_of(path).name_at(x, y) for x, y in points_of(annotation)]
        assert set(colors) == {color_of(annotation)}, annotation


@for_each_image
def test_a_rectangle_fills_exactly_its_box(path: Path) -> None:
    rectangles = [annotation for annotation in shapes_by_image()[path.name] if annotation["type"] == "rectangle"]
    assert rectangles
    for annotation in rectangles:
        (left, top), _, (right, bottom), _ = points_of(annotation)
        rows, columns = range(top + 1, bottom - 1), range(left + 1, right - 1)
        inside = [(x, y) for y in rows for x in (left, right - 1)]
        inside += [(x, y) for x in columns for y in (top, bottom - 1)]
        outside = [(x, y) for y in rows for x in (left - 1, right)]
        outside += [(x, y) for x in columns for y in (top - 1, bottom)]
        assert {pixels_of(path).name_at(*place) for place in inside} == {color_of(annotation)}, annotation
        assert {pixels_of(path).name_at(*place) for place in outside} == {None}, annotation


@for_each_image
def test_every_drawn_shape_is_annotated(path: Path) -> None:
    pixels = pixels_of(path)
    free = set(pixels.checkerboard())
    for _, depths in depths_px(path):
        free -= {place for place, depth in depths.items() if depth > -EDGE_PX}
    assert len(free) > pixels.width * pixels.height / 4
    assert {pixels.name_at(*place) for place in free} == {None}


@for_each_image
def test_label_and_metadata_of_an_annotation_describe_its_shape(path: Path) -> None:
    shapes = shapes_by_image()[path.name]
    assert {annotation["type"] for annotation in shapes} == {"rectangle", "polygon", "line", "points"}
    for annotation in shapes:
        match annotation["type"]:
            case "rectangle":
                _, _, width, height = annotation["bbox"]
                assert (annotation["label"], annotation["metadata"]) == ("rectangle", {"area_px": width * height})
            case "polygon":
                corners = len(annotation["polygon"])
                assert (annotation["label"], annotation["metadata"]) == (CORNER_LABELS[corners], {"corners": corners})
            case "line":
                assert (annotation["label"], annotation["metadata"]) == ("path", {"thickness_px": 8})
            case "points":
                assert (annotation["label"], annotation["metadata"]) == ("dots", {"radius_px": 5})


# Metadata and report


@for_each_image
def test_metadata_counts_the_shapes_and_tags_their_labels(path: Path) -> None:
    fields, shapes = metadata()[path.name], shapes_by_image()[path.name]
    assert fields["Shape Count"] == len(shapes)
    assert fields["Tags"] == sorted({annotation["label"] for annotation in shapes})


@for_each_image
def test_the_dominant_color_covers_most_pixels(path: Path) -> None:
    (first, first_px), (_, second_px), *_ = drawn_px(path).most_common()
    assert metadata()[path.name]["Dominant Color"] == first
    assert first_px > 1.1 * second_px


@for_each_image
def test_day_is_bright_and_night_is_dark(path: Path) -> None:
    pixels = pixels_of(path)
    sky = [sum(pixels.at(x, y)) / 3 for x in (0, pixels.width - 1) for y in range(pixels.height)]
    light = "day" if sum(sky) / len(sky) > 128 else "night"
    assert metadata()[path.name]["Light"] == light
    assert path.relative_to(QUICKSTART).parts[1] == light
    assert path.stem.endswith(f"_{light}")


def test_the_report_counts_the_shapes_of_the_images() -> None:
    with (QUICKSTART / "reports" / "shapes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [path.name for path in IMAGES]
    columns = {"rectangles": "rectangle", "polygons": "polygon", "lines": "line", "sets of dots": "points"}
    for row, path in zip(rows, IMAGES, strict=True):
        types = Counter(annotation["type"] for annotation in shapes_by_image()[path.name])
        assert {column: int(row[column]) for column in columns} == {
            column: types[name] for column, name in columns.items()
        }
        assert row["light"] == metadata()[path.name]["Light"]
        shown_percent = 100 * drawn_px(path).total() / (320 * 240)
        assert float(row["covered percent"]) == pytest.approx(shown_percent, abs=1.0), row


# Clip


def test_the_clip_is_an_mp4_with_the_size_and_duration_of_the_manifest() -> None:
    data = (QUICKSTART / "video" / "sunset.mp4").read_bytes()
    boxes = dict(mp4_boxes(data))
    assert next(mp4_boxes(data))[0] == b"ftyp"

    timescale, duration = struct.unpack_from(">II", boxes[b"mvhd"], 12)
    _, frames, _ = struct.unpack_from(">III", boxes[b"stts"], 4)
    seconds = duration / timescale
    (entry,) = collection("clips")["file_metadata"]
    assert entry["metadata"] == {"Seconds": seconds, "Frames Per Second": frames / seconds}
    width, height = struct.unpack(">II", boxes[b"tkhd"][-8:])
    assert (width >> 16, height >> 16) == (160, 120)


# Manifest


def test_the_manifest_starts_with_its_schema() -> None:
    first_line = (QUICKSTART / "manifest.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first_line == "# yaml-language-server: $schema=../../schemas/manifest.schema.json"


def test_the_manifest_includes_every_file_once() -> None:
    included: list[Path] = []
    for name in ("shapes", "clips", "reports"):
        for folder in collection(name).get("folders", []):
            files = [path for path in (QUICKSTART / folder["path"]).rglob("*") if path.is_file()]
            patterns = folder.get("include", ["*"])
            included += [path for path in files if any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns)]
        included += [QUICKSTART / file for file in collection(name).get("files", [])]
    existing = [path for name in DATA_FOLDERS for path in (QUICKSTART / name).rglob("*") if path.is_file()]
    assert sorted(included) == sorted(existing)


def test_every_pattern_of_the_manifest_matches_its_images() -> None:
    patterns = [entry for entry in collection("shapes")["file_metadata"] if isinstance(entry, dict)]
    matching = {entry["match"]: fnmatch.filter(shapes_by_image(), entry["match"]) for entry in patterns}
    grainy = [path.name for path in IMAGES if path.parent.name == "grain"]
    assert matching == {"*.jpg": grainy, "*_night.jpg": [name for name in grainy if "night" in name]}


def test_the_metadata_of_a_folder_has_the_colors_of_its_skies() -> None:
    for folder in collection("shapes")["folders"]:
        top, bottom = (ImageColor.getrgb(color) for color in folder["metadata"]["Sky"].split(" to "))
        plain = sorted((QUICKSTART / folder["path"] / "plain").iterdir())
        assert len(plain) == 6
        for path in plain:
            assert (pixels_of(path).at(0, 0), pixels_of(path).at(319, 239)) == (top, bottom)


# The script


def test_the_script_produces_the_committed_data(copied_quickstart: Path) -> None:
    checked = run_check(copied_quickstart)
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout


def test_check_finds_changed_missing_and_added_files(copied_quickstart: Path) -> None:
    listed = copied_quickstart / "metadata.json"
    listed.write_text(listed.read_text(encoding="utf-8").replace('"Shape Count": 4', '"Shape Count": 5', 1), "utf-8")
    plain, grain = (copied_quickstart / "pictures" / "day" / name for name in ("plain", "grain"))
    with Image.open(plain / "shapes_01_day.png") as image:
        image.putpixel((0, 0), (0, 0, 0))
        image.save(plain / "shapes_01_day.png")
    shutil.copy(grain / "shapes_07_day.jpg", grain / "shapes_08_day.jpg")
    (plain / "shapes_02_day.png").unlink()
    (copied_quickstart / "video" / "sunset.mp4").unlink()
    (copied_quickstart / "reports" / "notes.txt").write_text("an unrelated file", "utf-8")

    checked = run_check(copied_quickstart)

    assert checked.returncode == 1
    for sentence in (
        "metadata.json differs",
        "pictures/day/plain/shapes_01_day.png differs",
        "pictures/day/grain/shapes_08_day.jpg differs",
        "pictures/day/plain/shapes_02_day.png is missing",
        "video/sunset.mp4 is missing",
        "reports/notes.txt is not written by this script",
        "found 6 differences",
    ):
        assert sentence in checked.stdout
