"""Loading a manifest returns all of it, or reports all of its errors together."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from metalake_sync.errors import ExitCode, Location, ManifestError, ManifestErrors
from metalake_sync.manifest import PatternMetadata, load_manifest
from tests.manifest.conftest import HEAD, ManifestFolder

FULL = """\
version: 1
name: bccd
remote:
  url: ${LAYERNEXT_URL:-embedded:.metalake}
  api_key: ${LAYERNEXT_API_KEY}
  secret: ${LAYERNEXT_SECRET}
defaults:
  metadata: {Camera Id: CAM_0001}
collections:
  - name: bccd-train
    type: image
    storage_prefix: medical/bccd
    metadata: {Captured Location: Winnipeg, Tags: ["#blood"]}
    metadata_scope: files
    metadata_override: false
    folders:
      - path: images
        include: ["*.jpg"]
        exclude: ["*_draft*"]
        recursive: true
        naming: name
        metadata: {split: train}
    files: [extra/one.jpg]
    file_metadata:
      - metadata.json
      - {match: "*_night.jpg", metadata: {Tags: [night]}}
    annotations:
      - operation: bccd_human
        kind: human
        source: annotations.json
        format: metalake
        normalized: false
        mode: replace
        strict: false
        labels: {map: {rbc: RBC}, allow: [RBC, WBC, Platelets]}
    on_change: replace
    adopt: match
    tags: own
    prune: false
    prevent_destroy: false
"""

TEN_MISTAKES = """\
version: 1
nmae: birds
remote:
  url: lake.example.com
  api_key: ${LAYERNEXT_API_KEY}
  secret: ${LAYERNEXT_SECRET}
collections:
  - name: birds
    type: imgae
    metadata: {Taken: 2024-01-31}
    folders:
      - path: ""
        recursive: perhaps
    annotations:
      - {operation: a, source: a.json}
  - name: films
    type: video
    name: clips
  - name: 2024
    type: other
  - name: films
    type: video
"""


def test_every_key_of_a_full_manifest_is_loaded(manifests: ManifestFolder) -> None:
    loaded = manifests.load(FULL)
    (collection,) = loaded.collections
    (folder,), (annotation,) = collection.folders, collection.annotations
    assert loaded.name == "bccd"
    assert loaded.source == "birds.yaml"
    assert loaded.base_dir == manifests.folder
    assert loaded.warnings == ()
    assert loaded.model.remote.url == "embedded:.metalake"
    assert (collection.name, collection.type, collection.storage_prefix) == ("bccd-train", "image", "medical/bccd")
    assert (folder.path, folder.include, folder.exclude, folder.recursive, folder.naming, folder.metadata) == (
        "images",
        ["*.jpg"],
        ["*_draft*"],
        True,
        "name",
        {"split": "train"},
    )
    assert collection.files == ("extra/one.jpg",)
    metadata_file, pattern = collection.file_metadata
    assert metadata_file == "metadata.json"
    assert isinstance(pattern, PatternMetadata)
    assert (pattern.match, pattern.metadata) == ("*_night.jpg", {"Tags": ["night"]})
    assert (annotation.operation, annotation.kind, annotation.source, annotation.format) == (
        "bccd_human",
        "human",
        "annotations.json",
        "metalake",
    )
    assert annotation.labels.rename == {"rbc": "RBC"}
    assert annotation.labels.allow == ["RBC", "WBC", "Platelets"]


def test_ten_different_errors_are_reported_together_with_line_and_column(manifests: ManifestFolder) -> None:
    environment = {"LAYERNEXT_API_KEY": "key", "LAYERNEXT_SECRET": "secret"}
    assert manifests.messages(TEN_MISTAKES, environment=environment) == [
        "birds.yaml:2:1: unknown key 'nmae'. Did you mean 'name'?",
        "birds.yaml:4:8: 'url' is not the address of a lake. Write https://HOST, or embedded:DIR.",
        "birds.yaml:9:11: 'type' is 'imgae'. Write image, video or other; did you mean image?",
        "birds.yaml:10:23: '2024-01-31' looks like a date, which JSON does not have."
        ' If it is text, put it in quotes: "2024-01-31".',
        "birds.yaml:12:15: 'path' is empty. Set a value, or remove the line.",
        "birds.yaml:13:20: 'recursive' is 'perhaps'. Write true or false.",
        "birds.yaml:15:9: 'kind' is missing. Add 'kind'.",
        "birds.yaml:18:5: the key 'name' is set twice; the first is in line 16. Keep one of them.",
        "birds.yaml:19:11: 'name' is the number 2024. Write text: put it in quotes.",
        "birds.yaml:21:11: collection 'films' of type video is defined twice; the first definition is at"
        " birds.yaml:16:11. Merge the two blocks, or rename one of them.",
    ]


def test_an_invalid_manifest_is_a_usage_error(manifests: ManifestFolder) -> None:
    with pytest.raises(ManifestErrors) as caught:
        manifests.load("version: 1")
    assert caught.value.exit_code is ExitCode.USAGE


def test_a_missing_key_has_the_place_of_the_block_around_it(manifests: ManifestFolder) -> None:
    loaded = manifests.load(FULL)
    assert loaded.where("collections", 0, "folders", 0, "path") == Location("birds.yaml", 17, 15)
    assert loaded.where("collections", 0, "annotations", 0, "labels", "allow", 1) == Location("birds.yaml", 35, 48)
    assert loaded.where("collections", 0, "folders", 7, "path") == loaded.where("collections", 0, "folders")
    assert loaded.where("downloads") == Location("birds.yaml", 1, 1)


def test_a_literal_secret_causes_a_warning_that_does_not_show_it(manifests: ManifestFolder) -> None:
    loaded = manifests.load(
        "version: 1\nremote:\n  url: https://lake.example\n  api_key: ${KEY:-k3y-literal}\n  secret: s3cret-literal\n",
    )
    assert [(warning.code, warning.where) for warning in loaded.warnings] == [
        ("literal_secret", Location("birds.yaml", 4, 12)),
        ("literal_secret", Location("birds.yaml", 5, 11)),
    ]
    assert "literal}" not in str(loaded.warnings)
    assert "k3y" not in str(loaded.warnings)
    assert "s3cret" not in str(loaded.warnings)


def test_the_repr_of_a_loaded_manifest_shows_no_credential(manifests: ManifestFolder) -> None:
    text = "version: 1\nremote:\n  url: https://lake.example\n  api_key: k3y-literal\n  secret: ${S}\n"
    loaded = manifests.load(text, variables={"S": "from-the-shell"})
    for printed in (repr(loaded), repr(loaded.model), str(loaded.model), repr(loaded._tree)):
        assert "k3y-literal" not in printed
        assert "from-the-shell" not in printed


@pytest.mark.parametrize("written", ["12345678", "[12345678]", "{a: 12345678}", "true"])
def test_no_error_about_a_credential_shows_it(manifests: ManifestFolder, written: str) -> None:
    text = f"version: 1\nremote:\n  url: https://lake.example\n  api_key: {written}\n  secret: {written}\n"
    message = "\n".join(manifests.messages(text))
    assert "birds.yaml:4:12: 'api_key' is a " in message
    assert written not in message


def test_a_url_with_a_password_is_an_error_that_does_not_show_it(manifests: ManifestFolder) -> None:
    text = "version: 1\nremote: {url: 'https://me:hunter2@lake.example', api_key: '${K}', secret: '${K}'}\n"
    (message,) = manifests.messages(text, variables={"K": "k"})
    assert (
        message == "birds.yaml:2:15: 'url' contains more than an address. Use 'api_key' and 'secret' for credentials."
    )


def test_a_manifest_without_collections_is_valid(manifests: ManifestFolder) -> None:
    assert manifests.load(HEAD).collections == ()


LINES = st.lists(
    st.tuples(
        st.sampled_from(["", "  ", "    ", "      ", "- ", "  - ", "    - "]),
        st.sampled_from(
            [*FULL.split(), "<<: *a", "&a", "*a", "${X}", "${", "$${X}", "!!set", "~", "[", "}", "007", ""]
        ),
        st.sampled_from(["", ":", ": ", ": 1", ": ~", ": [a, 1]", ": {a: b}", " &a", ": *a", ": .inf", ": '"]),
    ).map("".join),
    max_size=12,
).map("\n".join)

EVERY_EXAMPLE = settings(
    max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def loads_or_reports_errors(source: str, stdin: io.StringIO | None = None) -> None:
    message: tuple[ManifestError, ...] | None = None
    try:
        load_manifest(source, environment={"X": "x"}, stdin=stdin)
    except ManifestErrors as errors:
        message = errors.errors
    assert message is None or message
    for error in message or ():
        assert isinstance(error.where, Location)
        assert error.remedy


@given(text=st.one_of(st.text(st.characters()), LINES, LINES.map(HEAD.__add__)))
@example(text="a: \ud800")
@example(text="a: \x00")
@example(text='{"a": *x, <<: 3}')
@example(text=HEAD + "collections: {a: b}")
@example(text=HEAD + "defaults: []\ncollections: [[], 3, {annotations: [3, {operation: []}]}]")
@EVERY_EXAMPLE
def test_any_text_gives_a_manifest_or_errors_with_places(text: str) -> None:
    loads_or_reports_errors("-", io.StringIO(text))


@given(
    data=st.one_of(st.binary(), LINES.map(str.encode), LINES.map(HEAD.__add__).map(lambda text: text.encode("utf-16")))
)
@EVERY_EXAMPLE
def test_any_bytes_give_a_manifest_or_errors_with_places(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "any.yaml"
    file.write_bytes(data)
    loads_or_reports_errors(str(file))


@given(first=LINES, second=LINES)
@EVERY_EXAMPLE
def test_any_two_files_give_a_manifest_or_errors_with_places(tmp_path: Path, first: str, second: str) -> None:
    (tmp_path / "a.yaml").write_text(HEAD + first)
    (tmp_path / "b.yaml").write_text(second)
    loads_or_reports_errors(str(tmp_path))


@pytest.mark.parametrize(
    ("given", "codes"),
    [
        ("", ["unsigned_webhook"]),
        (', secret: "${SIGNING}"', []),
        (", secret_file: signing.key", []),
        (", secret: s1gn1ng", ["literal_secret"]),
    ],
)
def test_an_unsigned_webhook_causes_a_warning(manifests: ManifestFolder, given: str, codes: list[str]) -> None:
    text = HEAD + f"notify: {{url: https://hooks.acme.dev/t0ken{given}}}\n"
    loaded = manifests.load(text, variables={"SIGNING": "x"})
    assert [warning.code for warning in loaded.warnings] == codes
    assert "t0ken" not in str(loaded.warnings)
    assert "s1gn1ng" not in str(loaded.warnings)


ONE = "collections:\n  - {name: one, type: image}\n"
TWO = "collections:\n  - {name: two, type: image}\n  - {name: three, type: other}\n"


def messages(manifests: ManifestFolder, **files: str) -> list[str]:
    with pytest.raises(ManifestErrors) as caught:
        manifests.load_folder(**files)
    return [str(error) for error in caught.value.errors]


def test_collections_of_several_files_are_concatenated(manifests: ManifestFolder) -> None:
    loaded = manifests.load_folder(a=HEAD + ONE, b=TWO, c="name: all\n")
    assert [(one.index, one.name) for one in loaded.collections] == [(0, "one"), (1, "two"), (2, "three")]
    assert loaded.name == "all"


def test_downloads_and_trash_rules_of_several_files_are_concatenated(manifests: ManifestFolder) -> None:
    loaded = manifests.load_folder(
        a=HEAD + "downloads:\n  - {lake: image, to: a}\n",
        b="downloads:\n  - {lake: video, to: b}\ntrash:\n  - {lake: other, query: metadata.Tags=x}\n",
        c="trash:\n  - {collection: birds}\n",
    )
    assert [one.to for one in loaded.model.downloads] == ["a", "b"]
    assert [one.lake or one.collection for one in loaded.model.trash] == ["other", "birds"]
    assert loaded.where("downloads", 1) == Location("lake/b.yaml", 2, 5)


def test_each_place_names_its_file(manifests: ManifestFolder) -> None:
    loaded = manifests.load_folder(a=HEAD + ONE, b=TWO)
    assert loaded.where("collections", 0, "name") == Location("lake/a.yaml", 4, 12)
    assert loaded.where("collections", 2, "name") == Location("lake/b.yaml", 3, 12)


def test_equal_values_may_be_in_several_files(manifests: ManifestFolder) -> None:
    assert len(manifests.load_folder(a=HEAD + ONE, b=HEAD + TWO).collections) == 3


def test_different_values_are_an_error_with_both_places(manifests: ManifestFolder) -> None:
    assert messages(manifests, a=HEAD + "name: x\n", b="version: 2\nname: y\nremote: {url: embedded:other}\n") == [
        f"lake/b.yaml:{line}:1: '{key}' has a different value here than at lake/a.yaml:{first}:1."
        " Keep it in one file of the folder."
        for key, line, first in (("version", 1, 1), ("name", 2, 3), ("remote", 3, 2))
    ]


def test_a_collection_in_two_files_is_an_error_with_both_places(manifests: ManifestFolder) -> None:
    (message,) = messages(manifests, a=HEAD + ONE, b=ONE)
    assert message.startswith("lake/b.yaml:2:12: collection 'one' of type image is defined twice")
    assert "lake/a.yaml:4:12" in message


def test_errors_are_in_the_order_of_the_files(manifests: ManifestFolder) -> None:
    message = messages(
        manifests, a=HEAD + "colections: []\n", b="collections: [{name: x, type: y}]\n", c="name: ${NOPE}\n"
    )
    assert [line.partition(": ")[0] for line in message] == ["lake/a.yaml:3:1", "lake/b.yaml:1:31", "lake/c.yaml:1:7"]


def test_collections_that_are_not_a_list_are_one_error(manifests: ManifestFolder) -> None:
    message = messages(manifests, a=HEAD + "collections: {}\n", b=ONE)
    assert message[0].startswith("lake/a.yaml:3:14: 'collections' is a mapping.")
    assert message[1].startswith("lake/b.yaml:1:1: 'collections' has a different value here than at lake/a.yaml:3:1.")


def test_files_that_are_not_yaml_are_reported_together(manifests: ManifestFolder) -> None:
    message = messages(manifests, a="a: [}", b=HEAD, c="- a list\n", d="")
    assert [line.split(": ")[0] for line in message] == ["lake/a.yaml:1:5", "lake/c.yaml:1:1", "lake/d.yaml"]
