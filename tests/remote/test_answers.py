"""What a status and a body mean, for both clients alike."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metalake_sync.errors import CredentialsRejected, LakeAnswerInvalid, LakeRejected, SyncError
from metalake_sync.protocol import routes
from metalake_sync.remote.answers import MESSAGE_LIMIT, read_answer


def test_a_valid_answer_is_returned() -> None:
    answer = read_answer(routes.COLLECTION_BY_NAME, 200, b'{"isSuccess": true, "collectionId": "c1", "newer": 1}')
    assert answer is not None
    assert answer.collection_id == "c1"


@pytest.mark.parametrize(("status", "body"), [(204, b""), (200, b""), (200, b" \n")])
def test_an_empty_answer_is_none(status: int, body: bytes) -> None:
    assert read_answer(routes.COLLECTION_BY_NAME, status, body) is None


@pytest.mark.parametrize("status", [401, 403])
def test_rejected_credentials_concern_the_whole_run(status: int) -> None:
    with pytest.raises(CredentialsRejected):
        read_answer(routes.LIST_ITEMS, status, b"")


def test_a_rejection_has_the_lakes_message_shortened_and_redacted() -> None:
    message = "no: https://s3/x?signature=abc " + "y" * 1000
    body = json.dumps({"error": {"statusCode": 406, "message": message}}).encode()
    with pytest.raises(LakeRejected) as caught:
        read_answer(routes.VALIDATE_TAGS, 406, body)
    assert caught.value.status == 406
    assert caught.value.message.startswith("no: https://s3/x?… yyy")
    assert len(caught.value.message) <= MESSAGE_LIMIT


def test_a_lake_may_reject_a_call_with_status_200() -> None:
    with pytest.raises(LakeRejected, match="nothing matches") as caught:
        read_answer(routes.SELECT_ITEMS, 200, b'{"isSuccess": false, "warningMsg": "nothing matches"}')
    assert caught.value.status == 200


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>", "not JSON"),
        (b'{"collectionId": [1]}', "collectionId: input should be a valid string"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xfe", "not JSON"),
    ],
)
def test_an_invalid_answer_is_reported_with_its_first_fault(body: bytes, words: str) -> None:
    with pytest.raises(LakeAnswerInvalid, match=words):
        read_answer(routes.COLLECTION_BY_NAME, 200, body)


def test_a_redirect_is_never_followed() -> None:
    with pytest.raises(LakeAnswerInvalid, match="redirects to another address"):
        read_answer(routes.LIST_ITEMS, 302, b"")


@given(status=st.integers(200, 599), body=st.binary(max_size=200))
def test_any_response_is_an_answer_or_a_known_error(status: int, body: bytes) -> None:
    with contextlib.suppress(SyncError):
        answer = read_answer(routes.OPEN_UPLOAD, status, body)
        assert answer is None or answer.upload_id
