"""One box moved in a COCO file of many images: what a plan says, its CPU seconds and memory, and the size of the state.

Run: .venv/bin/python benchmarks/coco_one_box.py [--images N] [--boxes N] [--before COMMIT] [--rounds N]

With `--before`, an earlier version of metalake-sync takes turns with this one, on the same files and in the same
environment. Each has its own state and its own embedded lake. Images are headers of 57 bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PROGRAM = Path(sys.executable).with_name("metalake-sync")
ONE_RUN = Path(__file__).with_name("one_run.py")


@dataclass(frozen=True)
class Version:
    """A version of metalake-sync, with a folder for its manifest, its state and its lake."""

    name: str
    code: Path
    folder: Path

    def run(self, *args: str) -> tuple[Any, dict[str, Any]]:
        """Run a command. Returns its last document, and its CPU seconds, peak memory and the size of the state."""
        command, *flags = args
        report = self.folder / "report.json"
        done = subprocess.run(
            [sys.executable, "-S", ONE_RUN, report, PROGRAM, command, "manifest.yaml", *flags],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.code)},
            capture_output=True,
            text=True,
            check=True,
        )
        took = json.loads(report.read_text())
        assert took["code"] == 0, done.stderr[-2000:]
        state = sum(path.stat().st_size for path in (self.folder / ".metalake-sync").glob("*.db*"))
        document = json.loads(done.stdout if command == "plan" else done.stdout.splitlines()[-1])
        return document, {**took, "state_mb": state / 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--boxes", type=int, default=10, help="boxes in each image")
    parser.add_argument("--before", metavar="COMMIT", help="compare with this version")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each plan; the median is printed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, versions(Path(name), options.before) as compared:
        folder = Path(name)
        make_sources(folder, options.images, options.boxes)
        size = (folder / "coco.json").stat().st_size / 1e6
        print(f"{options.images:,} images, {options.images * options.boxes:,} boxes, COCO file of {size:.0f} MB")
        measure("first apply", compared, 1, "apply", "--json")
        measure("plan, nothing changed", compared, options.rounds, "plan", "--json")
        document = json.loads((folder / "coco.json").read_text())
        document["annotations"][len(document["annotations"]) // 2]["bbox"][0] += 1
        (folder / "coco.json").write_text(json.dumps(document))
        for version, plan in measure("plan, one box moved", compared, options.rounds, "plan", "--json").items():
            (action,) = plan["actions"]
            words = action["shape_changes"]["summary"] if "shape_changes" in action else action["changes"]
            print(f"    {version} says: {words}")
        measure("apply, one box moved", compared, 1, "apply", "--json")


@contextmanager
def versions(folder: Path, before: str | None) -> Iterator[list[Version]]:
    """Yield this version, and after it the one of a commit, if there is one. Writes their manifests."""
    found = [Version("now", ROOT, folder / "now")]
    if before is not None:
        code = folder / "code"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", code, before], cwd=ROOT, check=True)
        found.append(Version(before, code, folder / "before"))
    try:
        for version in found:
            version.folder.mkdir()
            (version.folder / "manifest.yaml").write_text(MANIFEST)
        yield found
    finally:
        if before is not None:
            subprocess.run(["git", "worktree", "remove", "--force", code], cwd=ROOT, check=True)


MANIFEST = """\
version: 1
remote: {url: "embedded:.lake"}
collections:
  - name: cells
    type: image
    folders: [{path: ../images}]
    annotations: [{operation: o, kind: human, source: ../coco.json}]
"""


def measure(what: str, compared: list[Version], rounds: int, *args: str) -> dict[str, Any]:
    """Run a command with each version in turn, and print medians. Returns the last document of each version."""
    figures: dict[str, list[dict[str, Any]]] = {version.name: [] for version in compared}
    documents: dict[str, Any] = {}
    for _ in range(rounds):
        for version in compared:
            documents[version.name], took = version.run(*args)
            figures[version.name].append(took)
    for name, runs in figures.items():
        cpu, memory, state = (statistics.median(one[key] for one in runs) for key in ("cpu_s", "memory_mb", "state_mb"))
        print(f"  {what}, {name}: {cpu:.1f} CPU s, {memory:.0f} MB of memory, state of {state:.1f} MB", flush=True)
    return documents


def make_sources(folder: Path, images: int, boxes: int) -> None:
    """Write images and a COCO file."""
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


def png(width: int, height: int) -> bytes:
    """A signature and a header: as much as reading a size needs."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


if __name__ == "__main__":
    main()
