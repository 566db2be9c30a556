"""A lake whose answers repeat the request and contain given texts."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

SIGNATURE = "c0ffee" * 8
SIGNED = f"http://store.example/object?expires=99&signature={SIGNATURE}&X-Amz-Signature={SIGNATURE}"


class Tell(BaseHTTPRequestHandler):
    """A lake that fails, and repeats the whole request in its answer."""

    status: ClassVar[int] = 500
    words: ClassVar[str] = ""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        told = {
            "error": {
                "message": f"{self.words} {self.headers} {self.path} {SIGNED}",
                "statusCode": self.status,
                "name": SIGNED,
            }
        }
        body = (
            json.dumps(told).encode()
            if self.status != 200
            else f"<html>{self.words} {self.headers} {SIGNED}</html>".encode()
        )
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        if 300 <= self.status < 400:
            self.send_header("Location", SIGNED)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_GET  # noqa: N815 - names of the library

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@contextlib.contextmanager
def repeating_lake(status: int, words: str = "") -> Iterator[str]:
    """Serve such a lake, and return its address. `words`: a further text of its answers."""
    with serving(type("Telling", (Tell,), {"status": status, "words": words})) as url:
        yield url


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve on a port of this machine, and return the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
