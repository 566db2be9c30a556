"""Valid values and defaults of each key."""

from __future__ import annotations

import pytest

from metalake_sync.format_registry import format_names
from tests.manifest.conftest import HEAD, ManifestFolder

CREDENTIALS = "api_key: k, secret: s"


def collection(more: str) -> str:
    return HEAD + f"collections:\n  - {{name: x, type: image, {more}}}\n"


def test_keys_that_are_left_out_have_the_defaults_of_the_reference(manifests: ManifestFolder) -> None:
    text = collection("folders: [{path: a}], annotations: [{operation: o, kind: human, source: s}]")
    (one,) = manifests.load(text).collections
    assert (one.metadata_scope, one.metadata_override, one.on_change, one.adopt, one.tags) == (
        "files",
        False,
        "replace",
        "match",
        "own",
    )
    assert (one.prune, one.prevent_destroy, one.storage_prefix) == (False, False, None)
    assert (one.folders[0].naming, one.folders[0].recursive, one.folders[0].include) == ("name", True, [])
    annotation = one.annotations[0]
    assert (annotation.normalized, annotation.mode, annotation.strict, annotation.format) == (
        False,
        "replace",
        False,
        None,
    )
    assert (annotation.labels.rename, annotation.labels.allow) == ({}, [])


@pytest.mark.parametrize(("written", "meant"), [("true", True), ("false", False), ("convert", "convert")])
def test_normalized_accepts_true_false_and_convert(manifests: ManifestFolder, written: str, meant: object) -> None:
    text = collection(f"annotations: [{{operation: o, kind: human, source: s, normalized: {written}}}]")
    assert manifests.load(text).collections[0].annotations[0].normalized == meant


def test_a_source_is_a_text_or_a_list_of_texts(manifests: ManifestFolder) -> None:
    text = collection(
        "annotations: [{operation: o, kind: human, source: a}, {operation: o, kind: human, source: [a, b]}]"
    )
    assert [one.source for one in manifests.load(text).collections[0].annotations] == ["a", ["a", "b"]]


def test_a_command_is_split_as_a_shell_does(manifests: ManifestFolder) -> None:
    text = (
        "version: 1\nremote: {url: embedded:x, api_key_command: \"pass show 'my lake'\", secret_command: [a, 'b c']}\n"
    )
    remote = manifests.load(text).model.remote
    assert (remote.api_key_command, remote.secret_command) == (["pass", "show", "my lake"], ["a", "b c"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("files: ['']", "birds.yaml:4:36: entry 1 of 'files' is empty."),
        ('files: ["a\\0b"]', "birds.yaml:4:36: entry 1 of 'files' contains a zero byte."),
        ("files: a.jpg", "birds.yaml:4:35: 'files' is 'a.jpg'. Write a list: put it in [ ]."),
        ("storage_prefix: ' '", "birds.yaml:4:44: 'storage_prefix' is empty."),
        (
            "folders: [{path: a, include: [7]}]",
            "entry 1 of 'include' is the number 7. Write text: put it in quotes.",
        ),
        ("folders: [{path: true}]", "'path' is true. Write text: put it in quotes."),
        ("folders: [{path: ~}]", "'path' is empty. Write text."),
        (
            "file_metadata: [{source: m.csv, delimiter: ';;'}]",
            "'delimiter' is ';;'. Write one character.",
        ),
        ("folders: [{path: a, naming: paths}]", "Write name or path; did you mean path?"),
        ("folders: {path: a}", "'folders' is a mapping. Write a list."),
        ("folders: [a]", "entry 1 of 'folders' is 'a'. Write a mapping of keys to values."),
        ("folders: [{}]", "birds.yaml:4:38: 'path' is missing. Add 'path'."),
        ("prune: 7", "birds.yaml:4:35: 'prune' is the number 7. Write true or false."),
        ("adopt: takeover", "Write match, take_over or never; did you mean take_over?"),
        ("on_change: true", "'on_change' is true. Write replace, keep or fail."),
        ("tags: [a]", "'tags' is a list. Write own or exact."),
        (
            "file_metadata: [7]",
            "entry 1 of 'file_metadata' is neither a path nor a mapping with 'match',",
        ),
        ("file_metadata: [{match: '*'}]", "birds.yaml:4:44: 'metadata' is missing. Add 'metadata'."),
        ("annotations: [{operation: '', kind: human, source: s}]", "'operation' is empty."),
        ("annotations: [{operation: o, kind: human, source: []}]", "'source' does not name a source."),
        ("annotations: [{operation: o, kind: human, source: ['']}]", "entry 1 of 'source' is empty."),
        ("annotations: [{operation: o, kind: human, source: 7}]", "'source' is neither a text nor a list."),
        (
            "annotations: [{operation: o, kind: human, source: s, format: unheard_of}]",
            f"'format' is 'unheard_of'. Write {', '.join(format_names()[:-1])} or {format_names()[-1]}.",
        ),
        (
            "annotations: [{operation: o, kind: human, source: s, normalized: convrt}]",
            "'normalized' is 'convrt'. Write true, false or convert; did you mean convert?",
        ),
        (
            "annotations: [{operation: o, kind: human, source: s, labels: {map: {a: 1}}}]",
            "'a' is the number 1. Write text: put it in quotes.",
        ),
        (
            "annotations: [{operation: o, kind: human, source: s, labels: {rename: {}}}]",
            "unknown key 'rename'. Valid keys are map and allow.",
        ),
    ],
)
def test_an_invalid_value_is_one_clear_error(manifests: ManifestFolder, more: str, message: str) -> None:
    (error,) = manifests.messages(collection(more))
    assert message in error


@pytest.mark.parametrize("name", ["''", "'  '", '"a\\tb"', '"a\\x85b"'])
def test_the_name_of_a_collection_must_be_printable(manifests: ManifestFolder, name: str) -> None:
    (error,) = manifests.messages(HEAD + f"collections: [{{name: {name}, type: image}}]")
    assert error.startswith("birds.yaml:3:22: 'name' ")


@pytest.mark.parametrize("name", ["a/b", "..", "'" + "x" * 201 + "'"])
def test_the_name_of_a_manifest_must_be_a_valid_file_name(manifests: ManifestFolder, name: str) -> None:
    (error,) = manifests.messages(HEAD + f"name: {name}\n")
    assert error.startswith("birds.yaml:3:7: 'name' cannot be a file name.")


@pytest.mark.parametrize("url", ["https://lake.example", "http://127.0.0.1:8000/", "embedded:/var/lake"])
def test_url_accepts_a_web_address_or_an_embedded_lake(manifests: ManifestFolder, url: str) -> None:
    assert manifests.load(f"version: 1\nremote: {{url: '{url}', {CREDENTIALS}}}\n").model.remote.url == url


@pytest.mark.parametrize(
    "url", ["lake.example", "ftp://lake", "https://", "https://a b", "https://a:port", "https://[", "x"]
)
def test_other_urls_are_errors(manifests: ManifestFolder, url: str) -> None:
    (error,) = manifests.messages(f"version: 1\nremote: {{url: '{url}', {CREDENTIALS}}}\n")
    assert error == "birds.yaml:2:15: 'url' is not the address of a lake. Write https://HOST, or embedded:DIR."


@pytest.mark.parametrize("rest", ["me@lake", "me:pw@lake", "lake?token=1", "lake#x"])
def test_a_url_must_not_contain_more_than_an_address(manifests: ManifestFolder, rest: str) -> None:
    (error,) = manifests.messages(f"version: 1\nremote: {{url: 'https://{rest}', {CREDENTIALS}}}\n")
    assert "'url' contains more than an address" in error


def test_an_embedded_lake_needs_a_folder(manifests: ManifestFolder) -> None:
    (error,) = manifests.messages("version: 1\nremote: {url: 'embedded:'}\n")
    assert error == "birds.yaml:2:15: 'url' does not name a folder. Write embedded:.metalake."


@pytest.mark.parametrize("command", ["'pass show ${WHAT}'", "[pass, '${WHAT:-lake}']", "'${WHAT}'"])
def test_a_command_must_not_contain_variables(manifests: ManifestFolder, command: str) -> None:
    (error,) = manifests.messages(f"version: 1\nremote: {{url: 'embedded:x', api_key_command: {command}}}\n")
    assert "a command cannot contain variables" in error


@pytest.mark.parametrize(
    ("command", "message"), [("'a \"b'", "has an unclosed quote"), ("''", "is empty"), ("[]", "is empty")]
)
def test_an_empty_command_is_an_error(manifests: ManifestFolder, command: str, message: str) -> None:
    (error,) = manifests.messages(f"version: 1\nremote: {{url: embedded:x, api_key_command: {command}}}\n")
    assert f"'api_key_command' {message}" in error


def test_missing_required_keys_are_errors_with_a_remedy(manifests: ManifestFolder) -> None:
    assert manifests.messages("name: x\n") == [
        "birds.yaml:1:1: 'version' is missing. Add 'version: 1'.",
        "birds.yaml:1:1: 'remote' is missing. Add 'remote: {url: …}'; embedded:.metalake is an embedded lake.",
    ]


def test_an_unknown_version_is_an_error(manifests: ManifestFolder) -> None:
    (error,) = manifests.messages(HEAD.replace("version: 1", "version: 2"))
    assert error == "birds.yaml:1:10: 'version' is the number 2. Write 1."


DEFAULTS = """\
defaults:
  type: image
  storage_prefix: birds
  metadata: {Camera: A, Tags: [wide]}
  folders: [{path: common}]
  on_change: keep
  prune: true
collections:
"""


def test_defaults_apply_to_keys_that_a_collection_does_not_set(manifests: ManifestFolder) -> None:
    (one,) = manifests.load(HEAD + DEFAULTS + "  - {name: x}\n").collections
    assert (one.type, one.storage_prefix, one.on_change, one.prune) == ("image", "birds", "keep", True)
    assert [folder.path for folder in one.folders] == ["common"]


def test_a_collection_overrides_defaults_even_with_the_built_in_default(manifests: ManifestFolder) -> None:
    text = "  - {name: x, type: other, on_change: replace, prune: false, folders: [], storage_prefix: ~}\n"
    (one,) = manifests.load(HEAD + DEFAULTS + text).collections
    assert (one.type, one.storage_prefix, one.on_change, one.prune) == ("other", None, "replace", False)
    assert one.folders == ()


def test_metadata_of_the_defaults_is_a_separate_layer(manifests: ManifestFolder) -> None:
    (one,) = manifests.load(HEAD + DEFAULTS + "  - {name: x, metadata: {Tags: [narrow]}}\n").collections
    assert one.metadata_layers == ({"Camera": "A", "Tags": ["wide"]}, {"Tags": ["narrow"]})


def test_a_resolved_collection_has_its_index_in_the_manifest(manifests: ManifestFolder) -> None:
    loaded = manifests.load(HEAD + DEFAULTS + "  - {name: x}\n  - {name: y}\n")
    second = loaded.collections[1]
    assert loaded.where("collections", second.index, "name").line == 12
