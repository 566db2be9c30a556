"""Pauses between attempts, Retry-After, redaction, and checks of a lake's address."""

from __future__ import annotations

import base64
import errno
import os
from datetime import UTC, datetime

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from metalake_sync.errors import UsageError
from metalake_sync.redaction import describe, redact
from metalake_sync.remote.address import LakeAddress, Trust
from metalake_sync.remote.classify import RETRY_AFTER_LIMIT_S, Retry, Server, parse_retry_after
from metalake_sync.remote.retry import Clock, RetryPolicy, RetryState, delay_s

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
POLICY = RetryPolicy(base_s=0.25, cap_s=30)


@given(attempt=st.integers(1, 10_000), chance=st.floats(0, 1), asked=st.none() | st.floats(0, 600))
def test_a_pause_is_within_its_range_and_never_shorter_than_asked(
    attempt: int, chance: float, asked: float | None
) -> None:
    pause = delay_s(attempt, POLICY, chance, asked)
    assert pause >= (asked or 0)
    assert pause <= max(POLICY.cap_s, asked or 0)


def test_pauses_double_up_to_their_cap() -> None:
    assert [delay_s(attempt, POLICY, 1.0, None) for attempt in (1, 2, 3, 8, 9)] == [0.25, 0.5, 1.0, 30, 30]


def test_only_a_call_that_keeps_failing_is_reported() -> None:
    reported: list[str] = []
    now_s = 0.0
    policy = RetryPolicy(give_up_after_s=60, waiting=reported.append)
    tries = RetryState(
        policy, Clock(now_s=lambda: now_s, unit_random=lambda: 1.0), Server("the lake", "https://a.example")
    )
    for _ in range(4):
        now_s += tries.pause_s(Retry("connection refused"))
    assert (now_s, reported) == (3.75, [])
    now_s += tries.pause_s(Retry("it answered 503"))
    assert reported == ["https://a.example: the lake cannot be reached (it answered 503); retrying for another 56 s"]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        ("0.5", 0.5),
        ("-3", 0),
        ("Sat, 31 Jan 2026 12:01:00 GMT", 60),
        ("Sat, 31 Jan 2026 11:00:00 GMT", 0),
        ("soon", None),
        ("", None),
        ("inf", None),
        ("-inf", None),
        ("nan", None),
        ("1e400", None),
        ("86400", RETRY_AFTER_LIMIT_S),
        ("1e300", RETRY_AFTER_LIMIT_S),
        ("Fri, 31 Dec 9999 23:59:59 GMT", RETRY_AFTER_LIMIT_S),
        ("Sat, 99 Jan 2026 12:00:00 GMT", None),
        (None, None),
    ],
)
def test_both_forms_of_retry_after_are_accepted(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header, NOW) == seconds


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("PUT https://s3/b/k?X-Amz-Signature=abc&x=1 failed", "PUT https://s3/b/k?… failed"),
        ("Authorization: Basic a2V5OnNlY3JldA==", "Authorization: Basic …"),
        ("https://user:pass@host/x", "https://host/x"),
        ("nothing to hide?", "nothing to hide?"),
    ],
)
def test_signatures_and_secrets_are_removed_from_texts(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_a_library_error_is_described_without_its_address() -> None:
    refused = requests.exceptions.ConnectionError("HTTPSConnectionPool(host='h'): /x?signature=abc")
    refused.__cause__ = OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    assert describe(refused) == "connection refused"
    assert describe(requests.exceptions.ReadTimeout("https://h/x?signature=abc")) == "read timeout"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("lake.dev", "is not a URL"),
        ("ftp://lake.dev", "is not a URL"),
        ("https://key:secret@lake.dev", "contains credentials or a query"),
        ("https://lake.dev?key=1", "contains credentials or a query"),
        ("http://lake.dev", "over plain HTTP"),
        ("http://127.0.0.1.evil.dev", "over plain HTTP"),
    ],
)
def test_an_address_that_would_expose_credentials_is_rejected(url: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        LakeAddress(url, "key", "secret")


@pytest.mark.parametrize("url", ["http://lake.dev", "http://10.0.0.7:3000", "http://lake.internal/base"])
def test_plain_http_to_another_machine_is_accepted_if_it_is_allowed(url: str) -> None:
    assert LakeAddress(url, "key", "secret", Trust(allow_insecure=True)).url == url


@given(value=st.text(max_size=40))
def test_retry_after_is_always_bounded_seconds_or_none(value: str) -> None:
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or 0 <= seconds <= RETRY_AFTER_LIMIT_S


def test_credentials_are_not_in_the_repr() -> None:
    address = LakeAddress("http://localhost:1/", "my_key", "my_secret")
    assert "my_" not in repr(address)
    assert address.url == "http://localhost:1"
    assert address.authorization == "Basic " + base64.b64encode(b"my_key:my_secret").decode()
