"""The published JSON Schemas of manifest, plan, events and checks, generated from the classes.

`python -m metalake_sync.documents.schemas DIR` writes them to a folder.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from metalake_sync.documents.checks import SourceCheckDocument
from metalake_sync.documents.events import EventDocument
from metalake_sync.documents.plan import PlanDocument

_PUBLISHED_NAMES = {"Change": "ChangeDocument", "Summary": "SummaryDocument"}
"""The names in the published schemas of classes that have another name in the code."""

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(name: str) -> dict[str, Any]:
    """Return the schema with the name `manifest`, `plan`, `events` or `check`."""
    match name:
        case "manifest":
            # `show` reads saved plans without loading the models of the manifest.
            from metalake_sync.manifest.authoring import manifest_json_schema

            return manifest_json_schema()
        case "plan":
            return {"$schema": DIALECT, **_published(TypeAdapter(PlanDocument).json_schema(mode="serialization"))}
        case "events":
            schema = _published(TypeAdapter(EventDocument).json_schema(mode="serialization"))
            return {"$schema": DIALECT, "title": "One line of apply --json", **schema}
        case "check":
            schema = TypeAdapter(SourceCheckDocument).json_schema(mode="serialization")
            return {"$schema": DIALECT, **schema}
        case _:
            raise ValueError(name)


def _published(schema: Any) -> Any:
    """Return a generated schema with the published names of its definitions."""
    if isinstance(schema, list):
        return [_published(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    renamed = {key: _published(value) for key, value in schema.items()}
    reference = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    if reference in _PUBLISHED_NAMES:
        renamed["$ref"] = f"#/$defs/{_PUBLISHED_NAMES[reference]}"
    if "$defs" in schema:
        named = {_PUBLISHED_NAMES.get(name, name): value for name, value in renamed["$defs"].items()}
        for name in _PUBLISHED_NAMES.values():
            if name in named:
                named[name]["title"] = name
        renamed["$defs"] = dict(sorted(named.items()))
    return renamed


def schema_text(name: str) -> str:
    return json.dumps(json_schema(name), indent=2, ensure_ascii=False) + "\n"


def main(folder: Path) -> None:
    for name in ("manifest", "plan", "events", "check"):
        (folder / f"{name}.schema.json").write_text(schema_text(name))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
