"""The blocks of a manifest agree with one another."""

from __future__ import annotations

import pytest

from tests.manifest.conftest import HEAD, Desk

REMOTE = "version: 1\nremote:\n  url: https://lake.example\n"


def feeding(*blocks: str, media_type: str = "image") -> str:
    listed = "".join(f"      - {{operation: o, kind: human, source: s, {block}}}\n" for block in blocks)
    return HEAD + f"collections:\n  - name: x\n    type: {media_type}\n    annotations:\n{listed}"


def test_one_name_stands_for_several_types(desk: Desk) -> None:
    text = HEAD + "collections: [{name: x, type: image}, {name: x, type: video}, {name: x, type: other}]\n"
    assert [one.type for one in desk.load(text).collections] == ["image", "video", "other"]


def test_two_blocks_of_one_name_and_type_name_both_lines_also_when_the_type_is_a_default(desk: Desk) -> None:
    text = HEAD + "defaults: {type: image}\ncollections:\n  - {name: x}\n  - {name: x, type: image}\n"
    assert desk.messages(text) == [
        "birds.yaml:6:12: collection 'x' of type image is defined twice; the first definition is at birds.yaml:5:12."
        " Merge the two blocks, or rename one of them."
    ]


def test_a_collection_without_a_type_is_told(desk: Desk) -> None:
    (told,) = desk.messages(HEAD + "collections: [{name: x}]\n")
    assert told == "birds.yaml:3:15: collection 'x' has no type. Add 'type: image' (or video, other)."


@pytest.mark.parametrize("media_type", ["video", "other"])
def test_only_images_take_annotations(desk: Desk, media_type: str) -> None:
    (told,) = desk.messages(feeding("mode: append", media_type=media_type))
    assert told == (
        f"birds.yaml:6:5: a collection of type {media_type} cannot have annotations. Remove 'annotations', or "
        "fix 'type'."
    )


def test_annotations_among_the_defaults_hold_for_other_types_too_unless_they_are_taken_back(desk: Desk) -> None:
    defaults = HEAD + "defaults: {annotations: [{operation: o, kind: human, source: s}]}\n"
    (told,) = desk.messages(defaults + "collections: [{name: x, type: video}]\n")
    assert told == (
        "birds.yaml:4:15: a collection of type video cannot have annotations."
        " Add 'annotations: []' here, because those of 'defaults' apply to it too."
    )
    desk.load(defaults + "collections: [{name: x, type: video, annotations: []}]\n")


def test_several_blocks_may_feed_one_operation(desk: Desk) -> None:
    (one,) = desk.load(feeding("mode: append", "mode: append, strict: true", "mode: append")).collections
    assert len(one.annotations) == 3


@pytest.mark.parametrize(("key", "value"), [("mode", "append"), ("normalized", "true"), ("normalized", "convert")])
def test_the_blocks_of_one_operation_agree_also_with_what_is_left_out(desk: Desk, key: str, value: str) -> None:
    (told,) = desk.messages(feeding("strict: true", f"{key}: {value}"))
    assert told.startswith(
        f"birds.yaml:8:{50 + len(key)}: operation 'o' has a different '{key}' than at birds.yaml:7:9."
    )


def test_the_blocks_of_one_operation_are_all_human_or_all_machine(desk: Desk) -> None:
    text = HEAD + "defaults:\n  annotations:\n    - {operation: o, kind: human, source: s}\n"
    (told,) = desk.messages(text + "    - {operation: o, kind: machine, source: s}\n")
    assert told.startswith("birds.yaml:6:28: operation 'o' has a different 'kind' than at birds.yaml:5:28.")


def test_a_variable_agrees_with_the_word_that_it_holds(desk: Desk) -> None:
    text = feeding("normalized: true", "normalized: '${T}'")
    assert len(desk.load(text, variables={"T": "true"}).collections[0].annotations) == 2


# Credentials.


@pytest.mark.parametrize("key", ["api_key", "api_key_file", "api_key_command"])
def test_a_credential_comes_from_one_of_three_places(desk: Desk, key: str) -> None:
    desk.load(REMOTE + f"  {key}: x\n  secret: x\n")


def test_a_credential_from_two_places_is_told_at_the_second(desk: Desk) -> None:
    (told,) = desk.messages(REMOTE + "  api_key: x\n  secret: x\n  api_key_file: x\n")
    assert told == "birds.yaml:6:3: 'api_key' and 'api_key_file' both give the api key. Keep one of them."


def test_an_empty_variable_is_no_second_place(desk: Desk) -> None:
    text = REMOTE + "  api_key: ${K:-}\n  api_key_file: x\n  secret: x\n"
    assert desk.load(text).model.remote.api_key_file == "x"


def test_a_lake_far_away_wants_both(desk: Desk) -> None:
    assert desk.messages(REMOTE + "  api_key: ${K:-}\n") == [
        "birds.yaml:3:3: 'secret' is missing. Add 'secret: ${LAYERNEXT_SECRET}', or secret_file or secret_command.",
        "birds.yaml:4:12: 'api_key' is empty. Set the variable that it comes from.",
    ]


def test_a_lake_far_away_wants_the_variables_too(desk: Desk) -> None:
    (told,) = desk.messages(REMOTE + "  api_key: ${K}\n  secret: x\n")
    assert told.startswith("birds.yaml:4:12: the variable K has no value.")


def test_an_embedded_lake_wants_none_and_excuses_missing_variables(desk: Desk) -> None:
    desk.load(HEAD)
    desk.load("version: 1\nremote:\n  url: embedded:x\n  api_key: ${K}\n  secret: ${S}\n")


def test_an_embedded_lake_excuses_no_other_variable(desk: Desk) -> None:
    (told,) = desk.messages("version: 1\nremote:\n  url: embedded:x\n  api_key_file: ${K}\n")
    assert told.startswith("birds.yaml:4:17: the variable K has no value.")


PLAIN = "version: 1\nremote:\n  api_key: k\n  secret: s\n"


@pytest.mark.parametrize("url", ["http://lake.example", "http://10.1.2.3:3000", "HTTP://lake.example"])
def test_plain_http_to_another_machine_names_the_line_and_needs_a_word(desk: Desk, url: str) -> None:
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
def test_this_machine_and_https_need_no_word(desk: Desk, url: str) -> None:
    desk.load(PLAIN + f"  url: '{url}'\n")
