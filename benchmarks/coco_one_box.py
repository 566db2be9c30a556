"""One box moved in a COCO file of many images: what a plan says, its seconds and memory, and the size of the state.

Run: .venv/bin/python benchmarks/coco_one_box.py [IMAGES] [BOXES_PER_IMAGE]. Pictures are headers of 57 bytes.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

PROGRAM = Path(sys.executable).with_name("metalake-sync")
ONE_RUN = Path(__file__).with_name("one_run.py")


def main() -> None:
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    boxes = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_world(folder, images, boxes)
        size = (folder / "coco.json").stat().st_size / 1e6
        print(f"{images} images, {images * boxes} boxes, COCO file of {size:.0f} MB")
        print("first apply:", run(folder, "apply", "--json")["done"])
        print("plan, nothing changed:", run(folder, "plan", "--json")["summary"])
        document = json.loads((folder / "coco.json").read_text())
        document["annotations"][len(document["annotations"]) // 2]["bbox"][0] += 1
        (folder / "coco.json").write_text(json.dumps(document))
        plan = run(folder, "plan", "--json")
        print("plan, one box moved:", plan["summary"], plan["actions"])
        print("apply, one box moved:", run(folder, "apply", "--json"))


def make_world(folder: Path, images: int, boxes: int) -> None:
    """Write pictures, a COCO file and a manifest."""
    (folder / "images").mkdir()
    document: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "cell"}]}
    for number in range(images):
        name = f"{number:06d}.png"
        (folder / "images" / name).write_bytes(png(640, 480))
        document["images"].append({"id": number, "file_name": name, "width": 640, "height": 480})
        for box in range(boxes):
            document["annotations"].append(
                {
                    "id": number * boxes + box,
                    "image_id": number,
                    "category_id": 1,
                    "bbox": [box * 20.5, number % 400 + 0.25, 12.5, 30.75],
                    "area": 384.375,
                    "iscrowd": 0,
                    "segmentation": [],
                }
            )
    (folder / "coco.json").write_text(json.dumps(document))
    (folder / "manifest.yaml").write_text(
        'version: 1\nremote: {url: "embedded:.lake"}\ncollections:\n  - name: cells\n    type: image\n'
        "    folders: [{path: images}]\n    annotations: [{operation: o, kind: human, source: coco.json}]\n"
    )


def png(width: int, height: int) -> bytes:
    """A signature and a header: as much as reading a size needs."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def run(folder: Path, *args: str) -> Any:
    """Run a command, and print its seconds, its peak memory and the size of the state. Returns its last document."""
    command, *flags = args
    report = folder / "report.json"
    done = subprocess.run(
        [sys.executable, "-S", ONE_RUN, report, PROGRAM, command, "manifest.yaml", *flags],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    took = json.loads(report.read_text())
    state_mb = sum(path.stat().st_size for path in (folder / ".metalake-sync").glob("*.db*")) / 1e6
    print(
        f"  {' '.join(args)}: exit {took['code']}, {took['wall_s']:.1f} s, {took['cpu_s']:.1f} CPU s,"
        f" {took['memory_mb']:.0f} MB, state {state_mb:.0f} MB",
        flush=True,
    )
    assert took["code"] == 0, done.stderr[-2000:]
    return json.loads(done.stdout if command == "plan" else done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
