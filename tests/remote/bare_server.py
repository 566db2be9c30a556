"""Servers with hand-written HTTP on a real port. They can answer slowly, endlessly, or with a redirect."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

TLS_HELLO = b"\x16\x03"
"""The first bytes of a client that starts TLS."""


@dataclass
class Asked:
    """A request's head. Names of `headers` are in lower case."""

    method: str
    target: str
    headers: dict[str, str]


@dataclass
class Line:
    """A connection with a request. `body`: what was read of it so far."""

    connection: socket.socket
    asked: Asked
    body: bytes = b""

    def say(self, data: bytes) -> None:
        self.connection.sendall(data)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.say("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def read(self, size: int) -> bytes:
        """Read this many more bytes of the request's body."""
        data = self.connection.recv(size)
        self.body += data
        return data

    def read_all(self) -> None:
        while len(self.body) < int(self.asked.headers.get("content-length", 0)) and self.read(1 << 20):
            pass


@dataclass
class Server:
    """`asked`: every request. `connections`: how many were made, including those without a request."""

    url: str
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0


Handler = Callable[[Line], object]


@contextlib.contextmanager
def serve(handler: Handler, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Iterator[Server]:
    """Serve one request per connection, each in a separate thread."""
    listener = socket.create_server((host, 0))
    server = Server(f"{'https' if tls else 'http'}://{host}:{listener.getsockname()[1]}")
    threads: list[threading.Thread] = []

    def talk(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            spoken = tls.wrap_socket(connection, server_side=True) if tls else connection
            with spoken:
                data = b""
                while b"\r\n\r\n" not in data and not data.startswith(TLS_HELLO):
                    more = spoken.recv(65536)
                    if not more:
                        return
                    data += more
                if data.startswith(TLS_HELLO):
                    spoken.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    return
                head, _, body = data.partition(b"\r\n\r\n")
                first, *rest = head.decode("latin-1").split("\r\n")
                method, target, _ = first.split(" ")
                pairs = (line.partition(":") for line in rest)
                asked = Asked(method, target, {name.lower(): value.strip() for name, _, value in pairs})
                server.asked.append(asked)
                handler(Line(spoken, asked, body))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            server.connections += 1
            thread = threading.Thread(target=talk, args=(connection,), daemon=True)
            threads.append(thread)
            thread.start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield server
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join(5)
        for thread in threads:
            thread.join(5)
