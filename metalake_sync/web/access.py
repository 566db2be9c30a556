"""Who may use the server: the token of the first address, the session cookie, and checks of each request's origin.

Owns: the token, the session, the allowed values of Host and Origin, and the headers of every answer. Must not: know a
page.
"""

from __future__ import annotations

import ipaddress
import secrets

from aiohttp import web

from metalake_sync.errors import UsageError

TOKEN_BYTES = 32

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


class Access:
    """One server's token and session. `host` and `port`: where it listens."""

    def __init__(self, host: str, port: int) -> None:
        self.authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        """Host and port of the first address."""
        self._hosts = {self.authority, f"localhost:{port}"}
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
        if request.headers.getall("Host", []) not in [[host] for host in self._hosts]:
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

    def check_session(self, request: web.Request) -> None:
        """Refuse requests without the session cookie."""
        if not secrets.compare_digest(self._session.encode(), request.cookies.get(self.cookie, "").encode()):
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
        own = f"http://{request.headers['Host']}"
        origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
        trusted = site == "same-origin" and origin in (None, "null", own) if site is not None else origin == own
        if not trusted:
            raise Refused(403, "the request comes from another site", "Use the buttons of this server's own pages.")


def check_loopback(host: str, option: str = "--host") -> None:
    """Raise UsageError for an address that other machines can reach. `option`: of the command line, which sets it."""
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        raise UsageError(
            f"'{option} {host}' is not a loopback address",
            remedy="The page is for this machine only. Use 127.0.0.1, or an SSH tunnel from another machine.",
        )


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers of every answer. A signal handler of aiohttp."""
    for name, value in HEADERS.items():
        response.headers[name] = value
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["Server"] = "metalake-sync"
