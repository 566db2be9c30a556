"""Make the quickstart's data: draw the pictures, film the clip, and write down what is true of them.

Owns: what lies in `pictures/`, `video/` and `reports/`, and `annotations.json` and `metadata.json`. A shape is drawn
and annotated from the same numbers, so every annotation lies on what it names.

    python make_data.py            write the data beside this script
    python make_data.py --check    make the data anew in a temporary folder and compare it with what stands here

Needs the `examples` extra of the project: pip install -e '.[examples]'. --check makes do with Pillow alone, and then
looks at nothing of the clip but whether it is there.
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
    dominant_colour,
    draw_picture,
    draw_sky,
    invent_shapes,
    mixed,
    sky_colours,
)

SEED = 20240229
PICTURES_OF_EACH_KIND = 6
POLYGON_LABELS = {3: "triangle", 4: "quadrilateral", 5: "pentagon", 6: "hexagon", 7: "heptagon", 8: "octagon"}

CLIP_SIZE = (160, 120)
CLIP_FRAMES = 24
CLIP_FRAMES_PER_SECOND = 12
CLIP_TOLERANCE_S = 0.1

JPEG_QUALITY = 88

# By how many levels of 255 a picture made anew may differ: on average, and in any one pixel. JPEG encoders round
# differently; a Pillow before 11.3 fills one sixteenth more or less of a pixel at some sharp corners.
TOLERANCES = {".png": (0.001, 16), ".jpg": (2.0, 60)}

ANNOTATIONS = "annotations.json"
METADATA = "metadata.json"
REPORT = "reports/shapes.csv"
CLIP = "video/sunset.mp4"


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture: where it lies under this folder, what it shows, and its pixels."""

    path: Path
    light: Light
    shapes: tuple[Shape, ...]
    image: Image.Image


def make_pictures() -> list[Picture]:
    """Draw every picture. Each has a generator of its own, so that one can change and the others stay."""
    kinds: list[tuple[Light, Surface]] = [("day", "plain"), ("day", "grain"), ("night", "plain"), ("night", "grain")]
    pictures = []
    for index in range(PICTURES_OF_EACH_KIND * len(kinds)):
        light, surface = kinds[index // PICTURES_OF_EACH_KIND]
        rng = Random(SEED + index)
        shapes = invent_shapes(rng)
        name = f"shapes_{index + 1:02}_{light}.{'png' if surface == 'plain' else 'jpg'}"
        image = draw_picture(rng, light, surface, shapes)
        pictures.append(Picture(Path("pictures", light, surface, name), light, shapes, image))
    return pictures


# What is written of the pictures


def label_of(shape: Shape) -> str:
    """What a person would call the shape."""
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
    """The shape in MetaLake's JSON."""
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
        case Dots(centres=centres):
            geometry = {"type": "points", "points": [list(centre) for centre in centres]}
            facts = {"radius_px": DOT_RADIUS_PX}
        case _:
            assert_never(shape)
    colour = {"value": shape.colour, "confidence": 1, "metadata": {}}
    return {**geometry, "label": label_of(shape), "metadata": facts, "attributes": {"colour": [colour]}}


def metadata_of(picture: Picture) -> dict[str, object]:
    """The picture's fields, and as Tags the labels of its shapes."""
    return {
        "Shape Count": len(picture.shapes),
        "Dominant Colour": dominant_colour(picture.shapes),
        "Light": picture.light,
        "Tags": sorted({label_of(shape) for shape in picture.shapes}),
    }


def write_annotations(path: Path, pictures: list[Picture]) -> None:
    """Write all annotations, one to a line: a moved shape is one changed line."""
    images = []
    for picture in pictures:
        annotations = one_to_a_line([f"    {json.dumps(annotation_of(shape))}" for shape in picture.shapes])
        images.append(f'  {{"image": {json.dumps(picture.path.name)}, "annotations": [\n{annotations}\n  ]}}')
    path.write_text(f'{{"images": [\n{one_to_a_line(images)}\n]}}\n', encoding="utf-8")


def write_metadata(path: Path, pictures: list[Picture]) -> None:
    """Write the metadata of all pictures, one to a line."""
    files = [{"file": picture.path.name, "metadata": metadata_of(picture)} for picture in pictures]
    lines = one_to_a_line([f"  {json.dumps(file)}" for file in files])
    path.write_text(f'{{"files": [\n{lines}\n]}}\n', encoding="utf-8")


def one_to_a_line(values: list[str]) -> str:
    """Join the values of a JSON list, each on a line of its own."""
    return ",\n".join(values)


def write_report(path: Path, pictures: list[Picture]) -> None:
    """Write a table with a row for each picture: how many shapes of each type, and what share of it they cover."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["picture", "light", "rectangles", "polygons", "lines", "sets of dots", "covered percent"])
        for picture in pictures:
            types = Counter(type(shape) for shape in picture.shapes)
            counts = [types[kind] for kind in (Rectangle, Polygon, Line, Dots)]
            covered_px = sum(area_px(shape) for shape in picture.shapes)
            covered_percent = 100 * covered_px / (picture.image.width * picture.image.height)
            table.writerow([picture.path.name, picture.light, *counts, f"{covered_percent:.1f}"])


# The clip


def imageio_is_installed() -> bool:
    """Whether the clip can be filmed and its properties read."""
    return all(importlib.util.find_spec(name) for name in ("imageio", "imageio_ffmpeg"))


def clip_frames() -> Iterator[Image.Image]:
    """A gold disc sets while the sky goes from day to night."""
    (day_top, day_bottom), (night_top, night_bottom) = sky_colours("day"), sky_colours("night")
    width, height = CLIP_SIZE
    radius = 14
    for index in range(CLIP_FRAMES):
        share = index / (CLIP_FRAMES - 1)
        frame = draw_sky(CLIP_SIZE, mixed(day_top, night_top, share), mixed(day_bottom, night_bottom, share))
        x, y = width * (0.15 + 0.7 * share), height * (0.25 + 0.55 * share**2)
        ImageDraw.Draw(frame).ellipse([(x - radius, y - radius), (x + radius, y + radius)], fill="gold")
        yield frame


def film_clip(path: Path) -> None:
    """Encode the clip as H.264 in MP4."""
    import imageio.v3 as imageio

    frames: list[Any] = list(clip_frames())  # imageio takes whatever numpy takes, and its types do not say so
    imageio.imwrite(
        path,
        frames,
        plugin="FFMPEG",
        fps=CLIP_FRAMES_PER_SECOND,
        codec="libx264",
        macro_block_size=8,  # 120 rows are no multiple of the usual 16: they would be scaled to 128
        output_params=["-movflags", "+faststart", "-fflags", "+bitexact", "-flags:v", "+bitexact"],
    )


def same_clip(one: Path, other: Path) -> bool:
    """Compare two clips by size and duration: encoders differ in every byte."""
    import imageio.v3 as imageio

    first, second = (imageio.immeta(path, plugin="FFMPEG") for path in (one, other))
    same_duration = abs(first["duration"] - second["duration"]) <= CLIP_TOLERANCE_S
    return same_duration and tuple(first["size"]) == tuple(second["size"])


# Making and checking


def make_data(folder: Path, *, with_clip: bool) -> None:
    """Write all data into the folder, over what stands there."""
    pictures = make_pictures()
    outputs = [folder / name for name in (ANNOTATIONS, METADATA, REPORT, CLIP)]
    for path in [*outputs, *(folder / picture.path for picture in pictures)]:
        path.parent.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        if picture.path.suffix == ".png":
            picture.image.save(folder / picture.path, optimize=True)
        else:
            picture.image.save(folder / picture.path, quality=JPEG_QUALITY, subsampling=0)
    write_annotations(folder / ANNOTATIONS, pictures)
    write_metadata(folder / METADATA, pictures)
    write_report(folder / REPORT, pictures)
    if with_clip:
        film_clip(folder / CLIP)


def data_files(folder: Path) -> set[str]:
    """The data that lies in the folder, by path from there."""
    owned = [path for name in ("pictures", "video", "reports") for path in (folder / name).rglob("*")]
    owned += [folder / ANNOTATIONS, folder / METADATA]
    return {path.relative_to(folder).as_posix() for path in owned if path.is_file()}


def differences(made: Path, standing: Path, *, with_clip: bool) -> Iterator[str]:
    """Compare data made anew with the data that stands. Yields one sentence for each difference."""
    expected, found = data_files(made) | {CLIP}, data_files(standing)
    yield from (f"{name} is missing" for name in sorted(expected - found))
    yield from (f"{name} is not made by this script" for name in sorted(found - expected))
    for name in sorted(expected & found):
        if not same_file(made / name, standing / name, with_clip=with_clip):
            yield f"{name} differs from what this script makes"


def same_file(one: Path, other: Path, *, with_clip: bool) -> bool:
    """Compare two files in the way that fits their type."""
    match one.suffix:
        case ".png" | ".jpg":
            return same_picture(one, other)
        case ".mp4":
            return same_clip(one, other) if with_clip else other.stat().st_size > 0
        case _:
            return one.read_bytes() == other.read_bytes()


def same_picture(one: Path, other: Path) -> bool:
    """Compare the decoded pixels of two pictures, within `TOLERANCES`."""
    with Image.open(one) as first, Image.open(other) as second:
        if (first.format, first.size, first.mode) != (second.format, second.size, second.mode):
            return False
        difference = ImageChops.difference(first, second)
    statistics = ImageStat.Stat(difference)
    mean_tolerance, pixel_tolerance = TOLERANCES[one.suffix]
    largest = max(high for _, high in statistics.extrema)
    return max(statistics.mean) <= mean_tolerance and largest <= pixel_tolerance


def check(standing: Path) -> int:
    """Make the data anew elsewhere and compare. Returns the exit code: 0 if all is the same, 1 if not."""
    with_clip = imageio_is_installed()
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary)
        make_data(made, with_clip=with_clip)
        found = list(differences(made, standing, with_clip=with_clip))
    for sentence in found:
        print(sentence)
    if not with_clip:
        print(f"{CLIP}: checked only that it is there, for imageio is not installed")
    print(f"found {len(found)} differences" if found else "the data is what this script makes")
    return 1 if found else 0


def main() -> int:
    """Run the command line. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Make the quickstart's data beside this script.")
    parser.add_argument("--check", action="store_true", help="make it elsewhere and compare it with what stands here")
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
