"""Sessions of requests with what requests lacks: a time limit for whole answers, one TLS context, and slow bodies.

Imported only by runs that call a lake, because importing requests takes 50 ms.

The subclasses of urllib3 stay although the retry flow no longer needs them, because nothing else gives these limits:
- `timeout=` of requests bounds each read, not the whole answer. A server that sends one byte a minute would hold a call
  forever, already within the headers, which http.client reads line by line before requests returns.
- urllib3 sends a body under the connect timeout, so a large page over a slow link would fail while it still moves.
- requests offers no way to check the address behind a name after connecting, nor to pass a TLS context for proxies.
"""

from __future__ import annotations

import errno
import functools
import http.client
import io
import socket
import time
from typing import Any

import requests
import requests.adapters
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager

from metalake_sync.core.hosts import is_local_address, literal_address
from metalake_sync.remote.address import USER_AGENT, LakeAddress
from metalake_sync.remote.http import limits
from metalake_sync.remote.http.environment import SCHEMES, proxy_for, tls_context

TIMEOUTS_S = (limits.CONNECT_TIMEOUT_S, limits.STALL_S)


def session_for(
    url: str, address: LakeAddress, *, pool_size: int = 1, bounded: bool, guarded: bool = False
) -> requests.Session:
    """Return a session for one server with the trust settings of `address`. It has no credentials, nor reads a .netrc.

    `bounded`: whole answers have a time limit. `guarded`: connections to this machine or its link-local network are
    refused, see `LakeAddress.guards`. Raises UsageError for an unusable proxy.
    """
    session = requests.Session()
    # The proxy is determined once: doing so for every request makes calls 25 % slower.
    if proxy := proxy_for(url):
        session.proxies = dict.fromkeys(SCHEMES, proxy)
    session.trust_env = False
    session.headers["User-Agent"] = USER_AGENT
    # Only one scheme, so that an adapter without a TLS context cannot be used for https.
    session.adapters.clear()
    if url.lower().startswith("https:"):
        session.mount("https://", _Adapter(address.trust.ca_file, pool_size, _pools(bounded, guarded), tls=True))
    else:
        session.mount("http://", _Adapter(None, pool_size, _pools(bounded, guarded), tls=False))
    return session


class _BoundedReads(io.RawIOBase):
    """A socket's reader that stops ANSWER_TIME_S after its creation, even if bytes keep arriving."""

    def __init__(self, connection: socket.socket, reader: io.RawIOBase) -> None:
        self._connection = connection
        self._reader = reader
        self._ends = time.monotonic() + limits.ANSWER_TIME_S

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer takes too long")
        self._connection.settimeout(min(limits.STALL_S, left))
        return self._reader.readinto(buffer)

    def close(self) -> None:
        self._reader.close()
        super().close()


class _BoundedResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_BoundedReads(sock, self.fp.detach()))


class _StallTimeout:
    """A connection that may send for a long time while bytes move. urllib3 would apply the connect timeout."""

    sock: socket.socket | None

    def request(self, *args: Any, **options: Any) -> None:
        if self.sock is not None:
            self.sock.settimeout(limits.STALL_S)
        super().request(*args, **options)  # type: ignore[misc]

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        if self.sock is not None:
            self.sock.settimeout(limits.STALL_S)


class _NotLocal:
    """A connection that refuses addresses of this machine or its link-local network. Not checked behind a proxy."""

    proxy: Any

    def _new_conn(self) -> socket.socket:
        connection: socket.socket = super()._new_conn()  # type: ignore[misc]
        if self.proxy is None:
            address = literal_address(str(connection.getpeername()[0]))
            if address is None or is_local_address(address):
                connection.close()
                raise OSError(errno.EACCES, "the host leads to this machine or its own link")
        return connection


class _BoundedHttp(_StallTimeout, HTTPConnection):
    response_class = _BoundedResponse


class _BoundedHttps(_StallTimeout, HTTPSConnection):
    response_class = _BoundedResponse


@functools.cache
def _pools(bounded: bool, guarded: bool) -> dict[str, Any]:
    """Return connection pool classes by scheme."""
    http: Any = _BoundedHttp if bounded else HTTPConnection
    https: Any = _BoundedHttps if bounded else HTTPSConnection
    if guarded:
        http, https = type("_Http", (_NotLocal, http), {}), type("_Https", (_NotLocal, https), {})
    return {
        "http": type("_HttpPool", (HTTPConnectionPool,), {"ConnectionCls": http}),
        "https": type("_HttpsPool", (HTTPSConnectionPool,), {"ConnectionCls": https}),
    }


class _Adapter(requests.adapters.HTTPAdapter):
    def __init__(self, ca_file: str | None, pool_size: int, pools: dict[str, Any], *, tls: bool) -> None:
        self._ca_file = ca_file
        self._pools = pools
        self._tls = tls
        super().__init__(pool_connections=1, pool_maxsize=pool_size, max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        # Reading the CAs takes 20 ms, so plain HTTP does not.
        context = tls_context(self._ca_file) if self._tls else None
        super().init_poolmanager(*args, ssl_context=context, **options)
        self._bind(self.poolmanager)

    def proxy_manager_for(self, proxy: Any, **options: Any) -> Any:
        return self._bind(super().proxy_manager_for(proxy, ssl_context=tls_context(self._ca_file), **options))

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Always verify, with the given context. requests would add its own CAs."""
        conn.cert_reqs = "CERT_REQUIRED"

    def _bind(self, manager: PoolManager) -> PoolManager:
        manager.pool_classes_by_scheme = self._pools
        return manager
