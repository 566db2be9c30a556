"""A user's world: a folder with a manifest, a lake over real HTTP, and the command line as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from metalake_sync.embedded_lake import EmbeddedLake
from tests.embedded_lake.talk import API_KEY, SECRET, Talk, png
from tests.forked import can_fork, run_forked

PROGRAM = Path(sys.executable).with_name("metalake-sync")
TIMEOUT_S = 120


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def summary(self) -> dict[str, Any]:
        """The last event of `apply --json`."""
        last = self.events[-1]
        assert last["message_type"] == "summary"
        return last


@dataclass
class World:
    """`folder` holds manifest.yaml and what it names; `lake` is served beside it."""

    folder: Path
    lake: EmbeddedLake
    talk: Talk
    prefix: Sequence[str] = field(default=())

    def run(self, *args: str, stdin: str | None = None, **environment: str) -> Done:
        """Run `metalake-sync` in the folder. A name in `environment` that is empty is unset."""
        if not self.prefix and can_fork(environment):
            done = run_forked(PROGRAM, args, self.folder, self.environment(**environment), stdin, TIMEOUT_S)
        else:
            done = subprocess.run(
                [*self.prefix, PROGRAM, *args],
                cwd=self.folder,
                env=self.environment(**environment),
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    def good(self, *args: str, **environment: str) -> Done:
        """Run a command that must succeed."""
        done = self.run(*args, **environment)
        assert done.code == 0, (done.code, done.out, done.err)
        return done

    def environment(self, **changes: str) -> dict[str, str]:
        base = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "NO_PROXY": "*",
            "LAYERNEXT_URL": self.lake.url,
            "LAYERNEXT_API_KEY": API_KEY,
            "LAYERNEXT_SECRET": SECRET,
        }
        return {name: value for name, value in {**base, **changes}.items() if value}

    # What a user writes.

    def manifest(self, *collections: Mapping[str, Any], **top: Any) -> None:
        """Write manifest.yaml."""
        remote = {"url": "${LAYERNEXT_URL}", "api_key": "${LAYERNEXT_API_KEY}", "secret": "${LAYERNEXT_SECRET}"}
        document = {"version": 1, "remote": remote, "collections": list(collections), **top}
        (self.folder / "manifest.yaml").write_text(yaml.safe_dump(document, sort_keys=False))

    def write(self, path: str, content: bytes | str | Any) -> Path:
        """Write a file below the folder: bytes, a text, or anything else as JSON."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            target.write_bytes(content)
        else:
            target.write_text(content if isinstance(content, str) else json.dumps(content))
        return target

    def images(self, *names: str, folder: str = "images") -> None:
        """Write true pictures of 40 x 20 pixels, each with other bytes."""
        for name in names:
            self.write(f"{folder}/{name}", png(salt=name.encode()))

    # What the lake has.

    def collection_id(self, name: str = "birds", kind: int = 5) -> str:
        body = {"collectionName": name, "objectType": kind}
        found: str = self.talk.asked("/api/client/metadata/getCollectionIdByName", body)["collectionId"]
        return found

    def names(self, collection: str = "birds", kind: int = 5) -> list[str]:
        return sorted(self.talk.names(self.collection_id(collection, kind)))


BIRDS: dict[str, Any] = {"name": "birds", "type": "image", "folders": [{"path": "images"}]}
PRUNED: dict[str, Any] = {**BIRDS, "prune": True}


def with_pruned(world: World, *names: str) -> World:
    """Pictures in the lake, of a manifest that prunes."""
    world.images(*names)
    world.manifest(PRUNED)
    world.good("apply", "manifest.yaml")
    return world


def boxes(**images: Sequence[Sequence[float]]) -> dict[str, Any]:
    """An annotation document: image (its `_` is a dot) → boxes as [x, y, width, height]."""
    return {
        "images": [
            {
                "image": name.replace("_", "."),
                "annotations": [
                    {"type": "rectangle", "bbox": list(bbox), "label": "bird", "metadata": {}} for bbox in drawn
                ],
            }
            for name, drawn in images.items()
        ]
    }


def unmanaged_sources(world: World, by: str) -> Callable[[list[float], str], None]:
    """Upload two images as another client. Returns a function that writes a manifest with sets and metadata for them:
    the box of the first, and the value of a field.

    `by`: how the sources name the images.
    """
    upload = world.talk.upload({name: png(salt=name.encode()) for name in ("x.png", "y.png")}, "theirs")
    path = world.talk.details("theirs_x.png", "storagePath")["storagePath"]
    form = {"unique_name": "theirs_{}", "storage_path": path.replace("x.png", "{}")}.get(by, "{}")
    extra = {"collection": {"collection": "theirs"}, "job": {"job": upload.job_id}}.get(by, {})

    def write(first: list[float], source: str) -> None:
        images = boxes(x_png=[first], y_png=[[1, 1, 2, 2]])["images"]
        for image in images:
            image["image"] = form.format(image["image"])
        world.write("top.json", {"images": images})
        metadata = {"Source": source, "Tags": [source]}
        world.write("meta.json", {"files": [{"file": form.format("x.png"), "metadata": metadata}]})
        top = {"operation": "yolo", "kind": "machine", "source": "top.json", "by": by, **extra}
        world.manifest(annotations=[top], metadata=[{"source": "meta.json", "by": by, **extra}])

    return write
