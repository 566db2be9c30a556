"""How answers and broken connections are classified, for both clients."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from metalake_sync.errors import CredentialsRejected, ExitCode, LakeAnswerInvalid, LakeRejected, LakeUnreachable
from metalake_sync.protocol import routes
from metalake_sync.remote.classify import (
    Done,
    Fail,
    RawResponse,
    Retry,
    Server,
    classify_failure,
    classify_response,
    classify_status,
)
from metalake_sync.remote.http.curl_loop import AddressUnusable, HttpBroken
from metalake_sync.remote.retry import INVALID_ANSWERS_LIMIT, Clock, RetryPolicy, RetryState

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
LAKE = Server("the lake", "https://lake.dev")
GOOD = b'{"isSuccess": true, "collectionId": "c1"}'


def classified(status: int, body: bytes = b"", retry_after: str | None = None) -> Any:
    return classify_response(routes.COLLECTION_BY_NAME, RawResponse(status, body, retry_after), NOW)


@pytest.mark.parametrize(
    ("status", "retry_after", "again"),
    [
        (408, None, Retry("it answered 408")),
        (425, None, Retry("it answered 425")),
        (429, "3", Retry("it answered 429", 3, slow_down=True)),
        (429, "never", Retry("it answered 429", None, slow_down=True)),
        (500, None, Retry("it answered 500")),
        (502, "7", Retry("it answered 502", 7)),
        (503, None, Retry("it answered 503", None, slow_down=True)),
        (504, None, Retry("it answered 504")),
        (200, "3", None),
        (308, None, None),
        (403, None, None),
        (501, None, None),
    ],
)
def test_the_status_determines_whether_another_attempt_may_succeed(
    status: int, retry_after: str | None, again: Retry | None
) -> None:
    assert classify_status(status, retry_after, NOW) == again
    if again is not None:
        assert classified(status, GOOD, retry_after) == again


def test_a_valid_answer_and_an_empty_one_are_done() -> None:
    outcome = classified(200, GOOD)
    assert isinstance(outcome, Done)
    assert outcome.answer.collection_id == "c1"
    assert classified(204) == Done(None)


@pytest.mark.parametrize(
    ("status", "body", "family"),
    [
        (401, b"", CredentialsRejected),
        (403, b"", CredentialsRejected),
        (404, b"", LakeRejected),
        (200, b'{"isSuccess": false, "message": "no"}', LakeRejected),
        (302, b"", LakeAnswerInvalid),
    ],
)
def test_a_final_answer_fails_with_its_error(status: int, body: bytes, family: type[Exception]) -> None:
    outcome = classified(status, body)
    assert isinstance(outcome, Fail)
    assert type(outcome.error) is family


def test_unreadable_answers_are_retried_and_then_raised() -> None:
    tries = RetryState(RetryPolicy(), Clock(now_s=lambda: 0.0, unit_random=lambda: 0.0), LAKE)
    for _ in range(INVALID_ANSWERS_LIMIT - 1):
        assert tries.pause_s(classified(200, b"<html>")) == 0
    with pytest.raises(LakeAnswerInvalid, match="not JSON"):
        tries.pause_s(classified(200, b"<html>"))


def certificate_error(words: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
    error.verify_message = words
    return error


def of_requests(cause: Exception) -> Exception:
    return requests.exceptions.SSLError(requests.packages.urllib3.exceptions.MaxRetryError(None, "/x?sig=1", cause))  # type: ignore[attr-defined]


def of_async_http(cause: Exception) -> Exception:
    error = HttpBroken()
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("library", [of_requests, of_async_http])
def test_a_rejected_certificate_fails_at_once_and_names_the_remedy(library: Any) -> None:
    outcome = classify_failure(LAKE, library(certificate_error("self-signed certificate.")))
    assert isinstance(outcome, Fail)
    assert outcome.error.exit_code is ExitCode.LAKE_AWAY
    assert str(outcome.error) == (
        "https://lake.dev: the certificate of the lake is not accepted (self-signed certificate). If your own CA "
        "signed it, name that CA: 'remote.ca_file' in the manifest, or SSL_CERT_FILE in the environment."
    )


@pytest.mark.parametrize("library", [of_requests, of_async_http])
def test_other_errors_of_tls_are_retried(library: Any) -> None:
    assert isinstance(classify_failure(LAKE, library(ssl.SSLEOFError(8, "EOF occurred"))), Retry)
    no_tls = ssl.SSLError(1, "wrong version number")
    no_tls.reason = "WRONG_VERSION_NUMBER"
    assert isinstance(classify_failure(LAKE, library(no_tls)), Fail)


@pytest.mark.parametrize(
    "error",
    [requests.exceptions.InvalidURL("https://lake..dev/?sig=1"), AddressUnusable()],
)
def test_a_malformed_address_fails_at_once(error: Exception) -> None:
    outcome = classify_failure(LAKE, error)
    assert isinstance(outcome, Fail)
    assert "not a valid URL" in str(outcome.error)
    assert "sig" not in str(outcome.error)


class Hours:
    """A clock for one call."""

    def __init__(self) -> None:
        self.now = 50.0

    def clock(self) -> Clock:
        return Clock(now_s=lambda: self.now, unit_random=lambda: 1.0)


def test_the_retry_timeout_starts_with_the_first_failure_and_its_error_says_what_happened() -> None:
    hours = Hours()
    tries = RetryState(RetryPolicy(give_up_after_s=10, base_s=4), hours.clock(), LAKE)
    # An attempt that lasted an hour before it broke does not count as an hour of failures.
    hours.now += 3600
    assert tries.pause_s(Retry("connection reset")) == 4
    hours.now += 4
    with pytest.raises(LakeUnreachable, match=r"could not be reached \(connection reset\), after 2 attempts in 4 s"):
        tries.pause_s(Retry("connection reset"))


def test_a_server_that_asks_for_more_than_the_retry_timeout_is_not_waited_for() -> None:
    tries = RetryState(RetryPolicy(give_up_after_s=60), Hours().clock(), LAKE)
    with pytest.raises(LakeUnreachable, match="asks for 90 s without calls"):
        tries.pause_s(Retry("it answered 429", 90))
    with pytest.raises(LakeUnreachable, match="asks for 90 s without calls"):
        tries.check_wait(90)
    tries.check_wait(60)
