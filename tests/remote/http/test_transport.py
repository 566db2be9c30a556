"""Trusted servers, where credentials go, and limits of answers: over real ports, with both HTTP libraries."""

from __future__ import annotations

import asyncio
import gzip
import os
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from metalake_sync.errors import ExitCode, LakeAnswerInvalid, LakeUnreachable, UsageError
from metalake_sync.protocol import routes
from metalake_sync.protocol.items import ValidateTags
from metalake_sync.remote.address import LakeAddress, Trust
from metalake_sync.remote.async_calls import AsyncCalls, StoreFailure
from metalake_sync.remote.content_proof import hash_of_object
from metalake_sync.remote.http import limits
from metalake_sync.remote.http.environment import BUNDLE_VARIABLES, _context, tls_context
from metalake_sync.remote.pacing import Pace
from metalake_sync.remote.request_counter import RequestCounter
from metalake_sync.remote.retry import RetryPolicy, WaitForTurn
from tests.remote.bare_server import Line, serve
from tests.remote.both_clients import API_KEY, BOTH, SECRET, Call, Store, call_sync

PATIENT = RetryPolicy(give_up_after_s=600, base_s=0.01)
IMPATIENT = RetryPolicy(give_up_after_s=0)
ANY_SIZE = 1 << 30


def lake_at(url: str, ca_file: Path | None = None) -> LakeAddress:
    """A lake that may use stores on this machine, where the servers of these tests run."""
    return LakeAddress(url, API_KEY, SECRET, Trust(str(ca_file) if ca_file else None, allow_local_store=True))


def good(line: Line) -> None:
    line.read_all()
    line.answer(200, b'{"isSuccess": true}', ETag='"e"')


@pytest.fixture(autouse=True)
def no_bundles(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in BUNDLE_VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(ca: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return path


def served_by(ca: trustme.CA, host: str = "127.0.0.1", expires: datetime | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(host, not_after=expires).configure_cert(context)
    return context


# TLS.


@pytest.mark.parametrize("call", BOTH)
def test_an_unknown_ca_is_rejected_at_once_with_a_remedy(ca: trustme.CA, call: Call) -> None:
    with serve(good, served_by(ca)) as server:
        with pytest.raises(LakeUnreachable, match="certificate of the lake is not accepted") as caught:
            call(lake_at(server.url), PATIENT)
        assert server.connections == 1
    assert server.asked == []
    assert caught.value.exit_code is ExitCode.LAKE_AWAY
    assert "remote.ca_file" in str(caught.value)


@pytest.mark.parametrize("call", BOTH)
def test_a_ca_of_the_manifest_is_trusted_for_the_lake(ca: trustme.CA, ca_file: Path, call: Call) -> None:
    with serve(good, served_by(ca)) as server:
        call(lake_at(server.url, ca_file), IMPATIENT)


@pytest.mark.parametrize("call", BOTH)
@pytest.mark.parametrize("variable", BUNDLE_VARIABLES)
def test_a_ca_of_the_environment_is_trusted(
    ca: trustme.CA, ca_file: Path, call: Call, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(ca_file))
    with serve(good, served_by(ca)) as server:
        call(lake_at(server.url), IMPATIENT)


def hash_of_ca(ca_file: Path) -> str:
    """Return the name under which OpenSSL looks for a CA in a folder."""
    asked = ["openssl", "x509", "-hash", "-noout", "-in", str(ca_file)]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
@pytest.mark.parametrize("hashed", [True, False])
def test_both_clients_trust_the_same_files_of_a_folder(
    ca: trustme.CA, ca_file: Path, tmp_path: Path, variable: str, hashed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cas"
    folder.mkdir()
    shutil.copy(ca_file, folder / (f"{hash_of_ca(ca_file)}.0" if hashed else "retired.pem"))
    # OpenSSL accepts a list of folders here, and ignores missing ones.
    places = f"{tmp_path / 'nowhere'}{os.pathsep}{folder}" if variable == "SSL_CERT_DIR" else str(folder)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.setenv(variable, places)
    _context.cache_clear()
    try:
        with serve(good, served_by(ca)) as server:
            for call in BOTH:
                if hashed:
                    call(lake_at(server.url), IMPATIENT)
                else:
                    with pytest.raises(LakeUnreachable, match="not accepted"):
                        call(lake_at(server.url), IMPATIENT)
    finally:
        _context.cache_clear()


def test_cas_of_the_environment_replace_the_systems_and_those_of_the_manifest_are_added(
    ca_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usual = len(tls_context(None).get_ca_certs())
    assert len(tls_context(str(ca_file)).get_ca_certs()) == usual + 1
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    monkeypatch.setenv("SSL_CERT_FILE", str(other))
    assert len(tls_context(None).get_ca_certs()) == 1
    assert len(tls_context(str(ca_file)).get_ca_certs()) == 2


@pytest.mark.parametrize("call", BOTH)
@pytest.mark.parametrize("fault", ["another host", "expired"])
def test_a_trusted_ca_does_not_excuse_a_wrong_name_or_an_expired_certificate(
    ca: trustme.CA, ca_file: Path, call: Call, fault: str
) -> None:
    host = "lake.example" if fault == "another host" else "127.0.0.1"
    expires = datetime.now(UTC) - timedelta(days=1) if fault == "expired" else None
    with (
        serve(good, served_by(ca, host, expires)) as server,
        pytest.raises(LakeUnreachable, match="not accepted"),
    ):
        call(lake_at(server.url, ca_file), PATIENT)


def test_certificates_of_stores_are_verified_like_those_of_the_lake(ca: trustme.CA, ca_file: Path) -> None:
    with serve(good, served_by(ca)) as server:
        trusting = Store(lake_at("https://lake.example", ca_file), IMPATIENT)
        assert trusting.put(server.url + "/o?sig=1", b"x").status == 200
        assert trusting.get(server.url + "/o?sig=1")[0] == 200
        assert hash_of_object(server.url + "/o", trusting.address, ANY_SIZE)[1] is not None
        strict = Store(lake_at("https://lake.example"), PATIENT)
        asked = len(server.asked)
        for refused in (lambda: strict.put(server.url + "/o?sig=1", b"x"), lambda: strict.get(server.url + "/o?sig=1")):
            with pytest.raises(LakeUnreachable, match="certificate of the store is not accepted") as caught:
                refused()
            assert "sig=" not in str(caught.value)
        assert hash_of_object(server.url + "/o", strict.address, ANY_SIZE)[1] is None
        assert len(server.asked) == asked


@pytest.mark.parametrize("call", BOTH)
def test_a_server_without_tls_fails_at_once(call: Call) -> None:
    with (
        serve(good) as server,
        pytest.raises(LakeUnreachable, match="does not support a secure TLS version"),
    ):
        call(lake_at(server.url.replace("http:", "https:")), PATIENT)


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_an_unusable_ca_file_is_a_usage_error(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match="the CAs of 'remote.ca_file' cannot be used"):
        tls_context(str(path))


@pytest.mark.parametrize("size", [len(b'{"isSuccess": true}') - 1, 3])
def test_an_object_is_not_read_beyond_its_size(size: int) -> None:
    with serve(good) as server:
        _, content_hash, trouble = hash_of_object(server.url + "/o", lake_at(server.url), size)
    assert content_hash is None
    assert trouble == f"the store sends more than {size} bytes"


# Where credentials go.


@pytest.mark.parametrize("call", BOTH)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_of_a_lake_is_not_followed(call: Call, status: int) -> None:
    with serve(good) as elsewhere:

        def redirect(line: Line) -> None:
            line.read_all()
            line.answer(status, Location=elsewhere.url + "/stolen")

        with serve(redirect) as lake:
            with pytest.raises(LakeAnswerInvalid, match="redirects to another address"):
                call(lake_at(lake.url), PATIENT)
            assert len(lake.asked) == 1
            assert lake.asked[0].headers["authorization"].startswith("Basic ")
    assert elsewhere.connections == 0


@pytest.mark.parametrize("status", [301, 302, 307])
def test_a_redirect_of_a_store_is_not_followed_and_gets_no_credentials(status: int) -> None:
    with serve(good) as elsewhere:

        def redirect(line: Line) -> None:
            line.read_all()
            line.answer(status, Location=elsewhere.url + "/o")

        with serve(redirect) as server:
            store = Store(lake_at("https://lake.example"), IMPATIENT)
            assert store.put(server.url + "/o", b"x").status == status
            assert store.get(server.url + "/o")[0] == status
            assert hash_of_object(server.url + "/o", store.address, ANY_SIZE) == (
                0,
                None,
                f"the store answered {status}",
            )
            assert [
                name for asked in server.asked for name in asked.headers if name in ("authorization", "cookie")
            ] == []
    assert elsewhere.connections == 0


def test_signed_urls_at_the_lakes_origin_get_no_credentials() -> None:
    with serve(good) as lake:
        store = Store(lake_at(lake.url), IMPATIENT)
        store.put(lake.url + "/o?sig=1", b"x")
        store.get(lake.url + "/o?sig=1")
        hash_of_object(lake.url + "/o?sig=1", store.address, ANY_SIZE)
        assert len(lake.asked) == 3
        assert all("authorization" not in asked.headers for asked in lake.asked)


def test_a_netrc_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login thief password thief\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    with serve(good) as server:
        store = Store(lake_at(server.url), IMPATIENT)
        store.put(server.url + "/o", b"x")
        store.get(server.url + "/o")
        hash_of_object(server.url + "/o", store.address, ANY_SIZE)
        assert all("authorization" not in asked.headers for asked in server.asked)


@pytest.mark.parametrize(
    "url",
    ["http://store.example/o?sig=1", "h\tttp://store.example/o?sig=1", "file:///etc/passwd", "//x/o", "http://[", ""],
)
def test_an_insecure_or_malformed_store_url_is_not_used(url: str) -> None:
    store = Store(lake_at("https://lake.example"), PATIENT)
    with pytest.raises(LakeAnswerInvalid) as put:
        store.put(url, b"x")
    with pytest.raises(LakeAnswerInvalid) as got:
        store.get(url)
    assert "sig=" not in str(put.value) + str(got.value)


# Limits in size and time.


@pytest.mark.parametrize("call", BOTH)
@pytest.mark.parametrize("kind", ["plain", "chunked", "unpacked"])
def test_an_endless_answer_is_aborted(call: Call, kind: str) -> None:
    def endless(line: Line) -> None:
        line.read_all()
        if kind == "plain":
            line.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n[")
            while True:
                line.say(b"1," * (1 << 19))
        if kind == "chunked":
            line.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                line.say(b"100000\r\n" + b"1," * (1 << 19) + b"\r\n")
        # 100 MiB that are compressed to 100 KiB.
        line.answer(200, gzip.compress(bytes(100 << 20)), Content_Encoding="gzip")

    with serve(endless) as server, pytest.raises(LakeAnswerInvalid, match="is larger than 64 MiB"):
        call(lake_at(server.url), PATIENT)


def drip(line: Line, head: bytes, until: float) -> None:
    """Send a byte at intervals, for at most this many seconds."""
    line.say(head)
    ends = time.monotonic() + until
    while time.monotonic() < ends:
        line.say(b" ")
        time.sleep(0.02)


@pytest.mark.parametrize("call", BOTH)
@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Long: "])
def test_an_answer_that_arrives_too_slowly_is_aborted(call: Call, head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ANSWER_TIME_S", 0.3)
    with (
        serve(lambda line: drip(line, head, 20)) as server,
        pytest.raises(LakeUnreachable, match=r"the lake could not be reached \(timeout\)"),
    ):
        call(lake_at(server.url), IMPATIENT)


def test_a_file_that_arrives_too_slowly_is_aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STALL_S", 0.3)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
    with serve(lambda line: drip(line, head, 20)) as server, pytest.raises(StoreFailure):
        Store(lake_at("https://lake.example"), IMPATIENT).get(server.url + "/o")


@pytest.mark.parametrize("whole", [True, False])
def test_a_stalled_upload_is_aborted(monkeypatch: pytest.MonkeyPatch, whole: bool) -> None:
    monkeypatch.setattr(limits, "STALL_S", 0.3)
    monkeypatch.setattr(limits, "SLOWEST_BYTES_S", 1e9)

    async def body() -> AsyncGenerator[bytes, None]:
        for _ in range(64):
            yield bytes(1 << 20)

    over = threading.Event()
    with serve(lambda line: over.wait(20) or None) as server:
        try:
            with pytest.raises(LakeUnreachable, match=r"the store could not be reached \(timeout\)"):
                Store(lake_at("https://lake.example"), IMPATIENT).put(
                    server.url + "/o", bytes(1 << 20) if whole else body
                )
        finally:
            over.set()


def test_a_slow_upload_that_moves_is_not_aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STALL_S", 0.5)
    size = 16 << 20

    def slow(line: Line) -> None:
        # Ten times as long as the stall limit, without a pause that reaches it.
        step = size // 50
        while len(line.body) < size:
            want = min(size, len(line.body) + step)
            while len(line.body) < want and line.read(1 << 16):
                pass
            time.sleep(0.03)
        line.answer(200, ETag='"e"')

    async def body() -> AsyncGenerator[bytes, None]:
        for _ in range(16):
            yield bytes(1 << 20)

    with serve(slow) as server:
        store = Store(lake_at("https://lake.example"), IMPATIENT)
        assert store.put(server.url + "/o", body).status == 200
        assert len(server.asked) == 1


def test_a_pause_on_our_side_is_not_a_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STALL_S", 0.2)

    async def body() -> AsyncGenerator[bytes, None]:
        for _ in range(3):
            yield b"x" * 1000
            await asyncio.sleep(0.4)

    with serve(good) as server:
        assert Store(lake_at("https://lake.example"), IMPATIENT).put(server.url + "/o", body).status == 200


def test_a_large_page_of_a_call_may_take_longer_than_a_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metalake_sync.remote.http.sync_http.TIMEOUTS_S", (0.3, 5.0))
    monkeypatch.setattr("metalake_sync.remote.http.limits.STALL_S", 5.0)
    page = {"tags": ["x" * 1000] * 16_000}

    def slow(line: Line) -> None:
        length = int(line.asked.headers["content-length"])
        while len(line.body) < length and line.read(1 << 20):
            time.sleep(0.05)
        good(line)

    with serve(slow) as server:
        call_sync(lake_at(server.url), IMPATIENT, page)
        assert len(server.asked) == 1


# What the concurrency controller of uploads receives.


def test_a_wait_for_the_lakes_rate_does_not_count_as_a_slow_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    took: list[float] = []

    async def calls(url: str, count: int) -> None:
        async with AsyncCalls(
            lake_at(url), retry=PATIENT, connections=2, counter=RequestCounter(), on_answer=took.append
        ) as client:
            for _ in range(count):
                await client.call(routes.VALIDATE_TAGS, ValidateTags(tags=["a"]))

    with serve(good) as server:
        asyncio.run(calls(server.url, 20))
        assert took
        took.clear()
        monkeypatch.setattr(Pace, "free", False)
        monkeypatch.setattr(WaitForTurn, "pauses", lambda _: iter([0.01]))
        asyncio.run(calls(server.url, 5))
        assert not took
