"""A server of `metalake-sync ui` in the test's process, over a world's folder and lake, and a client that uses it."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode, urlsplit

from metalake_sync.cli.commands.ui import words
from metalake_sync.core.events import EventSink
from metalake_sync.engine import Engine
from metalake_sync.manifest import load_manifest
from metalake_sync.planning.run_options import RunOptions
from metalake_sync.web.access import RemoteAccess
from metalake_sync.web.server import UiServer
from metalake_sync.web.workspace import Workspace
from tests.end_to_end.world import World

TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Answer:
    """What the server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@dataclass
class Site:
    """A served manifest. Requests carry the cookie once `enter` was called."""

    server: UiServer
    cookie: str | None = None
    sent: Mapping[str, str] = field(default_factory=dict)

    @property
    def authority(self) -> str:
        return urlsplit(self.server.address).netloc

    @property
    def origin(self) -> str:
        return f"http://{self.authority}"

    def ask(self, method: str, path: str, body: str | None = None, **headers: str | None) -> Answer:
        """Send one request. A header that is None is left out; `_` in its name is a hyphen."""
        own: dict[str, str | None] = {"Host": self.authority, "Cookie": self.cookie}
        if method == "POST":
            own |= {"Origin": self.origin, "Content-Type": "application/x-www-form-urlencoded"}
        own |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection(self.authority, timeout=TIMEOUT_S)
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in own.items():
                if value is not None:
                    connection.putheader(name, value)
            encoded = (body or "").encode()
            if method == "POST":
                connection.putheader("Content-Length", str(len(encoded)))
            connection.endheaders(encoded or None)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())

    def get(self, path: str, **headers: str | None) -> Answer:
        return self.ask("GET", path, **headers)

    def page(self, path: str) -> str:
        """Return a page that must exist."""
        answer = self.get(path)
        assert answer.status == 200, (path, answer.text)
        return answer.text

    def json(self, path: str) -> Any:
        """Return the JSON twin of a page that must exist."""
        answer = self.get(path + ("&" if "?" in path else "?") + "format=json")
        assert answer.status == 200, (path, answer.text)
        return answer.document

    def post(self, path: str, **form: str) -> Answer:
        return self.ask("POST", path, urlencode(form))

    def enter(self) -> Site:
        """Exchange the token for the cookie."""
        answer = self.get("/" + self.server.address.partition("/?")[2].join(("?", "")))
        assert answer.status == 200, answer.text
        self.cookie = answer.headers["Set-Cookie"].partition(";")[0]
        return self

    def wait(self, path: str, is_there: Callable[[Any], bool]) -> Any:
        """Ask for the JSON of a page until it is as wanted."""
        until = time.monotonic() + TIMEOUT_S
        while time.monotonic() < until:
            found = self.json(path)
            if is_there(found):
                return found
            time.sleep(0.02)
        raise AssertionError(f"{path} stayed {found}")

    def planned(self) -> Any:
        """Make a plan, and return its JSON."""
        assert self.post("/plan").status == 303
        found = self.wait("/plan", lambda one: one["plan"]["state"] != "working")
        assert found["plan"]["state"] == "done", found
        return found

    def applied(self, **form: str) -> Any:
        """Approve the current plan, and return the JSON of the run when it has ended."""
        plan = self.json("/plan")["plan"]["id"]
        answer = self.post(f"/plan/{plan}/apply", **form)
        assert answer.status == 303, answer.text
        return self.wait("/run", lambda one: one["run"]["state"] != "working")["run"]


def opener(world: World, options: RunOptions | None = None) -> Callable[..., Engine]:
    """Return the function that reads the world's manifest for the server."""

    def open_engine(emit: EventSink, is_cancelled: Callable[[], bool] | None) -> Engine:
        manifest = load_manifest(str(world.folder / "manifest.yaml"), environment=world.environment())
        return Engine(manifest, replace(options or RunOptions(), is_cancelled=is_cancelled), emit)

    return open_engine


@contextlib.contextmanager
def served(
    world: World,
    *,
    read_only: bool = False,
    options: RunOptions | None = None,
    name: str = "birds",
    remote: RemoteAccess | None = None,
) -> Iterator[Site]:
    """Serve a world's manifest. The client has no cookie yet."""
    workspace = Workspace(name, opener(world, options), words(), read_only=read_only)
    with UiServer(workspace, remote=remote) as server:
        yield Site(server)
