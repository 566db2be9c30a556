"""HTTP in the event loop over real ports: unusual servers, and what the client requests of them."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeVar

import pycurl
import pytest

from metalake_sync.errors import LakeAnswerInvalid, LakeUnreachable
from metalake_sync.redaction import describe
from metalake_sync.remote.address import LakeAddress, Trust
from metalake_sync.remote.http.async_http import Answer, AsyncHttp, to_ascii
from metalake_sync.remote.http.bodies import HELD_BYTES, WholeAnswer
from metalake_sync.remote.http.curl_loop import AddressUnusable, HttpBroken
from metalake_sync.remote.retry import RetryPolicy
from tests.remote.bare_server import Line, serve
from tests.remote.both_clients import API_KEY, SECRET, Store, call_async

GivenT = TypeVar("GivenT")
PROXIES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in PROXIES:
        monkeypatch.delenv(variable, raising=False)


def with_http(do: Callable[[AsyncHttp], Awaitable[GivenT]]) -> GivenT:
    async def run() -> GivenT:
        async with asyncio.timeout(20), AsyncHttp(connections=4, ca_file=None) as http:
            return await do(http)

    return asyncio.run(run())


def ask(url: str, body: bytes = b"x") -> Answer:
    return with_http(lambda http: http.ask("POST", url, ["X-A: b"], body, within_s=10, most_bytes=1 << 20))


async def in_pieces(*pieces: bytes) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        yield piece


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "it closed the connection"),
        (b"garbage\r\n\r\n", "its answer is not http"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "it closed the connection"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc", "it closed the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", "its answer is not http"),
    ],
)
def test_an_incomplete_answer_is_described_without_an_address(said: bytes, reason: str) -> None:
    with serve(lambda line: line.say(said)) as server:
        with pytest.raises(HttpBroken) as caught:
            ask(server.url + "/x?sig=1")
        assert describe(caught.value) == reason
        assert "sig" not in repr(caught.value) + repr(caught.value.__cause__)


def test_a_failed_connection_is_described_by_the_systems_message() -> None:
    with serve(lambda line: None) as server:
        url = server.url
    with pytest.raises(HttpBroken) as caught:
        ask(url)
    assert describe(caught.value) == "connection refused"
    with pytest.raises(HttpBroken) as caught:
        ask("http://nobody.invalid/")
    assert describe(caught.value) == "name or service not known"


def test_interim_responses_are_ignored() -> None:
    said = (
        b"HTTP/1.1 103 Early Hints\r\nEtag: early\r\n\r\nHTTP/1.1 200 OK\r\nEtag: late\r\nContent-Length: 2\r\n\r\nok"
    )
    with serve(lambda line: line.say(said)) as server:
        answer = ask(server.url)
        assert (answer.status, answer.header("etag"), answer.body) == (200, "late", b"ok")

        async def get(http: AsyncHttp) -> tuple[int, str, bytes]:
            async with http.get(server.url, []) as incoming:
                body = b"".join([chunk async for chunk in incoming.chunks(100)])
                return incoming.status, incoming.headers["etag"], body

        assert with_http(get) == (200, "late", b"ok")


@pytest.mark.parametrize(
    ("first", "rest"),
    [
        (b"HTTP/1.1 200 OK", b"HTTP/odd: x\r\nEtag: head\r\nContent-Length: 2\r\n\r\nok"),
        (b"HTTP/1.1\t200 OK", b"Etag: head\r\nContent-Length: 2\r\n\r\nok"),
        (b"HTTP/1.1 103 Early: hints\r\nX: y\r\n\r\nHTTP/1.1 200 OK", b"Etag: head\r\nContent-Length: 2\r\n\r\nok"),
        (b"HTTP/1.1 200 OK", b"Etag: head\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nEtag: late\r\n\r\n"),
    ],
    ids=["a name like a status", "a tab", "a colon in a reason", "a trailer"],
)
def test_an_unusual_head_is_read_and_trailers_are_ignored(first: bytes, rest: bytes) -> None:
    with serve(lambda line: line.say(first + b"\r\n" + rest)) as server:
        answer = ask(server.url)
        assert (answer.status, answer.header("etag"), answer.header("x"), answer.body) == (200, "head", None, b"ok")

        async def get(http: AsyncHttp) -> tuple[int, dict[str, str], bytes]:
            async with http.get(server.url, []) as incoming:
                body = b"".join([chunk async for chunk in incoming.chunks(100)])
                return incoming.status, incoming.headers, body

        status, headers, body = with_http(get)
    assert (status, headers["etag"], headers.get("x"), body) == (200, "head", None, b"ok")


def test_a_header_value_with_other_letters_is_returned_unchanged() -> None:
    with serve(lambda line: line.answer(200, ETag='"\u00e4"')) as server:

        async def twice(http: AsyncHttp) -> str:
            async with http.get(server.url, []) as incoming:
                etag = incoming.headers["etag"]
            async with http.get(server.url, [f"If-Range: {etag}"]):
                return etag

        etag = with_http(twice)
        assert server.asked[1].headers["if-range"] == etag


def test_an_idle_connection_does_not_keep_the_last_answer_in_memory() -> None:
    with serve(lambda line: line.answer(200, b"y" * 1000)) as server:

        async def once(http: AsyncHttp) -> int:
            answer = await http.ask("PUT", server.url, [], b"x", within_s=10, most_bytes=1000)
            assert answer.body == b"y" * 1000
            return sum(isinstance(kept, WholeAnswer) and kept.body == answer.body for kept in gc.get_objects())

        assert with_http(once) == 0


def test_a_connection_is_reused_and_a_closed_one_is_replaced() -> None:
    with serve(lambda line: line.say(b"HTTP/1.1 204 No Content\r\n\r\n")) as server:

        async def twice(http: AsyncHttp) -> list[int]:
            statuses = []
            for _ in range(2):
                answer = await http.ask("PUT", server.url, [], b"x", within_s=10, most_bytes=10)
                statuses.append(answer.status)
                await asyncio.sleep(0.1)
            return statuses

        # This server promises to keep connections, but closes them.
        assert with_http(twice) == [204, 204]
        assert server.connections == 2


@pytest.mark.parametrize("sizes", [(), (1,), (5, 0, 7), (1 << 20, 3, 1 << 19)])
@pytest.mark.parametrize("told", [True, False])
def test_pieces_arrive_in_order(sizes: tuple[int, ...], told: bool) -> None:
    pieces = [bytes([65 + number]) * size for number, size in enumerate(sizes)]
    got: list[bytes] = []

    def read(line: Line) -> None:
        if told:
            line.read_all()
        else:
            while not line.body.endswith(b"0\r\n\r\n"):
                line.read(1 << 16)
        got.append(line.body)
        line.answer(200)

    with serve(read) as server:
        size = sum(sizes) if told else -1
        answer = with_http(lambda http: http.send("PUT", server.url, [], in_pieces(*pieces), size, most_bytes=10))
        assert answer.status == 200
        assert "expect" not in server.asked[0].headers
    if told:
        assert got == [b"".join(pieces)]
    else:
        assert server.asked[0].headers["transfer-encoding"] == "chunked"


def test_an_error_of_a_body_is_raised_and_ends_the_request() -> None:
    ended: list[bool] = []

    async def broken() -> AsyncGenerator[bytes, None]:
        yield b"x" * 10
        raise LookupError("the disk")

    with serve(lambda line: ended.append([line.read(100) for _ in range(2)][-1] == b"")) as server:
        with pytest.raises(LookupError, match="the disk"):
            with_http(lambda http: http.send("PUT", server.url, [], broken(), 100, most_bytes=10))
        until = time.monotonic() + 5
        while not ended and time.monotonic() < until:
            time.sleep(0.01)
    assert ended == [True]


def test_a_server_can_answer_before_the_whole_body_was_sent() -> None:
    async def endless() -> AsyncGenerator[bytes, None]:
        while True:
            yield b"x" * 1000
            await asyncio.sleep(0.01)

    with serve(lambda line: line.answer(403)) as server:
        answer = with_http(lambda http: http.send("PUT", server.url, [], endless(), 1 << 30, most_bytes=10))
    assert answer.status == 403


def test_a_sender_waits_for_a_slow_reader() -> None:
    size = 64 << 20
    sent = 0

    def much(line: Line) -> None:
        nonlocal sent
        line.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(64):
            line.say(bytes(1 << 20))
            sent += 1 << 20

    with serve(much) as server:

        async def read(http: AsyncHttp) -> tuple[int, int]:
            async with http.get(server.url, []) as incoming:
                await asyncio.sleep(0.5)
                held = sent
                read = 0
                async for chunk in incoming.chunks(100_000):
                    assert len(chunk) <= 100_000
                    read += len(chunk)
                return held, read

        held, read_bytes = with_http(read)
    assert read_bytes == size
    # In addition to our buffer, the system has buffers.
    assert held < HELD_BYTES + (16 << 20)


def test_a_later_timer_is_kept_after_an_earlier_one() -> None:
    def slow_or_not(line: Line) -> None:
        if line.asked.target == "/slow":
            time.sleep(5)
        line.answer(200)

    with serve(slow_or_not) as server:

        def begin(http: AsyncHttp, target: str, within_ms: int) -> asyncio.Future[None]:
            # A bare handle, because other options with a time would set the timer again.
            curl = pycurl.Curl()
            curl.setopt(pycurl.URL, server.url + target)
            curl.setopt(pycurl.TIMEOUT_MS, within_ms)
            curl.setopt(pycurl.WRITEFUNCTION, lambda data: None)
            return http._multi.perform(curl)

        async def both(http: AsyncHttp) -> None:
            slow = begin(http, "/slow", 1000)
            await begin(http, "/", 300)
            async with asyncio.timeout(3):
                await slow

        with pytest.raises(HttpBroken) as caught:
            with_http(both)
    assert describe(caught.value) == "timeout"


def test_an_early_answer_counts_while_the_next_piece_is_read() -> None:
    async def slow() -> AsyncGenerator[bytes, None]:
        yield b"x" * 10
        await asyncio.sleep(0.3)
        yield b"x" * 10

    with serve(lambda line: line.answer(403)) as server:
        answer = with_http(lambda http: http.send("PUT", server.url, [], slow(), 1 << 20, most_bytes=10))
    assert answer.status == 403


def test_a_break_while_the_sender_waits_is_raised_after_the_received_bytes() -> None:
    size = 64 << 20

    def much(line: Line) -> None:
        line.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(4 << 20))

    with serve(much) as server:

        async def read(http: AsyncHttp) -> int:
            read = 0
            async with http.get(server.url, []) as incoming:
                await asyncio.sleep(0.3)
                with pytest.raises(HttpBroken):
                    async for chunk in incoming.chunks(1 << 20):
                        read += len(chunk)
            return read

        assert with_http(read) == 4 << 20


def test_a_cancelled_call_leaves_no_tasks() -> None:
    with serve(lambda line: time.sleep(0.3)) as server:

        async def cancelled(http: AsyncHttp) -> int:
            calls = [
                asyncio.ensure_future(http.ask("PUT", server.url, [], b"x", within_s=10, most_bytes=10)),
                asyncio.ensure_future(http.send("PUT", server.url, [], in_pieces(b"x"), 9, most_bytes=10)),
            ]
            await asyncio.sleep(0.1)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            return len(asyncio.all_tasks())

        assert with_http(cancelled) == 1


@pytest.mark.parametrize(
    ("url", "ascii_url"),
    [
        ("http://localhost/ä b?x=ü&y=%2F", "http://localhost/%C3%A4%20b?x=%C3%BC&y=%2F"),
        ("https://bücher.example:8443/o", "https://xn--bcher-kva.example:8443/o"),
    ],
)
def test_a_url_with_other_letters_is_sent_as_ascii(url: str, ascii_url: str) -> None:
    assert to_ascii(url) == ascii_url


@pytest.mark.parametrize("proxy", ["", "http://proxy.example"])
def test_a_malformed_url_is_reported(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    for url in ("http://ü..example/", "http://[::g]/", "http://"):
        with pytest.raises(AddressUnusable):
            ask(url)


def test_a_signed_url_is_sent_unchanged() -> None:
    with serve(lambda line: line.answer(200)) as server:
        ask(server.url + "/a/../b%2Fc/./d?sig=a%2Bb+c%3d&x=;'()")
        assert server.asked[0].target == "/a/../b%2Fc/./d?sig=a%2Bb+c%3d&x=;'()"


def test_a_proxy_of_the_environment_is_used_unless_no_proxy_has_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    address = LakeAddress("http://lake.invalid", API_KEY, SECRET, Trust(allow_insecure=True, allow_local_store=True))
    impatient = RetryPolicy(give_up_after_s=0)

    def answer(line: Line) -> None:
        line.read_all()
        line.answer(200, b'{"isSuccess": true}')

    with serve(answer) as proxy, serve(answer) as direct:
        monkeypatch.setenv("http_proxy", proxy.url)
        call_async(address, impatient)
        Store(address, impatient).put("http://store.invalid/o?sig=1", b"x")
        assert [asked.target.partition("/datalake")[0] for asked in proxy.asked] == [
            "http://lake.invalid",
            "http://store.invalid/o?sig=1",
        ]
        # Requests to this machine use no proxy.
        Store(address, impatient).put(direct.url + "/o", b"x")
        assert (len(proxy.asked), len(direct.asked)) == (2, 1)
        monkeypatch.setenv("no_proxy", "other.example store.invalid:80")
        with pytest.raises(LakeUnreachable):
            Store(address, impatient).put("http://store.invalid/o?sig=1", b"x")
        assert len(proxy.asked) == 2


def test_a_proxy_gets_a_connect_request_without_credentials_of_the_lake(monkeypatch: pytest.MonkeyPatch) -> None:
    address = LakeAddress("https://lake.invalid", API_KEY, SECRET)
    with serve(lambda line: line.answer(403)) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        store: Any = Store(address, RetryPolicy(give_up_after_s=0))
        with pytest.raises(Exception, match="the store could not be reached") as caught:
            store.put("https://store.invalid/o?sig=1", b"x")
        assert not isinstance(caught.value, LakeAnswerInvalid)
        (asked,) = proxy.asked
        assert (asked.method, asked.target) == ("CONNECT", "store.invalid:443")
        assert "authorization" not in asked.headers
