"""Errors for unknown keys name the nearest valid key."""

from __future__ import annotations

import pytest

from metalake_sync.manifest.validation_errors import known_keys
from tests.manifest.conftest import HEAD, ManifestFolder


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("colections: []", 1, "unknown key 'colections'. Did you mean 'collections'?"),
        ("Name: x", 1, "unknown key 'Name'. Did you mean 'name'?"),
        (
            "zzz: 1",
            1,
            "unknown key 'zzz'. Valid keys are version, name, state, remote, history, run, defaults, collections, ",
        ),
        ("defaults: {prun: true}", 12, "unknown key 'prun'. Did you mean 'prune'?"),
        ("defaults: {name: x}", 12, "unknown key 'name'."),
        ("defaults: {folders: [{path: a, includes: []}]}", 32, "unknown key 'includes'. Did you mean 'include'?"),
        ("defaults: {file_metadata: [{match: a, metadata: {}, other: 1}]}", 53, "unknown key 'other'."),
        ("defaults: {annotations: [{operation: o, kind: human, source: s, modes: x}]}", 65, "Did you mean 'mode'?"),
        (
            "defaults: {annotations: [{operation: o, kind: human, source: s, labels: {alow: []}}]}",
            74,
            "unknown key 'alow'. Did you mean 'allow'?",
        ),
    ],
)
def test_an_unknown_key_is_an_error_at_its_place(
    manifests: ManifestFolder, text: str, column: int, message: str
) -> None:
    (error,) = manifests.messages(HEAD + text)
    assert error.startswith(f"birds.yaml:3:{column}: ")
    assert message in error


def test_known_keys_have_the_spelling_of_the_manifest() -> None:
    assert known_keys(("collections", 0, "annotations", 3, "labels")) == ["map", "allow"]
    assert known_keys(("collections", 0, "file_metadata", 1)) == ["match", "metadata"]


def test_long_values_are_shortened_in_errors(manifests: ManifestFolder) -> None:
    (error,) = manifests.messages(HEAD + f"defaults: {{type: {'x' * 1000}}}\n")
    assert len(error) < 200
