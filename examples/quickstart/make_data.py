"""Writes the quickstart's data: draws the images, encodes the clip, and writes annotations, metadata and a report.

Owns: the files in `pictures/`, `video/` and `reports/`, and `annotations.json` and `metadata.json`. Each shape is drawn
and annotated from the same numbers, so every annotation is exact.

    python make_data.py            write the data beside this script
    python make_data.py --check    write the data into a temporary folder and compare it with the existing data

Needs the `examples` extra of the project: pip install -e '.[examples]'. `--check` also works with only Pillow. Then it
checks only that the clip exists.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, assert_never

from PIL import Image, ImageChops, ImageDraw, ImageStat
from scenes import (
    DOT_RADIUS_PX,
    LINE_THICKNESS_PX,
    Dots,
    Light,
    Line,
    Polygon,
    Rectangle,
    Shape,
    Surface,
    area_px,
    dominant_color,
    draw_image,
    draw_sky,
    mixed,
    random_shapes,
    sky_colors,
)

SEED = 20240229
IMAGES_OF_EACH_KIND = 6
POLYGON_LABELS = {3: "triangle", 4: "quadrilateral", 5: "pentagon", 6: "hexagon", 7: "heptagon", 8: "octagon"}

CLIP_SIZE = (160, 120)
CLIP_FRAMES = 24
CLIP_FRAMES_PER_SECOND = 12
CLIP_TOLERANCE_S = 0.1

JPEG_QUALITY = 88

# The accepted difference between two versions of an image, in levels of 255: on average, and in any one pixel. JPEG
# encoders round differently. Pillow before 11.3 fills one sixteenth more or less of a pixel at some sharp corners.
TOLERANCES = {".png": (0.001, 16), ".jpg": (2.0, 60)}

ANNOTATIONS = "annotations.json"
METADATA = "metadata.json"
REPORT = "reports/shapes.csv"
CLIP = "video/sunset.mp4"


@dataclass(frozen=True, slots=True)
class DrawnImage:
    """One image of the quickstart."""

    path: Path
    """Relative to this folder."""
    light: Light
    shapes: tuple[Shape, ...]
    pixels: Image.Image


def make_images() -> list[DrawnImage]:
    """Draw every image. Each has its own random generator, so one can change without the others."""
    kinds: list[tuple[Light, Surface]] = [("day", "plain"), ("day", "grain"), ("night", "plain"), ("night", "grain")]
    images = []
    for index in range(IMAGES_OF_EACH_KIND * len(kinds)):
        light, surface = kinds[index // IMAGES_OF_EACH_KIND]
        rng = Random(SEED + index)
        shapes = random_shapes(rng)
        name = f"shapes_{index + 1:02}_{light}.{'png' if surface == 'plain' else 'jpg'}"
        image = draw_image(rng, light, surface, shapes)
        images.append(DrawnImage(Path("pictures", light, surface, name), light, shapes, image))
    return images


# Annotations, metadata and report


def label_of(shape: Shape) -> str:
    """Return the label of a shape."""
    match shape:
        case Rectangle():
            return "rectangle"
        case Polygon(corners=corners):
            return POLYGON_LABELS[len(corners)]
        case Line():
            return "path"
        case Dots():
            return "dots"
        case _:
            assert_never(shape)


def annotation_of(shape: Shape) -> dict[str, object]:
    """Return the shape in MetaLake JSON."""
    geometry: dict[str, object]
    facts: dict[str, object]
    match shape:
        case Rectangle(box=box):
            geometry = {"type": "rectangle", "bbox": [box.x, box.y, box.width, box.height]}
            facts = {"area_px": box.width * box.height}
        case Polygon(corners=corners):
            geometry = {"type": "polygon", "polygon": [list(corner) for corner in corners]}
            facts = {"corners": len(corners)}
        case Line(points=points):
            geometry = {"type": "line", "line": [list(point) for point in points]}
            facts = {"thickness_px": LINE_THICKNESS_PX}
        case Dots(centers=centers):
            geometry = {"type": "points", "points": [list(center) for center in centers]}
            facts = {"radius_px": DOT_RADIUS_PX}
        case _:
            assert_never(shape)
    color = {"value": shape.color, "confidence": 1, "metadata": {}}
    return {**geometry, "label": label_of(shape), "metadata": facts, "attributes": {"color": [color]}}


def metadata_of(drawn: DrawnImage) -> dict[str, object]:
    """Return the metadata fields of an image. Its Tags are the labels of its shapes."""
    return {
        "Shape Count": len(drawn.shapes),
        "Dominant Color": dominant_color(drawn.shapes),
        "Light": drawn.light,
        "Tags": sorted({label_of(shape) for shape in drawn.shapes}),
    }


def write_annotations(path: Path, images: list[DrawnImage]) -> None:
    """Write all annotations, one on each line, so that a moved shape changes one line."""
    entries = []
    for drawn in images:
        annotations = one_to_a_line([f"    {json.dumps(annotation_of(shape))}" for shape in drawn.shapes])
        entries.append(f'  {{"image": {json.dumps(drawn.path.name)}, "annotations": [\n{annotations}\n  ]}}')
    path.write_text(f'{{"images": [\n{one_to_a_line(entries)}\n]}}\n', encoding="utf-8")


def write_metadata(path: Path, images: list[DrawnImage]) -> None:
    """Write the metadata of all images, one on each line."""
    files = [{"file": drawn.path.name, "metadata": metadata_of(drawn)} for drawn in images]
    lines = one_to_a_line([f"  {json.dumps(file)}" for file in files])
    path.write_text(f'{{"files": [\n{lines}\n]}}\n', encoding="utf-8")


def one_to_a_line(values: list[str]) -> str:
    """Join the values of a JSON list, one on each line."""
    return ",\n".join(values)


def write_report(path: Path, images: list[DrawnImage]) -> None:
    """Write a table with a row for each image: the number of shapes of each type, and the share that they cover."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["image", "light", "rectangles", "polygons", "lines", "sets of dots", "covered percent"])
        for drawn in images:
            types = Counter(type(shape) for shape in drawn.shapes)
            counts = [types[kind] for kind in (Rectangle, Polygon, Line, Dots)]
            covered_px = sum(area_px(shape) for shape in drawn.shapes)
            covered_percent = 100 * covered_px / (drawn.pixels.width * drawn.pixels.height)
            table.writerow([drawn.path.name, drawn.light, *counts, f"{covered_percent:.1f}"])


# The clip


def imageio_is_installed() -> bool:
    """Whether the clip can be encoded and its properties read."""
    return all(importlib.util.find_spec(name) for name in ("imageio", "imageio_ffmpeg"))


def clip_frames() -> Iterator[Image.Image]:
    """Yield the frames: a gold disc sets while the sky changes from day to night."""
    (day_top, day_bottom), (night_top, night_bottom) = sky_colors("day"), sky_colors("night")
    width, height = CLIP_SIZE
    radius = 14
    for index in range(CLIP_FRAMES):
        share = index / (CLIP_FRAMES - 1)
        frame = draw_sky(CLIP_SIZE, mixed(day_top, night_top, share), mixed(day_bottom, night_bottom, share))
        x, y = width * (0.15 + 0.7 * share), height * (0.25 + 0.55 * share**2)
        ImageDraw.Draw(frame).ellipse([(x - radius, y - radius), (x + radius, y + radius)], fill="gold")
        yield frame


def encode_clip(path: Path) -> None:
    """Encode the clip as H.264 in MP4."""
    import imageio.v3 as imageio

    frames: list[Any] = list(
        clip_frames()
    )  # imageio accepts everything that numpy accepts, but its types do not say so
    imageio.imwrite(
        path,
        frames,
        plugin="FFMPEG",
        fps=CLIP_FRAMES_PER_SECOND,
        codec="libx264",
        macro_block_size=8,  # 120 rows are not a multiple of the default 16, which would scale them to 128
        output_params=["-movflags", "+faststart", "-fflags", "+bitexact", "-flags:v", "+bitexact"],
    )


def same_clip(one: Path, other: Path) -> bool:
    """Compare two clips by size and duration, because encoders differ in every byte."""
    import imageio.v3 as imageio

    first, second = (imageio.immeta(path, plugin="FFMPEG") for path in (one, other))
    same_duration = abs(first["duration"] - second["duration"]) <= CLIP_TOLERANCE_S
    return same_duration and tuple(first["size"]) == tuple(second["size"])


# Write and check


def make_data(folder: Path, *, with_clip: bool) -> None:
    """Write all data into the folder. Overwrites existing files."""
    images = make_images()
    outputs = [folder / name for name in (ANNOTATIONS, METADATA, REPORT, CLIP)]
    for path in [*outputs, *(folder / drawn.path for drawn in images)]:
        path.parent.mkdir(parents=True, exist_ok=True)
    for drawn in images:
        if drawn.path.suffix == ".png":
            drawn.pixels.save(folder / drawn.path, optimize=True)
        else:
            drawn.pixels.save(folder / drawn.path, quality=JPEG_QUALITY, subsampling=0)
    write_annotations(folder / ANNOTATIONS, images)
    write_metadata(folder / METADATA, images)
    write_report(folder / REPORT, images)
    if with_clip:
        encode_clip(folder / CLIP)


def data_files(folder: Path) -> set[str]:
    """Return the paths of the data in the folder, relative to it."""
    owned = [path for name in ("pictures", "video", "reports") for path in (folder / name).rglob("*")]
    owned += [folder / ANNOTATIONS, folder / METADATA]
    return {path.relative_to(folder).as_posix() for path in owned if path.is_file()}


def differences(made: Path, existing: Path, *, with_clip: bool) -> Iterator[str]:
    """Compare new data with the existing data. Yields one sentence for each difference."""
    expected, found = data_files(made) | {CLIP}, data_files(existing)
    yield from (f"{name} is missing" for name in sorted(expected - found))
    yield from (f"{name} is not written by this script" for name in sorted(found - expected))
    for name in sorted(expected & found):
        if not same_file(made / name, existing / name, with_clip=with_clip):
            yield f"{name} differs from the output of this script"


def same_file(one: Path, other: Path, *, with_clip: bool) -> bool:
    """Compare two files in the way that fits their type."""
    match one.suffix:
        case ".png" | ".jpg":
            return same_image(one, other)
        case ".mp4":
            return same_clip(one, other) if with_clip else other.stat().st_size > 0
        case _:
            return one.read_bytes() == other.read_bytes()


def same_image(one: Path, other: Path) -> bool:
    """Compare the decoded pixels of two images, within `TOLERANCES`."""
    with Image.open(one) as first, Image.open(other) as second:
        if (first.format, first.size, first.mode) != (second.format, second.size, second.mode):
            return False
        difference = ImageChops.difference(first, second)
    statistics = ImageStat.Stat(difference)
    mean_tolerance, pixel_tolerance = TOLERANCES[one.suffix]
    largest = max(high for _, high in statistics.extrema)
    return max(statistics.mean) <= mean_tolerance and largest <= pixel_tolerance


def check(existing: Path) -> int:
    """Write the data into a temporary folder and compare. Returns the exit code: 0 if all is equal, otherwise 1."""
    with_clip = imageio_is_installed()
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary)
        make_data(made, with_clip=with_clip)
        found = list(differences(made, existing, with_clip=with_clip))
    for sentence in found:
        print(sentence)
    if not with_clip:
        print(f"{CLIP}: checked only that it exists, because imageio is not installed")
    print(f"found {len(found)} differences" if found else "the data matches this script")
    return 1 if found else 0


def main() -> int:
    """Run the command line. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the quickstart's data beside this script.")
    parser.add_argument(
        "--check",
        action="store_true",
        help="write the data into a temporary folder and compare it with the existing data",
    )
    arguments = parser.parse_args()
    folder = Path(__file__).resolve().parent
    if arguments.check:
        return check(folder)
    if not imageio_is_installed():
        print("the clip needs imageio and its ffmpeg. Run: pip install -e '.[examples]'", file=sys.stderr)
        return 1
    make_data(folder, with_clip=True)
    print(f"wrote {len(data_files(folder))} files under {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
