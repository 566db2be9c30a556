"""The lake's own spelling of fields and tags."""

from __future__ import annotations

import pytest

from metalake_sync.core.metadata import (
    AS_WRITTEN,
    TAGS,
    Spelling,
    in_our_spelling,
    merge_layers,
    normal_form,
    update_to_mend,
)
from metalake_sync.protocol.items import ValidateAnswer

LAKES = Spelling({"camera id": "Camera Id"}, {"night": "Night"})


def test_fields_and_tags_are_respelled_before_layers_are_merged() -> None:
    wide = {"Camera Id": "1", TAGS: ["Night", "a"]}
    narrow = {"camera id": "2", TAGS: ["night", "b"]}
    assert merge_layers([wide, narrow], LAKES) == {"Camera Id": "2", TAGS: ["Night", "a", "b"]}
    assert merge_layers([wide, narrow], AS_WRITTEN) == {
        "Camera Id": "1", "camera id": "2", TAGS: ["Night", "a", "night", "b"]
    }  # fmt: skip


def test_the_lakes_own_spelling_wins_in_one_layer() -> None:
    assert LAKES.of({"camera id": "theirs", "Camera Id": "ours"}) == {"Camera Id": "ours"}
    assert LAKES.of({"Camera Id": "ours", "camera id": "theirs"}) == {"Camera Id": "ours"}


def test_a_name_without_an_offer_of_the_lake_is_unchanged() -> None:
    values = {"CAMERA ID": 1, TAGS: ["NIGHT"]}
    assert LAKES.of(values) == values
    assert AS_WRITTEN.of(values) is values


def test_an_offer_for_what_was_respelled_before_is_followed() -> None:
    moved = LAKES.extended(Spelling({"Camera Id": "CameraId", "x": "X"}, {"Night": "night"}))
    assert moved.fields == {"camera id": "CameraId", "Camera Id": "CameraId", "x": "X"}
    # The lake went back to our spelling of the tag: nothing is left to respell but its own former one.
    assert moved.tags == {"Night": "night"}


@pytest.mark.parametrize(
    ("answer", "renames"),
    [
        ([], {}),
        ([{"newTag": "night", "oldTag": "Night"}], {"night": "Night"}),
        ([{"newField": "a", "oldField": "A"}, {"newField": "b", "oldField": "b"}], {"a": "A"}),
        ([{"newField": "a"}, {"oldField": "A"}, "a", None, {"newField": 1, "oldField": "A"}], {}),
        ([{"newField": "a", "oldField": ""}], {}),
        ({"isSuccess": True}, {}),
        ({}, {}),
        ("fine", {}),
        (None, {}),
    ],
)
def test_responses_of_every_form_contain_the_renames(answer: object, renames: dict[str, str]) -> None:
    assert ValidateAnswer.model_validate(answer).renames() == renames


def test_details_are_returned_under_the_requested_names() -> None:
    found = {"Camera Id": 1, "split": "train", "other": 2}
    assert in_our_spelling(found, ["camera-id", "split", "missing"]) == {"camera-id": 1, "split": "train"}
    # Each keeps its own value where the lake has both.
    assert in_our_spelling({"a b": 1, "ab": 2}, ["ab", "a b"]) == {"ab": 2, "a b": 1}
    # Names without a Latin letter or digit have no normal form to meet by.
    assert in_our_spelling({"ширина": 1}, ["высота"]) == {}
    assert normal_form("Camera-Id ") == "cameraid"


def test_a_tag_in_the_spelling_of_the_lake_is_not_drift() -> None:
    ours = {TAGS: ["Blood", "new"]}
    lake = {TAGS: ["blood"]}
    assert update_to_mend({TAGS: ["Blood"]}, ours, lake, "own") == {TAGS: ["blood", "new"]}
    assert update_to_mend({TAGS: ["Blood"]}, {TAGS: ["Blood"]}, lake, "own") == {}
    assert update_to_mend({TAGS: ["Blood"]}, {TAGS: ["Blood"]}, lake, "exact") == {}
    # What was never written is sent as it is: the lake decides about its spelling.
    assert update_to_mend({}, {TAGS: ["Blood"]}, lake, "own") == {TAGS: ["blood", "Blood"]}
    # Another client's tag of the same form does not stand for one that the lake has as it was written.
    both = {TAGS: ["Blood", "blood"]}
    assert update_to_mend({TAGS: ["Blood"]}, {TAGS: ["Blood"]}, both, "own") == {}
