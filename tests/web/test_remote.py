"""`ui --allow-remote`: signing in with the password, the names of the server, and options that do not fit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from metalake_sync.errors import UsageError
from metalake_sync.web import access
from metalake_sync.web.access import RemoteAccess, read_password
from tests.end_to_end.world import World
from tests.web.site import Site, served

PASSWORD = "correct horse battery"
NAME = "lake.acme.dev"


@pytest.fixture
def remote(annotated: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(access, "WRONG_PASSWORD_DELAY_S", 0.01)
    with served(annotated, remote=RemoteAccess(PASSWORD, (NAME,))) as site:
        yield site


def test_a_browser_of_another_machine_signs_in(remote: Site) -> None:
    first = remote.get("/history", Host=NAME)
    assert (first.status, first.headers["Location"]) == (303, "/login")
    page = remote.get("/login", Host=NAME)
    assert (page.status, "Password" in page.text) == (200, True)
    assert "birds" not in page.text
    own = {"Host": NAME, "Origin": f"https://{NAME}", "Sec-Fetch-Site": "same-origin"}
    answer = remote.ask("POST", "/login", "password=correct+horse+battery", **own)
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert {part.strip() for part in cookie.split(";")[1:]} == {"HttpOnly", "Path=/", "SameSite=Strict", "Secure"}
    remote.cookie = cookie.partition(";")[0]
    assert remote.get("/history", Host=NAME).status == 200
    assert remote.ask("POST", "/plan", "", **own).status == 303


@pytest.mark.parametrize("given", ["", "wrong", PASSWORD[:-1], PASSWORD + "x", PASSWORD.upper(), "x" * 5000])
def test_a_wrong_password_gives_no_session(remote: Site, given: str) -> None:
    answer = remote.post("/login", password=given)
    assert answer.status == 403
    assert "Set-Cookie" not in answer.headers
    assert "The password is wrong" in answer.text
    assert PASSWORD not in answer.text
    assert remote.get("/history").status == 303


def test_signing_in_is_checked_like_every_write(remote: Site) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Origin": None}, {"Host": "evil.example"}):
        answer = remote.ask("POST", "/login", "password=correct+horse+battery", **headers)
        assert answer.status in (403, 421), headers
        assert "Set-Cookie" not in answer.headers
    assert remote.get("/login", Host="evil.example").status == 421
    assert remote.post("/plan").status == 403
    assert remote.get("/events").status == 303
    assert remote.server.workspace.planning is None


def test_without_a_password_there_is_no_page_to_sign_in(annotated: World) -> None:
    with served(annotated) as site:
        assert site.get("/login").status == 403
        assert site.post("/login", password=PASSWORD).status == 403
        site.enter()
        assert site.get("/login").status == 404


def test_the_file_of_the_password(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\r\nsecond line")
    file.chmod(0o600)
    assert read_password(str(file)) == PASSWORD
    file.chmod(0o644)
    with pytest.raises(UsageError, match="other users can read"):
        read_password(str(file))
    file.chmod(0o600)
    for content, words in ((b"short", "fewer than 12"), (b"\xff" * 20, "not UTF-8")):
        file.write_bytes(content)
        with pytest.raises(UsageError, match=words):
            read_password(str(file))
    with pytest.raises(UsageError, match="cannot be read"):
        read_password(str(tmp_path / "nothing"))


def test_options_that_do_not_fit_are_errors_at_once(annotated: World) -> None:
    annotated.write("password", PASSWORD).chmod(0o600)
    cases = (
        (("--host", "0.0.0.0"), "'--host 0.0.0.0' is not a loopback address"),
        (("--password-file", "password"), "'--password-file' needs '--allow-remote'"),
        (("--public-host", NAME), "'--public-host' needs '--allow-remote'"),
        (("--allow-remote",), "'--allow-remote' needs a password"),
        (("--allow-remote", "--password-file", "nothing"), "the password cannot be read"),
        (("--allow-remote", "--password-file", "password", "--host", "0.0.0.0"), "does not tell the names"),
    )
    for options, words in cases:
        done = annotated.run("ui", "manifest.yaml", *options)
        assert (done.code, words in done.err) == (64, True), (options, done.err)
