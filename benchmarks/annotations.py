"""One annotation file of many images, sent by the vendor's client and by `apply`: first time, unchanged, one box moved.

Run: .venv/bin/python -m benchmarks.annotations [IMAGES] [BOXES_PER_IMAGE]. The lake is the embedded one, in a process
of its own; its request log counts requests and the bytes of their bodies. Pictures are headers of 33 bytes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.coco_one_box import png
from benchmarks.peers import VENDOR_UPLOAD, vendor_python
from metalake_sync.lake import EmbeddedLake, LakeSettings

VENDOR_ANNOTATE = """
import sys
from layernext import LayerNextClient
url, path = sys.argv[1:]
client = LayerNextClient("k", "s", url)
client.upload_annotations_for_collection("up", "op", path, False, False)
"""

MANIFEST = """version: 1
name: bench
remote: {url: "${LAKE}", api_key: k, secret: s}
collections:
  - name: up
    type: image
    folders: [{path: images}]
    annotations: [{operation: op, kind: human, source: boxes.json}]
"""


def main() -> None:
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    boxes = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    python = vendor_python(Path(__file__).parents[1] / ".venv-vendor")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "manifest.yaml").write_text(MANIFEST)
        (folder / "images").mkdir()
        for number in range(images):
            (folder / "images" / f"{number:06d}.png").write_bytes(png(640, 480))
        print(f"{images:,} images, {images * boxes:,} boxes\n")
        print("| | wall s | requests | bytes of bodies |\n| --- | ---: | ---: | ---: |")
        for who, upload, annotate in (
            (
                "vendor",
                (python, "-c", VENDOR_UPLOAD, "$LAKE", "images"),
                (python, "-c", VENDOR_ANNOTATE, "$LAKE", "boxes.json"),
            ),
            ("apply", None, (sys.executable, "-m", "metalake_sync", "apply", "-q", "manifest.yaml")),
        ):
            compare(folder, who, upload, annotate, lambda moved: write_boxes(folder, images, boxes, moved))


def compare(
    folder: Path, who: str, upload: tuple[str, ...] | None, annotate: tuple[str, ...], write: Callable[[bool], None]
) -> None:
    """Bring the pictures into a new lake, then send annotations three times."""
    log = folder / f"{who}.jsonl"
    settings = LakeSettings(folder / f"lake-{who}", api_key="k", secret="s", request_log=log)
    with EmbeddedLake(settings) as lake:
        (folder / "boxes.json").write_text('{"images": []}')
        run(folder, lake.url, upload or annotate)
        for moment, moved in (("all new", False), ("nothing changed", False), ("one box moved", True)):
            if moment != "nothing changed":
                write(moved)
            with measured(log) as figures:
                run(folder, lake.url, annotate)
            print(
                f"| {who}, {moment} | {figures['s']:.1f} | {figures['requests']:,} | {figures['bytes']:,} |", flush=True
            )


def run(folder: Path, lake: str, command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [part.replace("$LAKE", lake) for part in command],
        cwd=folder,
        env={**os.environ, "LAKE": lake},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@contextmanager
def measured(log: Path) -> Iterator[dict[str, Any]]:
    """Seconds, requests and bytes of a block."""
    before, began, figures = log.stat().st_size, time.monotonic(), {}
    yield figures
    figures["s"] = time.monotonic() - began
    with log.open() as file:
        file.seek(before)
        lines = [json.loads(line) for line in file]
    figures["requests"], figures["bytes"] = len(lines), sum(line["bytes_in"] for line in lines)


def write_boxes(folder: Path, images: int, boxes: int, moved: bool) -> None:
    document = {
        "images": [
            {
                "image": f"{number:06d}.png",
                "annotations": [
                    {"type": "rectangle", "bbox": [box * 20.5, number % 400 + 0.25, 12.5, 30.75], "label": "cell"}
                    for box in range(boxes)
                ],
            }
            for number in range(images)
        ]
    }
    if moved:
        document["images"][images // 2]["annotations"][0]["bbox"][0] += 1  # type: ignore[index]
    (folder / "boxes.json").write_text(json.dumps(document))


if __name__ == "__main__":
    main()
