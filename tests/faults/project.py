"""A project whose files change from round to round."""

from __future__ import annotations

import random
from typing import Any

from tests.embedded_lake.talk import png
from tests.end_to_end.world import World
from tests.faults.mortal import PART_BYTES

OPERATIONS = ("people", "model")
LARGE = 2 * PART_BYTES


class Project:
    """Local files that change from round to round: small and large ones, metadata, annotations; some replaced, some
    gone."""

    def __init__(self, world: World, seed: int, *, small: int = 12, large: int = 2) -> None:
        self._world = world
        self._dice = random.Random(seed)
        self._small, self._large = small, large
        self._numbers = iter(range(1_000_000))
        self.files: dict[str, int] = {}
        """Name → version of its bytes."""
        self._boxes: dict[str, dict[str, int]] = {operation: {} for operation in OPERATIONS}
        self._tags: dict[str, str] = {}
        world.manifest(
            {
                "name": "birds",
                "type": "image",
                "prune": True,
                "metadata": {"City": "Rome", "Tags": ["#birds"]},
                "folders": [{"path": "images", "metadata": {"split": "train"}}],
                "file_metadata": ["metadata.json"],
                "annotations": [
                    {"operation": "people", "kind": "human", "source": "people.json"},
                    {"operation": "model", "kind": "machine", "source": "model.json"},
                ],
            }
        )

    def change(self) -> None:
        """Add, replace, take away, tag and draw."""
        dice = self._dice
        if self.files:
            some = min(3, len(self.files) // 3)
            for name in dice.sample(sorted(self.files), some):
                self._drop(name)
            for name in dice.sample(sorted(self.files), some):
                self._write(name)
        for _ in range(self._small):
            self._write(f"small{next(self._numbers):04}.png")
        for _ in range(self._large):
            self._write(f"large{next(self._numbers):04}.png")
        for name in dice.sample(sorted(self.files), len(self.files) // 3):
            self._tags[name] = f"tag{dice.randrange(5)}"
            for operation in OPERATIONS:
                self._boxes[operation][name] = dice.randrange(1, 30)
        entries = [{"file": name, "metadata": {"Tags": [tag], "Note": tag}} for name, tag in self._tags.items()]
        self._world.write("metadata.json", {"files": entries})
        for operation, boxes in self._boxes.items():
            self._world.write(f"{operation}.json", {"images": [_drawn(name, x) for name, x in boxes.items()]})

    def _write(self, name: str) -> None:
        self.files[name] = version = self.files.get(name, 0) + 1
        salt = f"{name}{version}".encode()
        content = png(salt=salt)
        if name.startswith("large"):
            content += random.Random(salt).randbytes(LARGE + 1000 * version)
        self._world.write(f"images/{name}", content)

    def _drop(self, name: str) -> None:
        del self.files[name]
        (self._world.folder / "images" / name).unlink()
        self._tags.pop(name, None)
        for boxes in self._boxes.values():
            boxes.pop(name, None)


def _drawn(name: str, x: int) -> dict[str, Any]:
    box = {"type": "rectangle", "bbox": [x, 1, 5, 5], "label": f"bird{x % 3}", "metadata": {}}
    return {"image": name, "annotations": [{**box, "confidence": 0.5}]}
