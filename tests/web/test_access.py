"""Who may use the server: the token, the cookie, Host, Origin, and the headers of every answer."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest

from metalake_sync.errors import UsageError
from metalake_sync.web.access import CONTENT_SECURITY_POLICY, Access, check_loopback
from metalake_sync.web.pages import Pages
from tests.end_to_end.world import World, boxes
from tests.web.site import Answer, Site, served

VIEWS = (
    "/", "/plan", "/lake", "/lake?collection=birds", "/run", "/history", "/checks", "/doctor",
    "/?format=json", "/plan?format=json", "/lake?collection=birds&format=json", "/history?format=json",
)  # fmt: skip
WRITES = (
    "/plan", "/plan/cancel", "/plan/0/apply", "/plan/0/conflicts", "/plan/0/conflicts/0", "/decisions/withdraw",
    "/run/cancel", "/history/0/revert", "/checks", "/doctor",
)  # fmt: skip
SECRETS = ("crow.png", "people", "key_of_tests", "secret_of_tests")


@pytest.fixture
def closed(annotated: World) -> Iterator[Site]:
    """The pages of `annotated`, in a browser without the cookie."""
    with served(annotated) as found:
        yield found


def refused(answer: Answer, status: int, words: str) -> bool:
    leaks = [word for word in SECRETS if word in answer.text]
    return answer.status == status and words in answer.text and not leaks


def token(site: Site) -> str:
    return site.server.address.partition("token=")[2]


def test_without_the_cookie_every_page_and_every_write_is_refused(closed: Site) -> None:
    for path in (*VIEWS, "/events", "/plan/0/entries/0", "/plan/0/entries/0/images/a.webp", "/history/0", "/nothing"):
        assert refused(closed.get(path), 403, "this browser has no session"), path
    for path in WRITES:
        assert refused(closed.post(path), 403, "this browser has no session"), path
    wrong = f"metalake-sync-ui-{closed.authority.partition(':')[2]}=AAAA"
    assert refused(closed.get("/", Cookie=wrong), 403, "this browser has no session")
    assert closed.server.workspace.planning is None
    assert closed.server.workspace.status is None


def test_the_token_is_valid_once_and_a_wrong_one_does_not_spend_it(closed: Site) -> None:
    for wrong in ("", "A" * 43, token(closed)[:-1], token(closed) + "A", "%00", "%F0%9F%92%A9"):
        assert refused(closed.get(f"/?token={wrong}"), 403, "is wrong, or was used already"), wrong
    assert closed.ask("HEAD", f"/?token={token(closed)}").status == 403
    first = closed.get(f"/?token={token(closed)}")
    assert first.status == 200
    assert "crow.png" not in first.text
    assert token(closed) not in first.text
    assert refused(closed.get(f"/?token={token(closed)}"), 403, "is wrong, or was used already")
    cookie = first.headers["Set-Cookie"]
    assert {part.strip() for part in cookie.split(";")[1:]} == {"HttpOnly", "Path=/", "SameSite=Strict"}
    closed.cookie = cookie.partition(";")[0]
    assert token(closed) not in cookie
    assert closed.get("/").status == 200


def test_requests_for_another_host_are_refused(closed: Site) -> None:
    port = closed.authority.partition(":")[2]
    others = ("evil.example", f"evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "", f"[::1]:{port}")
    for host in others:
        first = closed.get(f"/?token={token(closed)}", Host=host)
        assert refused(first, 421, "this server has another name"), host
    closed.enter()
    for host in others:
        for path in (*VIEWS, "/static/ui.css", "/events"):
            assert refused(closed.get(path, Host=host), 421, "this server has another name"), (host, path)
    assert closed.get("/", Host=f"localhost:{port}").status == 200


def test_a_request_with_two_hosts_or_none_is_refused(closed: Site) -> None:
    for head in ("", f"Host: {closed.authority}\r\nHost: evil.example\r\n"):
        where, _, port = closed.authority.partition(":")
        with socket.create_connection((where, int(port)), timeout=30) as talk:
            talk.sendall(f"GET / HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: talk.recv(65536), b""))
        assert answer.split()[1] in (b"400", b"421"), head


def test_writes_from_another_site_are_refused(site: Site) -> None:
    own = site.origin
    cases: tuple[dict[str, str | None], ...] = (
        {"Origin": None},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": own, "Sec-Fetch-Site": "cross-site"},
        {"Origin": own, "Sec-Fetch-Site": "same-site"},
        {"Origin": None, "Sec-Fetch-Site": "none"},
        {"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"},
    )
    for headers in cases:
        for path in WRITES:
            answer = site.ask("POST", path, "", **headers)
            assert refused(answer, 403, "the request comes from another site"), (headers, path)
    assert site.server.workspace.planning is None


def test_writes_from_the_pages_are_accepted(site: Site) -> None:
    cases: tuple[dict[str, str], ...] = ({}, {"Origin": "null", "Sec-Fetch-Site": "same-origin"})
    for headers in cases:
        assert site.ask("POST", "/plan", "", **headers).status == 303
        site.wait("/plan", lambda one: one["plan"]["state"] == "done")


def test_every_answer_has_the_headers(site: Site) -> None:
    site.planned()
    answers = [site.get(path) for path in (*VIEWS, "/nothing", "/static/ui.js", "/static/nothing", "/history/0")]
    answers += [site.get("/", Cookie=None), site.get("/", Host="evil.example"), site.post("/nothing")]
    answers += [site.post("/plan", field="x" * 100_000), site.ask("PUT", "/plan")]
    for answer in answers:
        assert answer.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Cache-Control"] == "no-store" or answer.status == 200
        assert "Python" not in answer.headers["Server"]
    for path in VIEWS:
        assert site.get(path).headers["Cache-Control"] == "no-store"


def test_no_page_has_inline_code_or_style_or_an_address_elsewhere(site: Site, annotated: World) -> None:
    site.planned()
    run = site.json("/history")["runs"][0]["id"]
    pages = [site.page(path) for path in ("/", "/plan", "/run", "/history", "/checks", "/doctor", f"/history/{run}")]
    pages += [
        site.page("/lake"),
        site.page("/lake?collection=birds"),
        site.page("/lake/item?unique_name=birds_crow.png"),
    ]
    pages.append(site.get("/nothing").text)
    for page in pages:
        assert re.findall(r"<script(?! type=\"module\" src=\"/static/ui\.js\"></script>)", page) == []
        assert re.findall(r"<style|\sstyle=|\son[a-z]+=|javascript:", page) == []
        addresses = re.findall(r"(?:href|src|action)=\"([^\"]*)\"", page)
        assert addresses
        assert [one for one in addresses if not re.match(r"/(?!/)|#", one)] == []


PATHS = (
    "/static/../pages.py", "/static/..%2fpages.py", "/static/%2e%2e/pages.py", "/static/..%5cpages.py",
    "/static//etc/passwd", "/static/%2fetc%2fpasswd", "/static/ui.css%00.js", "/../../etc/passwd",
    "/plan/{plan}/entries/0/images/..%2f..%2f..%2fetc%2fpasswd", "/plan/{plan}/entries/0/images/%2e%2e",
    "/plan/{plan}/entries/0/images/0000.webp", "/plan/{plan}/entries/1", "/plan/{plan}/entries/-1",
    "/plan/{plan}/entries/999999999", "/plan/..%2f..%2f/document", "/history/..%2f..%2fetc%2fpasswd",
    "/history/%00", "/history/'%20OR%201=1%20--", "/history/{plan}",
)  # fmt: skip


def test_no_path_leads_to_other_files(site: Site, annotated: World) -> None:
    annotated.write("people.json", boxes(crow_png=[[13, 5, 17, 10], [40, 30, 9, 9]], gull_png=[[1, 1, 5, 5]]))
    plan = site.planned()["plan"]["id"]
    assert site.get(f"/plan/{plan}/entries/0").status == 200
    for path in PATHS:
        answer = site.get(path.format(plan=plan))
        assert answer.status == 404, path
        for leak in ("root:", "import ", "Traceback", str(annotated.folder)):
            assert leak not in answer.text, path


def test_read_only_has_no_route_that_writes(annotated: World) -> None:
    annotated.images("new.png")
    with served(annotated, read_only=True) as site:
        site.enter()
        found = site.planned()
        assert found["summary"]["upload"] == 1
        page = site.page("/plan")
        assert "read-only" in page
        assert "/apply" not in page
        run = site.json("/history")["runs"][0]["id"]
        assert "/revert" not in site.page(f"/history/{run}")
        before = annotated.lake.requests.writes
        for path in (f"/plan/{found['plan']['id']}/apply", "/run/cancel", f"/history/{run}/revert"):
            assert site.post(path).status in (404, 405), path
        assert site.server.workspace.run is None
        assert annotated.lake.requests.writes == before
        pages = Pages(site.server.workspace, Access("127.0.0.1", 1))
        methods = {(one.method, one.path) for one in pages.routes()}
        assert {one for one in methods if one[0] != "GET"} == {
            ("POST", "/plan"), ("POST", "/plan/cancel"), ("POST", "/checks"), ("POST", "/doctor"),
        }  # fmt: skip


def test_errors_are_pages_without_a_traceback(site: Site, annotated: World) -> None:
    (annotated.folder / "manifest.yaml").write_text("version: 1\ncolections: []\n")
    assert site.post("/plan").status == 303
    found = site.wait("/plan", lambda one: one["plan"]["state"] != "working")
    assert found["plan"]["state"] == "failed"
    page = site.page("/plan")
    assert "There is no plan" in page
    assert "colections" in page
    assert "Traceback" not in page
    answer = site.get("/history")
    assert answer.status == 400
    assert "manifest.yaml:2" in answer.text
    assert site.get("/history?format=json").document["error"]["message"]
    (annotated.folder / "manifest.yaml").unlink()
    assert site.get("/history").status in (400, 500)


def test_an_internal_error_names_its_kind_only(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_limit: int) -> None:
        raise RuntimeError("secret_of_tests")

    monkeypatch.setattr("metalake_sync.web.pages.Pages._past_runs", lambda _self, limit: fail(limit))
    answer = site.get("/history")
    assert refused(answer, 500, "internal error: RuntimeError")
    assert "Traceback" not in answer.text


def test_a_page_that_is_loaded_while_the_server_ends_says_so(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site.server.workspace.changes, "closed", True)

    def fail(_self: Pages, _limit: int) -> None:
        raise RuntimeError("cannot schedule new futures after shutdown")

    monkeypatch.setattr("metalake_sync.web.pages.Pages._past_runs", fail)
    assert refused(site.get("/history"), 503, "the server ends")


def test_junk_does_not_end_the_server(site: Site) -> None:
    where, _, port = site.authority.partition(":")
    for junk in (b"\x16\x03\x01\x02", b"GET / HTTP/9\r\n\r\n", b"GET " + b"a" * 100_000, b"\r\n" * 10):
        with socket.create_connection((where, int(port)), timeout=30) as talk:
            talk.sendall(junk)
            talk.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: talk.recv(65536), b""))
        assert b"Traceback" not in answer
    for path in (
        "/?page=x",
        "/plan?page=-1",
        "/plan?page=99999999999999999999",
        "/plan?text=%FF%FE",
        "/plan?group=%00",
    ):
        assert site.get(path).status == 200, path
    assert site.get("/").status == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", "", "127.0.0.1.evil.example"])
def test_only_loopback_addresses_are_served(host: str) -> None:
    with pytest.raises(UsageError, match="is not a loopback address"):
        check_loopback(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.9"])
def test_loopback_addresses_are_served(host: str) -> None:
    check_loopback(host)
