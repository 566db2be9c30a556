"""Signed URLs permit one operation on one object for a limited time."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.embedded_lake.talk import Talk, lake_at, md5, png


def status_of(method: str, url: str) -> int:
    return requests.request(method, url, data=b"x" if method == "PUT" else None, timeout=30).status_code


def changed(url: str, old: str, new: str) -> str:
    assert old in url
    return url.replace(old, new, 1)


def test_a_part_url_is_valid_for_its_part_only(talk: Talk) -> None:
    session = talk.open(names=["a.png", "b.png"])
    a, b = talk.begin(session, "a.png"), talk.begin(session, "b.png")
    first, second = talk.sign(a, 2)
    assert status_of("PUT", first) == 200
    assert status_of("PUT", changed(first, "/1?", "/2?")) == 403
    assert status_of("PUT", changed(first, a["fileId"], b["fileId"])) == 403
    assert status_of("GET", second) in (403, 405)
    assert status_of("PUT", second) == 200


def test_a_read_url_is_valid_for_reading_its_object_only(talk: Talk) -> None:
    talk.upload({"a.png": png(), "b.png": png(salt=b"b")})
    a, b = talk.items(sortBy={"sortByField": 3, "sortOrder": "ASC"})
    blobs = [urlsplit(item["url"]).path.rsplit("/", 1)[1] for item in (a, b)]
    assert status_of("GET", a["url"]) == 200
    assert status_of("GET", changed(a["url"], *blobs)) == 403
    assert status_of("PUT", a["url"]) in (403, 405)
    assert status_of("GET", urlsplit(a["url"])._replace(query="").geturl()) == 403


def test_a_changed_signature_or_expiry_time_is_rejected(talk: Talk) -> None:
    talk.upload({"a.png": png()})
    url = talk.items()[0]["url"]
    expires = url.partition("expires=")[2].partition("&")[0]
    assert status_of("GET", changed(url, f"expires={expires}", f"expires={float(expires) + 9999:.3f}")) == 403
    assert status_of("GET", changed(url, "expires=", "expires=x")) == 403
    assert status_of("GET", url[:-1] + ("0" if url[-1] != "0" else "1")) == 403
    assert status_of("GET", url.partition("signature=")[0] + "signature=%C3%BC") == 403


def test_expired_urls_can_be_replaced_within_the_same_upload(tmp_path: Path) -> None:
    with lake_at(tmp_path / "lake", url_lifetime_s=0.3) as talk:
        session = talk.open()
        begun = talk.begin(session, "a.png")
        first, second = talk.sign(begun, 2)
        assert talk.put(first, b"one").ok
        time.sleep(0.35)
        late = talk.put(second, b"two")
        assert late.status_code == 403
        assert "expired" in late.json()["error"]["message"]
        assert talk.put(talk.sign(begun, 2)[1], b"two").ok
        assert talk.finalize(session, begun, [md5(b"one"), md5(b"two")]).ok
        talk.complete(session)
        url = talk.items()[0]["url"]
        assert status_of("GET", url) == 200
        time.sleep(0.35)
        assert status_of("GET", url) == 403


def test_urls_remain_valid_after_a_restart(tmp_path: Path) -> None:
    with lake_at(tmp_path / "lake") as talk:
        talk.upload({"a.png": png()})
        signed = urlsplit(talk.items()[0]["url"])
    with lake_at(tmp_path / "lake") as talk:
        assert requests.get(f"{talk.url}{signed.path}?{signed.query}", timeout=30).content == png()


@pytest.mark.parametrize("path", ["../lake.db", "..%2flake.db", "%2e%2e/lake.db", "x", ""])
def test_other_files_of_the_folder_cannot_be_read(talk: Talk, path: str) -> None:
    request = requests.Request("GET", f"{talk.url}/storage/objects/{path}?expires=9999999999&signature=00").prepare()
    request.url = f"{talk.url}/storage/objects/{path}?expires=9999999999&signature=00"
    with requests.Session() as session:
        assert session.send(request, timeout=30).status_code in (403, 404)
