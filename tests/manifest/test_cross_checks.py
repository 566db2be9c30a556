"""Checks that concern several blocks of a manifest."""

from __future__ import annotations

import pytest

from tests.manifest.conftest import HEAD, ManifestFolder

REMOTE = "version: 1\nremote:\n  url: https://lake.example\n"


def with_annotations(*blocks: str, media_type: str = "image") -> str:
    listed = "".join(f"      - {{operation: o, kind: human, source: s, {block}}}\n" for block in blocks)
    return HEAD + f"collections:\n  - name: x\n    type: {media_type}\n    annotations:\n{listed}"


def test_collections_of_different_types_may_share_a_name(manifests: ManifestFolder) -> None:
    text = HEAD + "collections: [{name: x, type: image}, {name: x, type: video}, {name: x, type: other}]\n"
    assert [one.type for one in manifests.load(text).collections] == ["image", "video", "other"]


def test_two_collections_of_one_name_and_type_are_an_error_with_both_lines(manifests: ManifestFolder) -> None:
    text = HEAD + "defaults: {type: image}\ncollections:\n  - {name: x}\n  - {name: x, type: image}\n"
    assert manifests.messages(text) == [
        "birds.yaml:6:12: collection 'x' of type image is defined twice; the first definition is at birds.yaml:5:12."
        " Merge the two blocks, or rename one of them."
    ]


def test_a_collection_without_a_type_is_an_error(manifests: ManifestFolder) -> None:
    (message,) = manifests.messages(HEAD + "collections: [{name: x}]\n")
    assert message == "birds.yaml:3:15: collection 'x' has no type. Add 'type: image' (or video, other)."


@pytest.mark.parametrize("media_type", ["video", "other"])
def test_only_image_collections_accept_annotations(manifests: ManifestFolder, media_type: str) -> None:
    (message,) = manifests.messages(with_annotations("mode: append", media_type=media_type))
    assert message == (
        f"birds.yaml:6:5: a collection of type {media_type} cannot have annotations. Remove 'annotations', or "
        "fix 'type'."
    )


def test_default_annotations_are_an_error_for_other_types_unless_overridden(manifests: ManifestFolder) -> None:
    defaults = HEAD + "defaults: {annotations: [{operation: o, kind: human, source: s}]}\n"
    (message,) = manifests.messages(defaults + "collections: [{name: x, type: video}]\n")
    assert message == (
        "birds.yaml:4:15: a collection of type video cannot have annotations."
        " Add 'annotations: []' here, because those of 'defaults' apply to it too."
    )
    manifests.load(defaults + "collections: [{name: x, type: video, annotations: []}]\n")


def test_several_blocks_may_have_one_operation(manifests: ManifestFolder) -> None:
    (one,) = manifests.load(with_annotations("mode: append", "mode: append, strict: true", "mode: append")).collections
    assert len(one.annotations) == 3


@pytest.mark.parametrize(("key", "value"), [("mode", "append"), ("normalized", "true"), ("normalized", "convert")])
def test_blocks_of_one_operation_must_agree_including_defaults(manifests: ManifestFolder, key: str, value: str) -> None:
    (message,) = manifests.messages(with_annotations("strict: true", f"{key}: {value}"))
    assert message.startswith(
        f"birds.yaml:8:{50 + len(key)}: operation 'o' has a different '{key}' than at birds.yaml:7:9."
    )


def test_blocks_of_one_operation_must_have_one_kind(manifests: ManifestFolder) -> None:
    text = HEAD + "defaults:\n  annotations:\n    - {operation: o, kind: human, source: s}\n"
    (message,) = manifests.messages(text + "    - {operation: o, kind: machine, source: s}\n")
    assert message.startswith("birds.yaml:6:28: operation 'o' has a different 'kind' than at birds.yaml:5:28.")


def test_a_variable_equals_a_literal_of_the_same_value(manifests: ManifestFolder) -> None:
    text = with_annotations("normalized: true", "normalized: '${T}'")
    assert len(manifests.load(text, variables={"T": "true"}).collections[0].annotations) == 2


# Credentials.


@pytest.mark.parametrize("key", ["api_key", "api_key_file", "api_key_command"])
def test_each_of_three_keys_may_give_a_credential(manifests: ManifestFolder, key: str) -> None:
    manifests.load(REMOTE + f"  {key}: x\n  secret: x\n")


def test_a_credential_from_two_keys_is_an_error_at_the_second(manifests: ManifestFolder) -> None:
    (message,) = manifests.messages(REMOTE + "  api_key: x\n  secret: x\n  api_key_file: x\n")
    assert message == "birds.yaml:6:3: 'api_key' and 'api_key_file' both give the api key. Keep one of them."


def test_an_empty_variable_does_not_count_as_a_second_credential(manifests: ManifestFolder) -> None:
    text = REMOTE + "  api_key: ${K:-}\n  api_key_file: x\n  secret: x\n"
    assert manifests.load(text).model.remote.api_key_file == "x"


def test_a_remote_lake_needs_both_credentials(manifests: ManifestFolder) -> None:
    assert manifests.messages(REMOTE + "  api_key: ${K:-}\n") == [
        "birds.yaml:3:3: 'secret' is missing. Add 'secret: ${LAYERNEXT_SECRET}', or secret_file or secret_command.",
        "birds.yaml:4:12: 'api_key' is empty. Set the variable that it comes from.",
    ]


def test_a_remote_lake_needs_values_for_the_variables_of_its_credentials(manifests: ManifestFolder) -> None:
    (message,) = manifests.messages(REMOTE + "  api_key: ${K}\n  secret: x\n")
    assert message.startswith("birds.yaml:4:12: the variable K has no value.")


def test_an_embedded_lake_needs_no_credentials_and_accepts_missing_variables_for_them(
    manifests: ManifestFolder,
) -> None:
    manifests.load(HEAD)
    manifests.load("version: 1\nremote:\n  url: embedded:x\n  api_key: ${K}\n  secret: ${S}\n")


def test_other_missing_variables_are_errors_for_an_embedded_lake(manifests: ManifestFolder) -> None:
    (message,) = manifests.messages("version: 1\nremote:\n  url: embedded:x\n  api_key_file: ${K}\n")
    assert message.startswith("birds.yaml:4:17: the variable K has no value.")


PLAIN = "version: 1\nremote:\n  api_key: k\n  secret: s\n"


@pytest.mark.parametrize("url", ["http://lake.example", "http://10.1.2.3:3000", "HTTP://lake.example"])
def test_plain_http_to_another_machine_needs_allow_insecure(manifests: ManifestFolder, url: str) -> None:
    (message,) = manifests.messages(PLAIN + f"  url: {url}\n")
    assert message == (
        "birds.yaml:5:8: 'url' is plain HTTP to another machine: anyone on the network path could read the key "
        "and the files."
        " Write https://, or allow it with 'allow_insecure: true'."
    )
    manifests.load(PLAIN + f"  url: {url}\n  allow_insecure: true\n")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:3000", "http://localhost:1", "http://[::1]:1", "https://lake.example"]
)
def test_https_and_loopback_need_no_allow_insecure(manifests: ManifestFolder, url: str) -> None:
    manifests.load(PLAIN + f"  url: '{url}'\n")


def downloads(*blocks: str) -> str:
    listed = "".join(f"  - {{collection: x, {block}}}\n" for block in blocks)
    return HEAD + f"downloads:\n{listed}"


@pytest.mark.parametrize("form", ["kitti", "labelme", "metalake", "voc"])
def test_classes_of_a_format_without_class_ids_are_an_error_at_their_key(manifests: ManifestFolder, form: str) -> None:
    (message,) = manifests.messages(downloads(f"to: a, annotations: {{format: {form}, classes: [Nothing]}}"))
    assert message.startswith("birds.yaml:4:")
    assert f"'classes' has no effect with the format '{form}', which has no class ids" in message
    assert message.endswith("choose one of these formats: coco, cvat, datumaro, yolo.")


def test_classes_of_no_format_are_those_of_metalake_which_has_no_class_ids(manifests: ManifestFolder) -> None:
    (message,) = manifests.messages(downloads("to: a, annotations: {classes: [Nothing]}"))
    assert "the format 'metalake'" in message


def test_an_unknown_format_with_classes_is_one_error(manifests: ManifestFolder) -> None:
    (message,) = manifests.messages(downloads("to: a, annotations: {format: paint, classes: [Nothing]}"))
    assert "'paint'" in message


@pytest.mark.parametrize(
    ("blocks", "problem"),
    [
        (("to: o1", "to: O1"), "'O1' and 'o1' at birds.yaml:4:25 are one folder on some file systems"),
        (("to: caf\u00e9", "to: cafe\u0301"), "are one folder on some file systems"),
        (
            ("to: o, splits: {by: ratio, parts: {train: 1, Train: 1}}",),
            "the folders 'o/train' and 'o/Train' of two splits are one folder on some file systems",
        ),
        (
            ("to: o, splits: {by: ratio, parts: {train: 1, val: 1}}", "to: o/Val"),
            "'o/Val' and 'o/val' at birds.yaml:4:25 are one folder on some file systems",
        ),
    ],
)
def test_folders_that_differ_only_in_case_are_an_error(
    manifests: ManifestFolder, blocks: tuple[str, ...], problem: str
) -> None:
    (message,) = manifests.messages(downloads(*blocks))
    assert problem in message
    assert message.endswith("Give each download and each split its own folder.")


@pytest.mark.parametrize("name", ["con", "NUL", "com1"])
def test_a_device_name_is_not_the_name_of_a_split(manifests: ManifestFolder, name: str) -> None:
    (message,) = manifests.messages(downloads(f"to: o, splits: {{by: ratio, parts: {{train: 1, {name}: 1}}}}"))
    assert "is a device name" in message


@pytest.mark.parametrize(
    ("to", "state", "holds"),
    [
        (".", "", "the manifest"),
        ("out/..", "", "the manifest"),
        (".metalake-sync", "", "the state"),
        ("kept", "state: kept/birds.db\n", "the state"),
    ],
)
def test_a_pruned_download_has_a_folder_of_its_own(manifests: ManifestFolder, to: str, state: str, holds: str) -> None:
    (message,) = manifests.messages(state + downloads(f"to: {to}, prune: true"))
    assert f"a download with 'prune' goes into the folder of {holds}. Choose a folder of its own" in message
    manifests.load(state + downloads(f"to: {to}"))
    manifests.load(state + downloads(f"to: {to}/inner, prune: true"))


def test_a_pruned_download_is_refused_by_the_absolute_path_of_the_manifest(manifests: ManifestFolder) -> None:
    (message,) = manifests.messages(downloads(f"to: '{manifests.folder}', prune: true"))
    assert "goes into the folder of the manifest" in message
