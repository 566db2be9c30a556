"""docs/manifest.md knows every key of the models, and its examples are manifests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from metalake_sync.manifest import load_manifest
from metalake_sync.manifest.models import Manifest

TEXT = (Path(__file__).parents[2] / "docs/manifest.md").read_text()
EXAMPLES = [block for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL) if "version: 1" in block]


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models_in(field.annotation)
    for part in get_args(annotation):
        yield from models_in(part)


def keys() -> list[str]:
    return sorted({field.alias or name for model in models_in(Manifest) for name, field in model.model_fields.items()})


@pytest.mark.parametrize("key", keys())
def test_every_key_is_explained(key: str) -> None:
    assert re.search(rf"`{key}`|\b{key}:", TEXT), key


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_is_a_manifest(text: str, tmp_path: Path) -> None:
    path = tmp_path / "birds.yaml"
    path.write_text(text)
    variables = {"LAYERNEXT_API_KEY": "k", "LAYERNEXT_SECRET": "s"}
    assert load_manifest(str(path), environment=variables).model.version == 1


def test_the_links_inside_the_page_lead_somewhere() -> None:
    titles = re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    targets = set(re.findall(r"\]\(#([^)]+)\)", TEXT))
    assert targets <= anchors, targets - anchors
