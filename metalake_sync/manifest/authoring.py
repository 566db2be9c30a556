"""What helps to write a manifest: the example that `metalake-sync init` writes, and the JSON Schema for editors.

Owns: the text of the example, which is a valid manifest and needs only the folder `images` beside it; and where the
schema differs from the models: a `${VARIABLE}` may replace any scalar. Must not: describe a key; the models do.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from metalake_sync.manifest.models import Manifest
from metalake_sync.manifest.types import Model

SCHEMA_ID = "urn:metalake-sync:schema:manifest"

_REFERENCE = r"\$\{"


def manifest_json_schema() -> dict[str, Any]:
    """Return the schema, draft 2020-12."""
    _build(Model)
    schema = _taking_variables(Manifest.model_json_schema(by_alias=True))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **schema,
        "title": "metalake-sync manifest",
    }


def _build(model: type[BaseModel]) -> None:
    """Build all models now. Older releases of pydantic need that to write default values that are models."""
    for one in model.__subclasses__():
        one.model_rebuild()
        _build(one)


def manifest_schema_text() -> str:
    """Return the text of `schemas/manifest.schema.json`."""
    return json.dumps(manifest_json_schema(), indent=2, ensure_ascii=False) + "\n"


def _taking_variables(schema: Any, *, names: bool = False) -> Any:
    """Allow `${VARIABLE}` for booleans and enumerations. `names`: the keys of this mapping are names, not keywords."""
    if isinstance(schema, list):
        return [_taking_variables(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    # Leave out what does not help in an editor: titles made from key names, and defaults that are not useful to write.
    taking = {
        key: _taking_variables(value, names=key in ("properties", "$defs") and not names)
        for key, value in schema.items()
        if names or not (key == "title" or (key == "default" and (value is None or isinstance(value, dict))))
    }
    if names:
        return taking
    if taking.get("type") == "boolean":
        return {**taking, "type": ["boolean", "string"], "pattern": _REFERENCE}
    if "enum" in taking or "const" in taking:
        words = {key: taking.pop(key) for key in ("enum", "const", "type") if key in taking}
        return {**taking, "anyOf": [words, {"type": "string", "pattern": _REFERENCE}]}
    return taking


STARTER_FOLDER = "images"
"""The folder that the example names, beside it."""

STARTER_MANIFEST = """\
# The desired contents of the lake. Check them with 'validate', preview changes with 'plan', make them with 'apply'.
version: 1

remote:
  # The embedded lake, for trials. A real lake: https://api.acme.layernext.ai
  url: ${LAYERNEXT_URL:-embedded:.metalake}
  # Credentials come from the environment, never from this file. The embedded lake needs none.
  api_key: ${LAYERNEXT_API_KEY}
  secret: ${LAYERNEXT_SECRET}

collections:
  - name: my-images
    type: image                 # image | video | other
    metadata:                   # applies to the collection and to every file in it
      Tags: ["#example"]
    folders:
      - path: images            # relative to this file
        include: ["*.jpg", "*.jpeg", "*.png"]
        # exclude: ["*_draft*"]
        # naming: path          # a/b.jpg becomes a__b.jpg; needed if two folders have files of the same name
        # metadata: {split: train}

    # Metadata of single files: the vendor's JSON, and patterns.
    # file_metadata:
    #   - metadata.json
    #   - {match: "*_night.jpg", metadata: {Tags: [night]}}

    # Annotations: one block for each annotation project or model run.
    # annotations:
    #   - {operation: my-project, kind: human, source: annotations.json}

    # prune: true               # trash files that this manifest uploaded and no longer contains
"""
