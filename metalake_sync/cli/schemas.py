"""Writes the JSON Schemas of manifest, plan and events into a folder: `python -m metalake_sync.cli.schemas DIR`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from metalake_sync.cli.documents import EventDocument, PlanDocument
from metalake_sync.manifest.schema import manifest_json_schema

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(name: str) -> dict[str, Any]:
    """The schema called `manifest`, `plan` or `events`."""
    match name:
        case "manifest":
            return manifest_json_schema()
        case "plan":
            return {"$schema": DIALECT, **PlanDocument.model_json_schema(mode="serialization")}
        case "events":
            schema: dict[str, Any] = TypeAdapter(EventDocument).json_schema(mode="serialization")
            return {"$schema": DIALECT, "title": "One line of apply --json", **schema}
        case _:
            raise ValueError(name)


def schema_text(name: str) -> str:
    return json.dumps(json_schema(name), indent=2, ensure_ascii=False) + "\n"


def main(folder: Path) -> None:
    for name in ("manifest", "plan", "events"):
        (folder / f"{name}.schema.json").write_text(schema_text(name))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
