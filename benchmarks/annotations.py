"""One annotation file of many images, sent by the vendor's client and by `apply`: one box of it has moved.

All of it is in the lake before the rounds; each of ours moves another box. Pictures are headers of 33 bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import count as counting
from pathlib import Path

from benchmarks.coco_one_box import png
from benchmarks.measuring import Bench, Runner, fast_lake, with_lake
from benchmarks.peers import VENDOR_ANNOTATE, vendor_python
from benchmarks.uploads import apply_command

BOXES = 10

MANIFEST = """version: 1
name: bench
remote: {url: "${LAKE}", api_key: k, secret: s}
collections:
  - name: up
    type: image
    folders: [{path: images}]
    annotations: [{operation: op, kind: human, source: boxes.json}]
"""


def one_image_changed(bench: Bench) -> None:
    """One image of many has changed: seconds, requests and bytes."""
    count = bench.count(10_000)
    folder = bench.scratch
    (folder / "manifest.yaml").write_text(MANIFEST)
    (folder / "images").mkdir()
    for number in range(count):
        (folder / "images" / f"{number:06d}.png").write_bytes(png(640, 480))
    moves = counting(1)
    write_boxes(folder, count, 0)
    with fast_lake() as lake:

        def one_moved(sent: Counter[str]) -> Callable[[], AbstractContextManager[Mapping[str, str]]]:
            @contextmanager
            def around() -> Iterator[Mapping[str, str]]:
                write_boxes(folder, count, next(moves))
                lake.tally()
                yield {"LAKE": lake.url}
                sent.clear()
                sent.update(lake.tally())

            return around

        mine: Counter[str] = Counter()
        theirs: Counter[str] = Counter()
        vendors = (vendor_python(), "-c", VENDOR_ANNOTATE, "$LAKE", "boxes.json")
        ours = Runner("apply, one image changed", apply_command(), folder, one_moved(mine))
        unchanged = Runner("apply, nothing changed", apply_command(), folder, with_lake(lake.url))
        vendor = Runner("vendor's client", vendors, folder, one_moved(theirs), 1)
        Runner("the first apply", apply_command(), folder, with_lake(lake.url)).run()
        title = f"annotations, {count:,} images with {BOXES} boxes each, one image changed"
        bench.take_turns(title, [ours, unchanged, vendor])
    print(
        f"\nOurs sent {mine['requests']} requests with {mine['bytes_in']:,} bytes,"
        f" the vendor's {theirs['requests']} with {theirs['bytes_in']:,}."
    )
    ratio = vendor.wall_s / ours.wall_s
    bench.row(
        f"annotations, {count:,} images, one changed",
        f"{ours.wall_s:.2f} s, {mine['bytes_in']:,} bytes",
        f"vendor {vendor.wall_s:.0f} s, {theirs['bytes_in']:,} bytes",
        f"{ratio:.0f} ×",
        "one image sent, 100 ×",
        ratio >= 100 and mine["bytes_in"] < theirs["bytes_in"] / 100,
    )
    bench.row("the same, nothing changed", f"{unchanged.wall_s:.2f} s", "", "")


def write_boxes(folder: Path, images: int, move: int) -> None:
    """`move`: how far one box of the image in the middle is from its place."""
    document = {
        "images": [
            {
                "image": f"{number:06d}.png",
                "annotations": [
                    {"type": "rectangle", "bbox": [box * 20.5, number % 400 + 0.25, 12.5, 30.75], "label": "cell"}
                    for box in range(BOXES)
                ],
            }
            for number in range(images)
        ]
    }
    document["images"][images // 2]["annotations"][0]["bbox"][0] += move  # type: ignore[index]
    (folder / "boxes.json").write_text(json.dumps(document))
