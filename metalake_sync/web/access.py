"""Who may use the server: the token of the first address, the session cookie, and checks of each request's origin.

Owns: the token, the session, the allowed values of Host and Origin, and the headers of every answer. Must not: know a
page.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import secrets
import stat
from dataclasses import field
from hashlib import sha256

from aiohttp import web

from metalake_sync.errors import UsageError
from metalake_sync.lazy_dataclass import dataclass

TOKEN_BYTES = 32

WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - they are recognized
PASSWORD_LENGTH = 12
"""The minimum number of characters of a password."""

PASSWORD_LIMIT = 1024
WRONG_PASSWORD_DELAY_S = 1.0

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""The headers of every answer."""

READS = frozenset({"GET", "HEAD"})


class Refused(Exception):
    """The request is not allowed. `message` is a clause, `remedy` a sentence."""

    def __init__(self, status: int, message: str, remedy: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class RemoteAccess:
    """How other machines may use the server."""

    password: str = field(repr=False)
    names: tuple[str, ...] = ()
    """The names under which browsers reach it, as NAME or NAME:PORT."""


class Access:
    """One server's token and session. `host` and `port`: where it listens. `remote`: None for this machine only."""

    def __init__(self, host: str, port: int, remote: RemoteAccess | None = None) -> None:
        own = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        names = tuple(name.lower() for name in remote.names) if remote is not None else ()
        self.authority = names[0] if names and host in WILDCARDS else own
        """Host and port of the first address."""
        self._hosts = {own, f"localhost:{port}", *names, *(f"{name}:{port}" for name in names if ":" not in name)}
        self._remote = remote
        self._signing_in = asyncio.Lock()
        self._token: str | None = secrets.token_urlsafe(TOKEN_BYTES)
        self._session = secrets.token_urlsafe(TOKEN_BYTES)
        # Cookies do not distinguish ports, and two servers may run on one machine.
        self.cookie = f"metalake-sync-ui-{port}"

    @property
    def token(self) -> str | None:
        """The token of the first address. None: it was used."""
        return self._token

    def check_host(self, request: web.Request) -> None:
        """Refuse requests for another host: a name of another site may resolve to this machine (DNS rebinding)."""
        if [host.lower() for host in request.headers.getall("Host", [])] not in [[host] for host in self._hosts]:
            raise Refused(
                421,
                "this server has another name",
                "Open the address that 'metalake-sync ui' printed.",
            )

    def exchange(self, token: str) -> str:
        """Return the value of the session cookie for the token, which is valid once."""
        expected, given = self._token, token.encode()
        if expected is None or not secrets.compare_digest(expected.encode(), given):
            raise Refused(
                403,
                "the token of this address is wrong, or was used already",
                "Use the browser that opened it first, or start 'metalake-sync ui' again.",
            )
        self._token = None
        return self._session

    @property
    def has_password(self) -> bool:
        """Whether browsers may sign in with a password."""
        return self._remote is not None

    async def sign_in(self, password: str) -> str:
        """Return the value of the session cookie for the password. Each wrong one delays all others by a second."""
        if self._remote is None:
            raise Refused(404, "this server has no password", "Open the address that it printed.")
        async with self._signing_in:
            given, expected = (sha256(one.encode()).digest() for one in (password, self._remote.password))
            if not secrets.compare_digest(given, expected):
                await asyncio.sleep(WRONG_PASSWORD_DELAY_S)
                raise Refused(403, "the password is wrong", "Use the one in the file of '--password-file'.")
        return self._session

    def has_session(self, request: web.Request) -> bool:
        """Return whether a request has the session cookie."""
        return secrets.compare_digest(self._session.encode(), request.cookies.get(self.cookie, "").encode())

    def check_session(self, request: web.Request) -> None:
        """Refuse requests without the session cookie."""
        if not self.has_session(request):
            raise Refused(
                403,
                "this browser has no session with the server",
                "Open the address that 'metalake-sync ui' printed, with its token.",
            )

    def check_origin(self, request: web.Request) -> None:
        """Refuse writes that do not come from a page of this server (CSRF).

        A form that is sent under `Referrer-Policy: no-referrer` has the origin `null`, so `Sec-Fetch-Site` decides
        where the browser sends it.
        """
        if request.method in READS:
            return
        # A proxy in front of a server for other machines ends TLS.
        schemes = ("http", "https") if self._remote is not None else ("http",)
        own = [f"{scheme}://{request.headers['Host'].lower()}" for scheme in schemes]
        origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
        trusted = site == "same-origin" and origin in (None, "null", *own) if site is not None else origin in own
        if not trusted:
            raise Refused(403, "the request comes from another site", "Use the buttons of this server's own pages.")


def read_password(path: str) -> str:
    """Return the first line of a file that only its owner can read. Raises UsageError."""
    try:
        with open(path, encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            password = file.readline(PASSWORD_LIMIT).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"the password cannot be read ({reason})", where=path, remedy="Correct the path.") from None
    if stat.S_ISREG(mode) and mode & 0o077:
        raise UsageError("other users can read the password", where=path, remedy=f"Run: chmod 600 {path}.")
    if len(password) < PASSWORD_LENGTH:
        remedy = "Write a longer one into the file, such as the output of 'openssl rand -base64 24'."
        raise UsageError(f"the password has fewer than {PASSWORD_LENGTH} characters", where=path, remedy=remedy)
    return password


def check_loopback(host: str, option: str = "--host") -> None:
    """Raise UsageError for an address that other machines can reach. `option`: of the command line, which sets it."""
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        raise UsageError(
            f"'{option} {host}' is not a loopback address",
            remedy="Use 127.0.0.1 and an SSH tunnel from another machine. For 'ui', see also '--allow-remote'.",
        )


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers of every answer. A signal handler of aiohttp."""
    for name, value in HEADERS.items():
        response.headers[name] = value
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["Server"] = "metalake-sync"
