"""Valid metadata; each error has the place of its field."""

from __future__ import annotations

import pytest

from tests.manifest.conftest import HEAD, ManifestFolder


def test_metadata_accepts_all_json_values(manifests: ManifestFolder) -> None:
    text = HEAD + "defaults: {metadata: {A: a, B: 1, C: 1.5, D: true, E: [1, [x]], F: {x: {y: ~}}, no: no}}\n"
    assert manifests.load(text).model.defaults.metadata == {
        "A": "a",
        "B": 1,
        "C": 1.5,
        "D": True,
        "E": [1, ["x"]],
        "F": {"x": {"y": None}},
        "no": "no",
    }


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (
            "{A: ~}",
            "birds.yaml:4:17: 'A' has no value. Set a value, or remove the line. The protocol of the "
            "lake cannot remove a field",
        ),
        ("{'': x}", "birds.yaml:4:18: '' has no name. Add a name."),
        ("{Tags: a}", "birds.yaml:4:20: 'Tags' is not a list. Write Tags: [night, rain]."),
        ("{Tags: ~}", "birds.yaml:4:20: 'Tags' is not a list."),
        ("{Tags: [a, '']}", "birds.yaml:4:24: entry 2 of 'Tags' is empty."),
        ("{Tags: [a, 2024]}", "birds.yaml:4:24: entry 2 of 'Tags' is not text. Put the tag in quotes."),
        ("{A: 2024-01-31}", "birds.yaml:4:17: '2024-01-31' looks like a date"),
        ("{A: .nan}", "birds.yaml:4:17: '.nan' is not a number in JSON."),
        ("[a]", "birds.yaml:4:13: 'metadata' is a list. Write a mapping of keys to values."),
    ],
)
def test_invalid_metadata_is_an_error_at_its_field(manifests: ManifestFolder, metadata: str, message: str) -> None:
    (error,) = manifests.messages(HEAD + f"defaults:\n  metadata: {metadata}\n")
    assert message in error


@pytest.mark.parametrize(
    "place",
    [
        "defaults: {metadata: {A: ~}}",
        "collections: [{name: x, type: image, metadata: {A: ~}}]",
        "collections: [{name: x, type: image, folders: [{path: a, metadata: {A: ~}}]}]",
        "collections: [{name: x, type: image, file_metadata: [{match: a, metadata: {A: ~}}]}]",
    ],
)
def test_all_metadata_blocks_have_the_same_rules(manifests: ManifestFolder, place: str) -> None:
    (error,) = manifests.messages(HEAD + place)
    assert f"birds.yaml:3:{place.index('~') + 1}: 'A' has no value." in error


def test_all_errors_of_a_block_are_reported(manifests: ManifestFolder) -> None:
    assert len(manifests.messages(HEAD + "defaults: {metadata: {A: ~, B: ~, Tags: [1, 2]}}\n")) == 4


def test_bytes_that_are_not_utf8_are_an_error(manifests: ManifestFolder) -> None:
    text = HEAD + "defaults: {metadata: {A: '${X}', Tags: ['${X}']}}\n"
    message = manifests.messages(text, environment={"X": b"\xff".decode("utf-8", "surrogateescape")})
    assert "'A' contains bytes that are not UTF-8" in message[0]
    assert "entry 1 of 'Tags' contains bytes that are not UTF-8" in message[1]
