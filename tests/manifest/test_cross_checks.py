"""Checks that concern several blocks of a manifest."""

from __future__ import annotations

import pytest

from tests.manifest.conftest import HEAD, Desk

REMOTE = "version: 1\nremote:\n  url: https://lake.example\n"


def feeding(*blocks: str, media_type: str = "image") -> str:
    listed = "".join(f"      - {{operation: o, kind: human, source: s, {block}}}\n" for block in blocks)
    return HEAD + f"collections:\n  - name: x\n    type: {media_type}\n    annotations:\n{listed}"


def test_collections_of_different_types_may_share_a_name(desk: Desk) -> None:
    text = HEAD + "collections: [{name: x, type: image}, {name: x, type: video}, {name: x, type: other}]\n"
    assert [one.type for one in desk.load(text).collections] == ["image", "video", "other"]


def test_two_collections_of_one_name_and_type_are_an_error_with_both_lines(desk: Desk) -> None:
    text = HEAD + "defaults: {type: image}\ncollections:\n  - {name: x}\n  - {name: x, type: image}\n"
    assert desk.messages(text) == [
        "birds.yaml:6:12: collection 'x' of type image is defined twice; the first definition is at birds.yaml:5:12."
        " Merge the two blocks, or rename one of them."
    ]


def test_a_collection_without_a_type_is_an_error(desk: Desk) -> None:
    (told,) = desk.messages(HEAD + "collections: [{name: x}]\n")
    assert told == "birds.yaml:3:15: collection 'x' has no type. Add 'type: image' (or video, other)."


@pytest.mark.parametrize("media_type", ["video", "other"])
def test_only_image_collections_accept_annotations(desk: Desk, media_type: str) -> None:
    (told,) = desk.messages(feeding("mode: append", media_type=media_type))
    assert told == (
        f"birds.yaml:6:5: a collection of type {media_type} cannot have annotations. Remove 'annotations', or "
        "fix 'type'."
    )


def test_default_annotations_are_an_error_for_other_types_unless_overridden(desk: Desk) -> None:
    defaults = HEAD + "defaults: {annotations: [{operation: o, kind: human, source: s}]}\n"
    (told,) = desk.messages(defaults + "collections: [{name: x, type: video}]\n")
    assert told == (
        "birds.yaml:4:15: a collection of type video cannot have annotations."
        " Add 'annotations: []' here, because those of 'defaults' apply to it too."
    )
    desk.load(defaults + "collections: [{name: x, type: video, annotations: []}]\n")


def test_several_blocks_may_have_one_operation(desk: Desk) -> None:
    (one,) = desk.load(feeding("mode: append", "mode: append, strict: true", "mode: append")).collections
    assert len(one.annotations) == 3


@pytest.mark.parametrize(("key", "value"), [("mode", "append"), ("normalized", "true"), ("normalized", "convert")])
def test_blocks_of_one_operation_must_agree_including_defaults(desk: Desk, key: str, value: str) -> None:
    (told,) = desk.messages(feeding("strict: true", f"{key}: {value}"))
    assert told.startswith(
        f"birds.yaml:8:{50 + len(key)}: operation 'o' has a different '{key}' than at birds.yaml:7:9."
    )


def test_blocks_of_one_operation_must_have_one_kind(desk: Desk) -> None:
    text = HEAD + "defaults:\n  annotations:\n    - {operation: o, kind: human, source: s}\n"
    (told,) = desk.messages(text + "    - {operation: o, kind: machine, source: s}\n")
    assert told.startswith("birds.yaml:6:28: operation 'o' has a different 'kind' than at birds.yaml:5:28.")


def test_a_variable_equals_a_literal_of_the_same_value(desk: Desk) -> None:
    text = feeding("normalized: true", "normalized: '${T}'")
    assert len(desk.load(text, variables={"T": "true"}).collections[0].annotations) == 2


# Credentials.


@pytest.mark.parametrize("key", ["api_key", "api_key_file", "api_key_command"])
def test_each_of_three_keys_may_give_a_credential(desk: Desk, key: str) -> None:
    desk.load(REMOTE + f"  {key}: x\n  secret: x\n")


def test_a_credential_from_two_keys_is_an_error_at_the_second(desk: Desk) -> None:
    (told,) = desk.messages(REMOTE + "  api_key: x\n  secret: x\n  api_key_file: x\n")
    assert told == "birds.yaml:6:3: 'api_key' and 'api_key_file' both give the api key. Keep one of them."


def test_an_empty_variable_does_not_count_as_a_second_credential(desk: Desk) -> None:
    text = REMOTE + "  api_key: ${K:-}\n  api_key_file: x\n  secret: x\n"
    assert desk.load(text).model.remote.api_key_file == "x"


def test_a_remote_lake_needs_both_credentials(desk: Desk) -> None:
    assert desk.messages(REMOTE + "  api_key: ${K:-}\n") == [
        "birds.yaml:3:3: 'secret' is missing. Add 'secret: ${LAYERNEXT_SECRET}', or secret_file or secret_command.",
        "birds.yaml:4:12: 'api_key' is empty. Set the variable that it comes from.",
    ]


def test_a_remote_lake_needs_values_for_the_variables_of_its_credentials(desk: Desk) -> None:
    (told,) = desk.messages(REMOTE + "  api_key: ${K}\n  secret: x\n")
    assert told.startswith("birds.yaml:4:12: the variable K has no value.")


def test_an_embedded_lake_needs_no_credentials_and_accepts_missing_variables_for_them(desk: Desk) -> None:
    desk.load(HEAD)
    desk.load("version: 1\nremote:\n  url: embedded:x\n  api_key: ${K}\n  secret: ${S}\n")


def test_other_missing_variables_are_errors_for_an_embedded_lake(desk: Desk) -> None:
    (told,) = desk.messages("version: 1\nremote:\n  url: embedded:x\n  api_key_file: ${K}\n")
    assert told.startswith("birds.yaml:4:17: the variable K has no value.")


PLAIN = "version: 1\nremote:\n  api_key: k\n  secret: s\n"


@pytest.mark.parametrize("url", ["http://lake.example", "http://10.1.2.3:3000", "HTTP://lake.example"])
def test_plain_http_to_another_machine_needs_allow_insecure(desk: Desk, url: str) -> None:
    (told,) = desk.messages(PLAIN + f"  url: {url}\n")
    assert told == (
        "birds.yaml:5:8: 'url' is plain HTTP to another machine: anyone on the network path could read the key "
        "and the files."
        " Write https://, or allow it with 'allow_insecure: true'."
    )
    desk.load(PLAIN + f"  url: {url}\n  allow_insecure: true\n")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:3000", "http://localhost:1", "http://[::1]:1", "https://lake.example"]
)
def test_https_and_loopback_need_no_allow_insecure(desk: Desk, url: str) -> None:
    desk.load(PLAIN + f"  url: '{url}'\n")
