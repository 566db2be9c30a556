"""The JSON Schema accepts what the models accept, and the file in `schemas/` is up to date."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from metalake_sync.manifest import models
from metalake_sync.manifest.authoring import STARTER_MANIFEST, manifest_json_schema, manifest_schema_text
from metalake_sync.manifest.types import Model
from tests.manifest.conftest import HEAD, ManifestFolder
from tests.manifest.test_loading import FULL, TEN_MISTAKES

ROOT = Path(__file__).parents[2]


def messages(text: str) -> list[str]:
    validator = Draft202012Validator(manifest_json_schema())
    return [error.message for error in validator.iter_errors(yaml.safe_load(text))]


def models_of_the_manifest() -> Iterator[type[BaseModel]]:
    for model in vars(models).values():
        if isinstance(model, type) and issubclass(model, Model) and model is not Model:
            yield model


def test_the_schema_is_valid_json_schema() -> None:
    Draft202012Validator.check_schema(manifest_json_schema())


def test_the_schema_file_matches_the_models() -> None:
    file = ROOT / "schemas" / "manifest.schema.json"
    assert file.read_text() == manifest_schema_text(), "run: make schemas"


@pytest.mark.parametrize("text", [FULL, STARTER_MANIFEST, HEAD])
def test_valid_manifests_pass(text: str) -> None:
    assert messages(text) == []


def test_the_examples_pass() -> None:
    examples = sorted((ROOT / "examples").glob("*/manifest.yaml"))
    assert examples
    for example in examples:
        assert messages(example.read_text()) == [], example


def test_variables_may_replace_booleans_and_enumerated_values() -> None:
    text = """\
version: ${V}
remote: {url: "${URL}"}
defaults: {prune: "${P}", type: "${T}", on_change: "a-${C:-keep}"}
collections:
  - name: x
    folders: [{path: "${HOME}", recursive: "${R}", naming: "${N}"}]
    annotations: [{operation: o, kind: "${K}", source: [a, b], normalized: "${N}", format: "${F}"}]
"""
    assert messages(text) == []


@pytest.mark.parametrize(
    "text",
    [
        TEN_MISTAKES.replace("2024-01-31", "x"),
        HEAD + "defaults: {prune: perhaps}",
        HEAD + "defaults: {type: imgae}",
        HEAD + "defaults: {metadata: {A: ~}}",
        HEAD + "defaults: {metadata: {Tags: x}}",
        HEAD + "defaults: {annotations: [{operation: o, kind: human, source: []}]}",
        HEAD + "fetch: []",
        "version: 2\nremote: {url: embedded:x}",
        "version: 1",
    ],
)
def test_invalid_manifests_fail(text: str) -> None:
    assert messages(text)


def test_every_key_has_a_description() -> None:
    for model in models_of_the_manifest():
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"


def test_no_key_has_a_title_that_repeats_its_name() -> None:
    def titles(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            yield from (part["title"],) if isinstance(part.get("title"), str) else ()
            for value in part.values():
                yield from titles(value)

    assert list(titles(manifest_json_schema())) == ["metalake-sync manifest"]


def test_the_reference_names_every_key() -> None:
    reference = (ROOT / "docs" / "manifest.md").read_text()
    for model in models_of_the_manifest():
        for name, field in model.model_fields.items():
            assert f"`{field.alias or name}`" in reference, f"{model.__name__}.{name}"


def test_manifests_in_the_reference_are_valid(manifests: ManifestFolder) -> None:
    reference = (ROOT / "docs" / "manifest.md").read_text()
    examples = re.findall(r"^```yaml\n(.*?)^```", reference, re.MULTILINE | re.DOTALL)
    assert len(examples) > 2
    for example in examples:
        manifests.load(example)
        assert messages(example) == []


def test_the_starter_manifest_needs_no_variables_and_no_lake(manifests: ManifestFolder) -> None:
    loaded = manifests.load(STARTER_MANIFEST)
    assert loaded.model.remote.url == "embedded:.metalake"
    assert [folder.path for one in loaded.collections for folder in one.folders] == ["images"]
    assert loaded.warnings == ()


def test_commented_keys_of_the_starter_manifest_are_valid(manifests: ManifestFolder) -> None:
    text = re.sub(r"^( +)# (?=[a-z_]+:|  - )", r"\1", STARTER_MANIFEST, flags=re.MULTILINE)
    (one,) = manifests.load(text).collections
    assert one.prune
    assert len(one.file_metadata) == 2
    assert one.annotations[0].kind == "human"
    assert one.folders[0].naming == "path"
