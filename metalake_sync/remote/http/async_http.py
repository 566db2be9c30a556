"""HTTP/1.1 in the event loop with libcurl.

libcurl keeps connections, and handles TLS and proxies. Owns: the options of each request, and limits in time and memory
of its response. Must not: retry, follow a redirect, or know what the server is.

Longer than 300 lines, because the options of one libcurl handle depend on each other.
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import getproxies

import pycurl

from metalake_sync.core.hosts import is_local_address, literal_address
from metalake_sync.remote.address import USER_AGENT
from metalake_sync.remote.http import limits
from metalake_sync.remote.http.bodies import IncomingBody, OutgoingBody, WholeAnswer
from metalake_sync.remote.http.curl_loop import AddressUnusable, CurlLoop, HttpBroken
from metalake_sync.remote.http.environment import proxy_for, trusted_certificates

READ_BYTES = 256 << 10
SENT_AT_ONCE_BYTES = limits.PIECE_BYTES

NOT_ASCII_SAFE = "%/?#[]@!$&'()*+,;=:~"
"""Characters that are not percent-encoded in a URL."""


class AnswerTooLarge(Exception):
    """A response exceeded the size limit."""


class LocalAddress(Exception):
    """The host of a request leads to this machine or its link-local network, which is not allowed."""


class Answer:
    """A complete response."""

    __slots__ = ("body", "lines", "status")

    def __init__(self, status: int, lines: Sequence[bytes], body: bytes) -> None:
        self.status = status
        self.lines = lines
        """The lines of the head, as received."""
        self.body = body

    def header(self, name: str) -> str | None:
        return self.headers().get(name)

    def headers(self) -> dict[str, str]:
        """Return the headers. Names are in lower case, because servers differ in their spelling."""
        return _headers(self.lines)


class AsyncHttp:
    """Sends requests. Used as an async context manager, in one event loop.

    `connections`: how many idle ones are kept. `ca_file`: additional CAs to trust. `guards`: whether a host must not
    lead to this machine or its link-local network; a request to one that does raises LocalAddress.
    """

    def __init__(
        self, *, connections: int, ca_file: str | None, guards: Callable[[str], bool] = lambda _: False
    ) -> None:
        self._guards = guards
        self._guarded: dict[str, bool] = {}
        self._local_hosts: set[str] = set()
        self._connections = connections
        self._ca_file = ca_file
        self._trusted: _MemoryFile | None = None
        self._proxies = getproxies()
        self._proxy_of_origin: dict[str, str] = {}
        self._idle: list[Any] = []

    async def __aenter__(self) -> AsyncHttp:
        self._multi = CurlLoop(asyncio.get_running_loop(), self._connections)
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
        """Send a request with a body in memory, and read the response.

        `headers`: lines. `within_s`: time limit until the last byte of the response. `most_bytes`: size limit of the
        decompressed response. Raises HttpBroken and AnswerTooLarge.
        """
        whole = WholeAnswer(most_bytes)
        # A handle cannot lose its body option, so requests without a body use new handles.
        curl = self._idle.pop() if self._idle and body is not None else self._new(decompress=True)
        if body is not None:
            curl.setopt(pycurl.POSTFIELDS, body)
        curl.setopt(pycurl.CUSTOMREQUEST, method)
        curl.setopt(pycurl.TIMEOUT_MS, max(1, round(within_s * 1000)))
        curl.setopt(pycurl.LOW_SPEED_TIME, math.ceil(limits.STALL_S))
        curl.setopt(pycurl.WRITEFUNCTION, whole.take)
        curl.setopt(pycurl.HEADERFUNCTION, whole.lines.append)
        self._aim(curl, url, headers)
        reusable = False
        try:
            answer = await _answer(curl, whole, self._multi.perform(curl))
            reusable = body is not None
            return answer
        except HttpBroken:
            self._check_local(url)
            raise
        finally:
            if reusable:
                # An idle handle would keep the last body in memory.
                curl.setopt(pycurl.POSTFIELDS, b"")
                self._idle.append(curl)
            else:
                self._multi.drop(curl)

    async def send(
        self,
        method: str,
        url: str,
        headers: Sequence[str],
        body: AsyncGenerator[bytes, None],
        size: int,
        *,
        most_bytes: int,
    ) -> Answer:
        """Send a request whose body comes in pieces, and read the response.

        The next piece is requested when libcurl has taken the previous one. `size`: of the whole body in bytes, or -1
        if unknown. Raises what `ask` and `body` raise.
        """
        whole = WholeAnswer(most_bytes)
        curl = self._new(decompress=True)
        outgoing = OutgoingBody(curl, size)
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
            # A server may respond before the whole body was sent.
            if not done.done():
                feeding.result()
            return await _answer(curl, whole, done)
        except HttpBroken:
            self._check_local(url)
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
        """Send a GET, and yield the response when its head has arrived. The body is not decompressed.

        Raises HttpBroken, also while the body is read.
        """
        curl = self._new(decompress=False)
        stream = IncomingBody(curl)
        curl.setopt(pycurl.HTTPGET, 1)
        curl.setopt(pycurl.BUFFERSIZE, READ_BYTES)
        curl.setopt(pycurl.WRITEFUNCTION, stream.take)
        curl.setopt(pycurl.HEADERFUNCTION, stream.lines.append)
        self._aim(curl, url, headers)
        done = self._multi.perform(curl)
        stream.ends_with(done)
        try:
            try:
                await stream.head()
            except HttpBroken:
                self._check_local(url)
                raise
            yield Incoming(curl.getinfo(pycurl.RESPONSE_CODE), stream)
        finally:
            done.cancel()
            self._multi.drop(curl)

    def _new(self, decompress: bool) -> Any:
        curl = pycurl.Curl()
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, round(limits.CONNECT_TIMEOUT_S * 1000))
        curl.setopt(pycurl.LOW_SPEED_LIMIT, 1)
        # `proxy_for` evaluates no_proxy. libcurl must not do so, too.
        curl.setopt(pycurl.NOPROXY, "")
        curl.setopt(pycurl.USERAGENT, USER_AGENT)
        # A signed URL is sent unchanged, because another spelling would invalidate its signature.
        curl.setopt(pycurl.PATH_AS_IS, 1)
        if decompress:
            curl.setopt(pycurl.ACCEPT_ENCODING, "gzip, deflate")
        return curl

    def _aim(self, curl: Any, url: str, headers: Sequence[str]) -> None:
        curl.setopt(pycurl.URL, url if url.isascii() else to_ascii(url))
        # An ETag returns to its server byte by byte.
        raw = [header if header.isascii() else header.encode("latin-1") for header in headers]
        # Otherwise libcurl sends `Expect: 100-continue` for large bodies, and waits a second for some servers.
        curl.setopt(pycurl.HTTPHEADER, ["Expect:", *raw])
        secure = url[:6].lower() == "https:"
        proxy = self._proxy_for(url) if self._proxies else ""
        # An empty value prevents libcurl from using one of the environment.
        curl.setopt(pycurl.PROXY, proxy)
        self._guard(curl, url, proxied=bool(proxy))
        if secure or proxy.startswith("https:"):
            if self._trusted is None:
                self._trusted = _MemoryFile(trusted_certificates(self._ca_file))
            # libcurl caches CAs by path, so it reads them once for all connections.
            curl.setopt(pycurl.CAINFO, self._trusted.path)
            curl.setopt(pycurl.PROXY_CAINFO, self._trusted.path)

    def _guard(self, curl: Any, url: str, *, proxied: bool) -> None:
        """Check the address that a host's name resolves to when a connection is made. Not checked behind a proxy."""
        origin = "/".join(url.split("/", 3)[:3])
        if origin not in self._guarded:
            try:
                self._guarded[origin] = not proxied and self._guards(urlsplit(origin).hostname or "")
            except ValueError:
                raise AddressUnusable from None
        if self._guarded[origin]:

            def connect(_: int, address: Any) -> Any:
                found = literal_address(str(address.addr[0]))
                if found is None or is_local_address(found):
                    self._local_hosts.add(origin)
                    return pycurl.SOCKET_BAD
                return socket.socket(address.family, address.socktype, address.protocol)

            curl.setopt(pycurl.OPENSOCKETFUNCTION, connect)
        elif any(self._guarded.values()):
            # The handle may have been used for a guarded host before.
            curl.setopt(pycurl.OPENSOCKETFUNCTION, None)

    def _check_local(self, url: str) -> None:
        """Raise LocalAddress if a connection failed because its host leads to this machine."""
        if self._local_hosts and "/".join(url.split("/", 3)[:3]) in self._local_hosts:
            raise LocalAddress from None

    def _proxy_for(self, url: str) -> str:
        origin = "/".join(url.split("/", 3)[:3])
        if origin not in self._proxy_of_origin:
            try:
                self._proxy_of_origin[origin] = proxy_for(origin, self._proxies)
            except ValueError:
                raise AddressUnusable from None
        return self._proxy_of_origin[origin]


async def _answer(curl: Any, whole: WholeAnswer, done: asyncio.Future[None]) -> Answer:
    """Return the response of a transfer when it is `done`."""
    try:
        await done
    except HttpBroken:
        if whole.too_large:
            raise AnswerTooLarge from None
        raise
    answer = Answer(curl.getinfo(pycurl.RESPONSE_CODE), whole.lines, bytes(whole.body))
    # An idle handle would keep the body in memory.
    whole.body.clear()
    return answer


def to_ascii(url: str) -> str:
    """Return a URL in ASCII, as it is sent. Raises AddressUnusable for an invalid host."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.encode("idna").decode("ascii")
    except ValueError:
        raise AddressUnusable from None
    return parts._replace(
        netloc=host, path=quote(parts.path, NOT_ASCII_SAFE), query=quote(parts.query, NOT_ASCII_SAFE)
    ).geturl()


class _MemoryFile:
    """A file in memory, with a path while it is open."""

    def __init__(self, content: bytes) -> None:
        self._descriptor = os.memfd_create("certificates", os.MFD_CLOEXEC)
        with open(self._descriptor, "wb", closefd=False) as file:
            file.write(content)
        self.path = f"/proc/self/fd/{self._descriptor}"

    def close(self) -> None:
        os.close(self._descriptor)


class Incoming:
    """A response whose body has yet to be read."""

    def __init__(self, status: int, stream: IncomingBody) -> None:
        self._stream = stream
        self.status = status
        self.headers = _headers(stream.lines)

    async def chunks(self, most_bytes: int) -> AsyncGenerator[bytes, None]:
        """Yield the body as it arrives, at most `most_bytes` at a time.

        Raises HttpBroken if it breaks off, TimeoutError if it stalls.
        """
        async with aclosing(self._stream.chunks(most_bytes)) as chunks:
            async for chunk in chunks:
                yield chunk


def _headers(lines: Sequence[bytes]) -> dict[str, str]:
    """Return the headers of the final response.

    Earlier heads are those of status 100 or of a proxy. Lines after the body (trailers) are ignored.
    """
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
            name, value = name.strip().lower(), value.strip()
            # Google sends a line of `x-goog-hash` for each hash.
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def lines(headers: Mapping[str, str]) -> list[str]:
    """Return headers as lines for `AsyncHttp`."""
    return [f"{name}: {value}" for name, value in headers.items()]
