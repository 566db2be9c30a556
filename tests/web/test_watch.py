"""`watch --ui`: the daemon serves the pages, shows its own state there, and runs what is approved there."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.end_to_end.daemon import Daemon, names, watching
from tests.end_to_end.world import BIRDS, PRUNED, World
from tests.web.site import TIMEOUT_S, served


class Browser:
    """A client of the pages that a daemon serves, with the cookie."""

    def __init__(self, daemon: Daemon) -> None:
        daemon.wait(lambda: '"address"' in daemon.log)
        printed = next(line for line in daemon.log.splitlines() if line.startswith('{"address"'))
        address = urlsplit(json.loads(printed)["address"])
        self.authority = address.netloc
        status, _, headers = self._ask("GET", f"/?{address.query}")
        assert status == 200
        self._cookie = (headers["Set-Cookie"] or "").partition(";")[0]

    def _ask(self, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, str, Any]:
        with closing(http.client.HTTPConnection(self.authority, timeout=TIMEOUT_S)) as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), answer.headers

    def get(self, path: str) -> str:
        status, text, _ = self._ask("GET", path, Cookie=self._cookie)
        assert status == 200, text
        return text

    def json(self, path: str) -> Any:
        return json.loads(self.get(path + "?format=json"))

    def post(self, path: str, **form: str) -> int:
        headers = {
            "Cookie": self._cookie,
            "Origin": f"http://{self.authority}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        return self._ask("POST", path, urlencode(form), **headers)[0]


def test_held_actions_are_seen_and_approved_on_the_pages_of_the_daemon(world: World) -> None:
    world.images("a.png", "b.png", "c.png", "d.png")
    world.manifest(PRUNED)
    world.good("apply", "manifest.yaml")
    with watching(world, "--ui", "127.0.0.1:0") as daemon:
        browser = Browser(daemon)
        (world.folder / "images/a.png").unlink()
        daemon.wait(lambda: browser.json("/")["daemon"]["held"] == 1)
        page = browser.get("/")
        assert "Daemon:" in page
        assert "Held actions wait for approval" in page
        assert names(world) == ["a.png", "b.png", "c.png", "d.png"]
        assert browser.post("/plan") == 303
        daemon.wait(lambda: browser.json("/plan")["plan"]["state"] != "working")
        found = browser.json("/plan")
        assert (found["plan"]["state"], found["destructive"]) == ("done", 1)
        assert browser.post(f"/plan/{found['plan']['id']}/apply", count="1") == 303
        daemon.wait(lambda: browser.json("/run")["run"]["state"] != "working")
        assert browser.json("/run")["run"]["done"] == {"trash": 1}
        assert names(world) == ["b.png", "c.png", "d.png"]
        world.images("e.png")
        daemon.wait(lambda: "e.png" in names(world))
        assert daemon.stop() == 0


def test_the_pages_of_another_process_say_that_the_manifest_is_watched(world: World) -> None:
    world.images("a.png")
    world.manifest(BIRDS)
    with watching(world) as daemon:
        daemon.wait(lambda: names(world) == ["a.png"])
        with served(world) as site:
            site.enter()
            site.wait("/", lambda one: one["status"]["state"] == "done")
            assert "Another process watches this manifest" in site.page("/")
            assert site.json("/")["daemon"] is None
        assert daemon.stop() == 0


def test_an_address_that_cannot_be_used_is_an_error_at_once(world: World) -> None:
    world.images("a.png")
    world.manifest(BIRDS)
    for address, words in (
        ("nowhere", "'--ui nowhere' is not an address"),
        ("127.0.0.1:99999", "'--ui 127.0.0.1:99999' is not an address"),
        ("0.0.0.0:0", "'--ui 0.0.0.0' is not a loopback address"),
    ):
        done = world.run("watch", "manifest.yaml", "--ui", address)
        assert (done.code, words in done.err) == (64, True), done.err
