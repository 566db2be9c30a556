"""HTTP/1.1 for the event loop on libcurl: kept connections, TLS and proxies are its, time and memory are ours.

libcurl says which sockets it waits for; they are watched together, in one epoll that the loop watches: asyncio alone
would pay for each request as much as libcurl does. Owns: handing bodies over piece by piece, both ways. Must not:
retry, follow a redirect, or know who is asked.
"""

from __future__ import annotations

import asyncio
import errno
import math
import os
import re
import select
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import pycurl

from metalake_sync.remote import limits
from metalake_sync.remote.address import USER_AGENT
from metalake_sync.remote.tls import trusted_certificates

HELD_BYTES = 1 << 20
"""So much of an answer may wait for whoever reads it; then the sender waits."""

READ_BYTES = 256 << 10
SENT_AT_ONCE_BYTES = limits.PIECE_BYTES

NOT_ASCII_SAFE = "%/?#[]@!$&'()*+,;=:~"
"""What stands in an address for itself."""

_WAITS = {
    pycurl.POLL_NONE: 0,
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}
_UNKNOWN_HOST = (pycurl.E_COULDNT_RESOLVE_HOST, pycurl.E_COULDNT_RESOLVE_PROXY)
_UNREADABLE = (pycurl.E_UNSUPPORTED_PROTOCOL, pycurl.E_FTP_WEIRD_SERVER_REPLY, pycurl.E_BAD_CONTENT_ENCODING)
_OPENSSL_REASON = re.compile(r"routines::([a-z0-9 ]+)")
_VERIFY_WORDS = re.compile(r"^SSL(?: certificate (?:problem|OpenSSL verify result))?: (.*?)(?: \(\d+\))?$")


class HttpBroken(Exception):
    """There was no whole answer. The cause is one of Python's own errors and says why; no address stands in it."""


class AddressUnusable(HttpBroken, ValueError):
    """An address is none."""


class AnswerTooLarge(Exception):
    """An answer was not read to its end."""


class Answer:
    """A whole answer. `lines`: of its head, as they came."""

    __slots__ = ("body", "lines", "status")

    def __init__(self, status: int, lines: Sequence[bytes], body: bytes) -> None:
        self.status = status
        self.lines = lines
        self.body = body

    def header(self, name: str) -> str | None:
        return self.headers().get(name)

    def headers(self) -> dict[str, str]:
        """Names are in small letters: servers spell them as they like."""
        return _headers(self.lines)


class AsyncHttp:
    """Sends requests. `connections`: how many are kept when they are idle. `ca_file`: CAs to trust besides the usual
    ones. Used as an async context manager, in one event loop."""

    def __init__(self, *, connections: int, ca_file: str | None) -> None:
        self._connections = connections
        self._ca_file = ca_file
        self._trusted: _MemoryFile | None = None
        self._proxies = getproxies()
        self._idle: list[Any] = []

    async def __aenter__(self) -> AsyncHttp:
        self._multi = _Multi(asyncio.get_running_loop(), self._connections)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._multi.close()
        for curl in self._idle:
            curl.close()
        if self._trusted is not None:
            self._trusted.close()

    async def ask(
        self, method: str, url: str, headers: Sequence[str], body: bytes | None, *, within_s: float, most_bytes: int
    ) -> Answer:
        """Send a request whose body is in memory, and read the answer. `headers`: lines. `within_s`: from now to the
        answer's last byte. Raises HttpBroken, and AnswerTooLarge past `most_bytes`, counted as it is unpacked."""
        whole = _Whole(most_bytes)
        # A handle that once had a body can't be talked out of it: those without one are new.
        curl = self._idle.pop() if self._idle and body is not None else self._new(unpacks=True)
        if body is not None:
            curl.setopt(pycurl.POSTFIELDS, body)
        curl.setopt(pycurl.CUSTOMREQUEST, method)
        curl.setopt(pycurl.TIMEOUT_MS, max(1, round(within_s * 1000)))
        curl.setopt(pycurl.LOW_SPEED_TIME, math.ceil(limits.STALL_S))
        curl.setopt(pycurl.WRITEFUNCTION, whole.take)
        curl.setopt(pycurl.HEADERFUNCTION, whole.lines.append)
        self._aim(curl, url, headers)
        again = False
        try:
            await self._multi.perform(curl)
            again = body is not None
            answer = Answer(curl.getinfo(pycurl.RESPONSE_CODE), whole.lines, bytes(whole.body))
            whole.body.clear()
            return answer
        except HttpBroken:
            if whole.too_large:
                raise AnswerTooLarge from None
            raise
        finally:
            if again:
                # It would keep the last body for as long as it is idle, as it would what came back.
                curl.setopt(pycurl.POSTFIELDS, b"")
                self._idle.append(curl)
            else:
                self._multi.drop(curl)

    async def send(
        self, method: str, url: str, headers: Sequence[str], body: AsyncIterator[bytes], size: int, *, most_bytes: int
    ) -> Answer:
        """Send a request whose body comes in pieces, and read the answer. A piece is asked for when the one before it
        was taken. `size`: of all, in bytes; -1 where nobody knows. Raises as `ask` does, and what `body` raises."""
        whole = _Whole(most_bytes)
        curl = self._new(unpacks=True)
        outgoing = _Outgoing(curl, size)
        curl.setopt(pycurl.UPLOAD, 1)
        curl.setopt(pycurl.CUSTOMREQUEST, method)
        curl.setopt(pycurl.INFILESIZE_LARGE, size)
        curl.setopt(pycurl.UPLOAD_BUFFERSIZE, SENT_AT_ONCE_BYTES)
        curl.setopt(pycurl.READFUNCTION, outgoing.give)
        curl.setopt(pycurl.WRITEFUNCTION, whole.take)
        curl.setopt(pycurl.HEADERFUNCTION, whole.lines.append)
        self._aim(curl, url, headers)
        done = self._multi.perform(curl)
        feeding = asyncio.ensure_future(outgoing.feed(body, done))
        try:
            await asyncio.wait([done, feeding], return_when=asyncio.FIRST_COMPLETED)
            # Who answers before all was sent has answered.
            if not done.done():
                feeding.result()
            await done
            return Answer(curl.getinfo(pycurl.RESPONSE_CODE), whole.lines, bytes(whole.body))
        except HttpBroken:
            if whole.too_large:
                raise AnswerTooLarge from None
            raise
        finally:
            done.cancel()
            feeding.cancel()
            try:
                await asyncio.gather(feeding, return_exceptions=True)
            finally:
                self._multi.drop(curl)

    @asynccontextmanager
    async def get(self, url: str, headers: Sequence[str]) -> AsyncIterator[Incoming]:
        """Ask for what may be large, and give it when its head is here. It is not unpacked. Raises HttpBroken, here and
        where it is read."""
        curl = self._new(unpacks=False)
        stream = _Stream(curl)
        curl.setopt(pycurl.HTTPGET, 1)
        curl.setopt(pycurl.BUFFERSIZE, READ_BYTES)
        curl.setopt(pycurl.WRITEFUNCTION, stream.take)
        curl.setopt(pycurl.HEADERFUNCTION, stream.lines.append)
        self._aim(curl, url, headers)
        done = self._multi.perform(curl)
        stream.ends_with(done)
        try:
            await stream.head()
            yield Incoming(curl.getinfo(pycurl.RESPONSE_CODE), stream)
        finally:
            done.cancel()
            self._multi.drop(curl)

    def _new(self, unpacks: bool) -> Any:
        curl = pycurl.Curl()
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, round(limits.CONNECT_TIMEOUT_S * 1000))
        curl.setopt(pycurl.LOW_SPEED_LIMIT, 1)
        curl.setopt(pycurl.USERAGENT, USER_AGENT)
        # A signed address is sent as it is: another spelling would break its signature.
        curl.setopt(pycurl.PATH_AS_IS, 1)
        if unpacks:
            curl.setopt(pycurl.ACCEPT_ENCODING, "gzip, deflate")
        return curl

    def _aim(self, curl: Any, url: str, headers: Sequence[str]) -> None:
        curl.setopt(pycurl.URL, url if url.isascii() else to_ascii(url))
        # libcurl would ask before it sends much, and wait a second for servers that do not answer that.
        # What a server said (an ETag) goes back to it as it came, letter or not.
        told = [header if header.isascii() else header.encode("latin-1") for header in headers]
        curl.setopt(pycurl.HTTPHEADER, ["Expect:", *told])
        secure = url[:6].lower() == "https:"
        proxy = self._proxy_for(url) if self._proxies else ""
        # An empty one keeps libcurl from looking for one itself.
        curl.setopt(pycurl.PROXY, proxy)
        if secure or proxy.startswith("https:"):
            if self._trusted is None:
                self._trusted = _MemoryFile(trusted_certificates(self._ca_file))
            # By its path libcurl knows it again, and reads it once for all connections.
            curl.setopt(pycurl.CAINFO, self._trusted.path)
            curl.setopt(pycurl.PROXY_CAINFO, self._trusted.path)

    def _proxy_for(self, url: str) -> str:
        parts = urlsplit(url)
        if proxy_bypass(parts.hostname or ""):
            return ""
        return self._proxies.get(parts.scheme) or self._proxies.get("all", "")


def to_ascii(url: str) -> str:
    """An address as it goes over the wire. Raises AddressUnusable for a host that is none."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.encode("idna").decode("ascii")
    except ValueError:
        raise AddressUnusable from None
    return parts._replace(
        netloc=host, path=quote(parts.path, NOT_ASCII_SAFE), query=quote(parts.query, NOT_ASCII_SAFE)
    ).geturl()


class _MemoryFile:
    """Bytes that have a path, for as long as it is open."""

    def __init__(self, content: bytes) -> None:
        self._descriptor = os.memfd_create("certificates", os.MFD_CLOEXEC)
        with open(self._descriptor, "wb", closefd=False) as file:
            file.write(content)
        self.path = f"/proc/self/fd/{self._descriptor}"

    def close(self) -> None:
        os.close(self._descriptor)


class _Whole:
    """An answer that is read whole, within reason."""

    __slots__ = ("body", "lines", "most_bytes", "too_large")

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.lines: list[bytes] = []
        self.body = bytearray()
        self.too_large = False

    def take(self, data: bytes) -> int | None:
        if len(self.body) + len(data) > self.most_bytes:
            self.too_large = True
            return 0
        self.body += data
        return None


class _Outgoing:
    """A body on its way out, one piece at a time."""

    def __init__(self, curl: Any, size: int) -> None:
        self._curl = curl
        self._left = size
        self._piece = memoryview(b"")
        self._ended = False
        self._starving = False
        self._wanted: asyncio.Future[None] | None = None

    def give(self, size: int) -> bytes | int:
        """libcurl wants so much."""
        if self._piece:
            given = bytes(self._piece[:size])
            self._piece = self._piece[size:]
            self._left -= len(given)
            if not self._left:
                # It asks for nothing after the last byte, and whoever makes the pieces is to hear of that.
                self._wake()
            return given
        if self._ended:
            return b""
        self._starving = True
        self._wake()
        paused: int = pycurl.READFUNC_PAUSE
        return paused

    def _wake(self) -> None:
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)

    async def feed(self, body: AsyncIterator[bytes], done: asyncio.Future[None]) -> None:
        """Hand over the pieces while the transfer is not `done`; returns no earlier than that."""
        loop = asyncio.get_running_loop()
        async for piece in body:
            if done.done():
                return
            self._piece = memoryview(piece)
            while self._piece or not (self._starving or not self._left):
                self._wanted = loop.create_future()
                self._go_on()
                if self._piece or not (self._starving or not self._left):
                    await self._wanted
        self._ended = True
        if not done.done():
            self._go_on()
            await asyncio.wait([done])

    def _go_on(self) -> None:
        if self._starving:
            self._starving = False
            self._curl.pause(pycurl.PAUSE_CONT)


class _Stream:
    """A body on its way in. The sender waits while much of it is held here."""

    def __init__(self, curl: Any) -> None:
        self._curl = curl
        self.lines: list[bytes] = []
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._paused = False
        self._news: asyncio.Future[None] | None = None

    def take(self, data: bytes) -> int | None:
        if self._held_bytes >= HELD_BYTES:
            self._paused = True
            paused: int = pycurl.WRITEFUNC_PAUSE
            return paused
        self._held.append(data)
        self._held_bytes += len(data)
        self._tell()
        return None

    def ends_with(self, done: asyncio.Future[None]) -> None:
        self._done = done
        done.add_done_callback(lambda _: self._tell())

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def _wait(self, within_s: float) -> None:
        self._news = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(within_s):
                await self._news
        finally:
            self._news = None

    async def head(self) -> None:
        """Wait for the answer's head. Only its first byte, or its end, tells that another one does not follow."""
        while not self._held:
            if self._done.done():
                self._done.result()
                break
            await self._wait(limits.CONNECT_TIMEOUT_S + limits.STALL_S)

    async def chunks(self, most_bytes: int) -> AsyncGenerator[bytes, None]:
        while True:
            while self._held:
                held = self._held[0] if len(self._held) == 1 else b"".join(self._held)
                self._held, self._held_bytes = [], 0
                for start in range(0, len(held), most_bytes):
                    yield held[start : start + most_bytes]
                if self._paused and not self._done.done():
                    self._paused = False
                    self._curl.pause(pycurl.PAUSE_CONT)
            if self._done.done():
                self._done.result()
                return
            await self._wait(limits.STALL_S)


class Incoming:
    """An answer whose body is still to come."""

    def __init__(self, status: int, stream: _Stream) -> None:
        self._stream = stream
        self.status = status
        self.headers = _headers(stream.lines)

    async def chunks(self, most_bytes: int) -> AsyncGenerator[bytes, None]:
        """The body as it comes, in chunks of at most so many bytes. Raises HttpBroken where it breaks off, TimeoutError
        where nothing comes."""
        async with aclosing(self._stream.chunks(most_bytes)) as chunks:
            async for chunk in chunks:
                yield chunk


class _Multi:
    """libcurl's transfers in the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connections: int) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._watched: set[int] = set()
        self._timer: asyncio.Handle | None = None
        self._timer_at = 0.0
        self._running: dict[Any, asyncio.Future[None]] = {}
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._multi.setopt(pycurl.M_MAXCONNECTS, connections)
        loop.add_reader(self._epoll.fileno(), self._ready)

    def perform(self, curl: Any) -> asyncio.Future[None]:
        """Begin a transfer. The future ends with it, or with HttpBroken; then the handle is free. Whoever cancels the
        future has to drop the handle."""
        done = self._running[curl] = self._loop.create_future()
        self._multi.add_handle(curl)
        return done

    def drop(self, curl: Any) -> None:
        """Be done with a handle, whether its transfer is over or not."""
        self._forget(curl)
        curl.close()

    def close(self) -> None:
        for curl, done in list(self._running.items()):
            self._forget(curl)
            done.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._epoll.fileno())
        self._multi.close()
        self._epoll.close()

    def _forget(self, curl: Any) -> None:
        if self._running.pop(curl, None) is not None:
            self._multi.remove_handle(curl)

    def _watch(self, what: int, descriptor: int, _multi: object, _data: object) -> None:
        if what == pycurl.POLL_REMOVE:
            if descriptor in self._watched:
                self._watched.discard(descriptor)
                self._epoll.unregister(descriptor)
        elif descriptor in self._watched:
            self._epoll.modify(descriptor, _WAITS[what])
        else:
            self._watched.add(descriptor)
            self._epoll.register(descriptor, _WAITS[what])

    def _set_timer(self, in_ms: int) -> None:
        """libcurl wants to be called by then; earlier does no harm, it asks again. Each request moves its time on, and
        most of them are over before: a timer that is set stays as long as it comes early enough."""
        if in_ms < 0:
            return
        at = 0.0 if in_ms == 0 else self._loop.time() + in_ms / 1000
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._time_over) if at else self._loop.call_soon(self._time_over)

    def _time_over(self) -> None:
        self._timer = None
        self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        self._collect()

    def _ready(self) -> None:
        for descriptor, events in self._epoll.poll(0):
            # An error or a hang-up is found by reading.
            readable = pycurl.CSELECT_IN if events & ~select.EPOLLOUT else 0
            writable = pycurl.CSELECT_OUT if events & select.EPOLLOUT else 0
            self._multi.socket_action(descriptor, readable | writable)
        self._collect()

    def _collect(self) -> None:
        left = 1
        while left:
            left, whole, broken = self._multi.info_read()
            for curl in whole:
                done = self._end(curl)
                if not done.done():
                    done.set_result(None)
            for curl, code, words in broken:
                error = _broken(code, words, curl.getinfo(pycurl.OS_ERRNO))
                done = self._end(curl)
                if not done.done():
                    done.set_exception(error)
                    # Whoever left before the end does not ask how it ended.
                    done.exception()

    def _end(self, curl: Any) -> asyncio.Future[None]:
        self._multi.remove_handle(curl)
        return self._running.pop(curl)


def _broken(code: int, words: str, number: int) -> HttpBroken:
    if code == pycurl.E_URL_MALFORMAT:
        return AddressUnusable()
    error = HttpBroken()
    error.__cause__ = _cause(code, words, number)
    return error


def _cause(code: int, words: str, number: int) -> Exception:
    """libcurl's error as Python would tell it, without an address. `number`: the system's, or 0."""
    if code in (pycurl.E_PEER_FAILED_VERIFICATION, pycurl.E_SSL_CACERT_BADFILE):
        refused = ssl.SSLCertVerificationError(1, "certificate verify failed")
        told = _VERIFY_WORDS.match(words)
        refused.verify_message = told[1] if told else "it is not valid"
        if code == pycurl.E_SSL_CACERT_BADFILE:
            refused.verify_message = "there is no CA to trust"
        return refused
    reason = _OPENSSL_REASON.search(words)
    if code == pycurl.E_SSL_CONNECT_ERROR and reason is not None:
        no_tls = ssl.SSLError(1, reason[1])
        no_tls.reason = reason[1].strip().replace(" ", "_").upper()
        return no_tls
    if code == pycurl.E_OPERATION_TIMEDOUT:
        return TimeoutError()
    if code in _UNKNOWN_HOST:
        return socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    if code in _UNREADABLE:
        return OSError(errno.EPROTO, "its answer is no HTTP")
    return OSError(number, os.strerror(number)) if number else OSError(errno.ECONNRESET, "it hung up")


def _headers(lines: Sequence[bytes]) -> dict[str, str]:
    """Of an answer's own head. What came before was said on the way: 100, or a proxy's. What comes after its body is
    nothing that a sender may say there."""
    headers: dict[str, str] = {}
    within = False
    for line in lines:
        if not within and line.startswith(b"HTTP/"):
            headers.clear()
            within = True
        elif not line.strip():
            within = False
        elif within:
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
    return headers


def lines(headers: Mapping[str, str]) -> list[str]:
    """Headers as `AsyncHttp` takes them."""
    return [f"{name}: {value}" for name, value in headers.items()]
