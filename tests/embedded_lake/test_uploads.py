"""How files are uploaded to a lake, and when they become visible."""

from __future__ import annotations

import concurrent.futures
from pathlib import Path

import pytest
import requests

from tests.embedded_lake.talk import OTHER, VIDEO, Talk, error_of, lake_at, md5, png


def test_an_uploaded_file_is_returned_byte_by_byte(talk: Talk) -> None:
    talk.upload({"a.png": png()})
    assert talk.read("birds_a.png") == png()


def test_an_empty_file_is_one_empty_part(talk: Talk) -> None:
    talk.upload({"a.bin": b""}, "things", kind=OTHER)
    assert talk.read("things_a.bin") == b""
    assert talk.details("things_a.bin", "fileSize")["fileSize"] == 0


def test_the_last_part_may_be_empty(talk: Talk) -> None:
    session = talk.open("films", ["a.mp4"], kind=VIDEO)
    talk.send(session, "a.mp4", b"x" * 1000, b"")
    talk.complete(session)
    assert talk.read("films_a.mp4") == b"x" * 1000


def test_parts_may_arrive_in_any_order_and_concurrently(talk: Talk) -> None:
    parts = [bytes([number]) * 700_000 for number in range(8)]
    session = talk.open(names=["a.png"])
    begun = talk.begin(session, "a.png")
    sent = list(reversed(list(zip(talk.sign(begun, 8), parts, strict=True))))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert all(answer.ok for answer in pool.map(lambda pair: talk.put(*pair), sent))
    assert talk.finalize(session, begun, [md5(part) for part in parts]).ok
    talk.complete(session)
    assert talk.read("birds_a.png") == b"".join(parts)


def test_a_part_that_is_sent_again_replaces_the_previous_one(talk: Talk) -> None:
    session = talk.open()
    begun = talk.begin(session, "a.png")
    (url,) = talk.sign(begun)
    talk.put(url, b"first")
    talk.put(url, b"second")
    assert talk.finalize(session, begun, [md5(b"first")]).status_code == 400
    assert talk.finalize(session, begun, [md5(b"second")]).ok
    talk.complete(session)
    assert talk.read("birds_a.png") == b"second"


def test_parts_are_kept_when_new_urls_are_requested(talk: Talk) -> None:
    session = talk.open()
    begun = talk.begin(session, "a.png")
    talk.put(talk.sign(begun, 2)[0], b"one")
    assert talk.begin(session, "a.png") == begun
    talk.put(talk.sign(begun, 2)[1], b"two")
    assert talk.finalize(session, begun, [md5(b"one"), md5(b"two")]).ok
    talk.complete(session)
    assert talk.read("birds_a.png") == b"onetwo"


@pytest.mark.parametrize(
    ("etags", "why"),
    [
        ([], "in order, from 1"),
        ([md5(b"one")[::-1]], "Part 1 was not received, or its ETag differs"),
        ([md5(b"one"), md5(b"two")], "Part 2 was not received"),
    ],
)
def test_finalize_rejects_missing_parts(talk: Talk, etags: list[str], why: str) -> None:
    session = talk.open()
    begun = talk.begin(session, "a.png")
    talk.put(talk.sign(begun, 2)[0], b"one")
    status, message = error_of(talk.finalize(session, begun, etags))
    assert status == 400
    assert why in message


def test_finalize_accepts_quoted_etags_and_may_be_repeated(talk: Talk) -> None:
    session = talk.open()
    begun = talk.begin(session, "a.png")
    talk.put(talk.sign(begun)[0], b"one")
    assert talk.finalize(session, begun, [f'"{md5(b"one")}"']).ok
    assert talk.finalize(session, begun, []).ok
    assert talk.sign(begun)
    talk.complete(session)
    assert talk.read("birds_a.png") == b"one"


def test_several_requests_may_finalize_the_same_file_at_once(talk: Talk) -> None:
    parts = [bytes([number]) * 400_000 for number in range(6)]
    session = talk.open()
    begun = talk.begin(session, "a.png")
    for url, part in zip(talk.sign(begun, 6), parts, strict=True):
        talk.put(url, part)
    etags = [md5(part) for part in parts]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: talk.finalize(session, begun, etags).status_code, range(6)))
    assert answers == [200] * 6
    talk.complete(session)
    assert talk.read("birds_a.png") == b"".join(parts)


def test_a_finalized_file_accepts_no_more_parts(talk: Talk) -> None:
    session = talk.open()
    begun = talk.begin(session, "a.png")
    (url,) = talk.sign(begun)
    talk.put(url, b"one")
    assert talk.finalize(session, begun, [md5(b"one")]).ok
    assert talk.put(url, b"two").status_code == 404
    talk.complete(session)
    assert talk.read("birds_a.png") == b"one"


def test_finalize_rejects_a_file_of_another_session(talk: Talk) -> None:
    session, other = talk.open(), talk.open("beasts")
    begun = talk.begin(session, "a.png")
    talk.put(talk.sign(begun)[0], b"one")
    assert talk.finalize(other, begun, [md5(b"one")]).status_code == 406
    assert talk.finalize(session, {**begun, "fileKey": "elsewhere"}, [md5(b"one")]).status_code == 406


def test_files_are_not_visible_before_the_session_is_completed(talk: Talk) -> None:
    session = talk.open()
    talk.send(session, "a.png", png())
    assert talk.items(session.collection_id) == []
    assert talk.count(session.collection_id) == 0
    assert talk.job(session)["status"] == 3
    talk.complete(session)
    assert talk.names(session.collection_id) == ["a.png"]


def test_files_are_not_visible_before_the_job_is_done(tmp_path: Path) -> None:
    with lake_at(tmp_path / "lake", job_delay_s=0.6) as talk:
        session = talk.open()
        talk.send(session, "a.png", png())
        assert talk.complete(session) == ["birds_a.png"]
        job = talk.job(session)
        assert job["status"] == 1
        assert 0 <= job["progress"] < 100
        assert talk.items(session.collection_id) == []
        while talk.job(session)["status"] == 1:
            pass
        assert talk.job(session) == {"isSuccess": True, "jobId": session.job_id, "status": 2, "progress": 100.0}
        assert talk.names(session.collection_id) == ["a.png"]


def test_files_that_were_never_finalized_do_not_appear(talk: Talk) -> None:
    session = talk.open(names=["a.png", "b.png"])
    talk.send(session, "a.png", png())
    talk.begin(session, "b.png")
    assert talk.complete(session) == ["birds_a.png"]
    assert talk.names(session.collection_id) == ["a.png"]


def test_completing_again_adds_the_files_that_were_finalized_since(talk: Talk) -> None:
    session = talk.open(names=["a.png", "b.png"])
    talk.send(session, "a.png", png())
    talk.complete(session)
    talk.send(session, "b.png", png(salt=b"b"))
    assert talk.count(session.collection_id) == 1
    assert talk.complete(session) == talk.complete(session) == ["birds_a.png", "birds_b.png"]
    assert talk.count(session.collection_id) == 2


def test_a_name_that_the_collection_has_is_reported_as_existing(talk: Talk) -> None:
    talk.upload({"a.png": png()})
    session = talk.open()
    assert talk.begin(session, "a.png")["isExisting"] is True
    assert talk.complete(session) == ["birds_a.png"]


def test_the_first_completed_of_two_sessions_gets_the_name(talk: Talk) -> None:
    first, second = talk.open(), talk.open()
    talk.send(first, "a.png", b"of the first")
    talk.send(second, "a.png", b"of the second")
    assert talk.complete(second) == ["birds_a.png"]
    assert talk.complete(first) == ["birds_a.png"]
    assert talk.read("birds_a.png") == b"of the second"
    assert talk.count(first.collection_id) == 1


def test_metadata_of_a_session_is_written_to_its_new_files_only(talk: Talk) -> None:
    talk.upload({"a.png": png()}, metadata={"Camera": "1", "Tags": ["old"]})
    session = talk.open(names=["a.png", "b.png"], metadata={"Camera": "2"})
    talk.send(session, "b.png", png(salt=b"b"))
    talk.complete(session)
    assert talk.details("birds_a.png", "Camera")["Camera"] == "1"
    assert talk.details("birds_b.png", "Camera")["Camera"] == "2"


def test_with_override_metadata_is_also_written_to_existing_files(talk: Talk) -> None:
    talk.upload({"a.png": png(), "c.png": png()}, metadata={"Camera": "1", "Lens": "x", "Tags": ["old"]})
    session = talk.open(names=["a.png"], metadata={"Camera": "2", "Tags": ["new"]}, override=True)
    talk.begin(session, "a.png")
    talk.complete(session)
    there = talk.details("birds_a.png", "Camera", "Lens", "Tags")
    assert (there["Camera"], there["Lens"], there["Tags"]) == ("2", "x", ["new"])
    assert talk.details("birds_c.png", "Camera")["Camera"] == "1"


@pytest.mark.parametrize("metadata", ["", {}, None])
def test_missing_metadata_can_be_written_in_three_ways(talk: Talk, metadata: object) -> None:
    talk.upload({"a.png": png()}, metadata=metadata)
    assert talk.names() == ["a.png"]


ODD_NAMES = [
    "..",
    "...png",
    "with space.png",
    "quotes'\".png",
    "Ünïcödé 鳥 🐦.png",
    "back\\slash.png",
    "per%20cent%2F.png",
    "question?&=#.png",
    "l" * 300 + ".png",
    "a\u0301.png",
    "\u202egnp.exe",
    "-rf",
    "CON",
]


def test_names_are_opaque_text(talk: Talk, tmp_path: Path) -> None:
    session = talk.upload({name: name.encode() for name in ODD_NAMES})
    assert sorted(talk.names(session.collection_id)) == sorted(ODD_NAMES)
    for item in talk.items(session.collection_id):
        assert talk.read(item["uniqueName"]) == item["name"].encode()
    on_disk = {path.name for path in tmp_path.rglob("*")}
    assert not on_disk & set(ODD_NAMES)


@pytest.mark.parametrize(
    "name", ["", "a/b.png", "/a.png", "line\nbreak.png", "nul\0.png", "bell\x07.png", "c1\x85.png"]
)
def test_invalid_names_are_rejected(talk: Talk, name: str) -> None:
    opened = talk.post(
        "/api/client/uploadMetadataInCollection",
        {"collectionType": 5, "collectionName": "birds", "metaDataObject": {}, "objectKeyList": [name]},
    )
    assert error_of(opened)[0] == 406
    session = talk.open()
    begun = talk.post(
        "/api/client/fileUpload/initializeMultipartUpload",
        {"fileName": name, "collectionName": "birds", "uploadId": session.upload_id},
    )
    assert error_of(begun)[0] == 406


@pytest.mark.parametrize("name", ["", "  ", "a\nb"])
def test_collections_need_a_name(talk: Talk, name: str) -> None:
    body = {"collectionType": 5, "collectionName": name, "metaDataObject": {}, "objectKeyList": []}
    assert error_of(talk.post("/api/client/uploadMetadataInCollection", body))[0] == 406


def test_a_session_accepts_only_files_of_its_own_collection(talk: Talk) -> None:
    session = talk.open("birds")
    body = {"fileName": "a.png", "collectionName": "beasts", "uploadId": session.upload_id}
    assert error_of(talk.post("/api/client/fileUpload/initializeMultipartUpload", body))[0] == 406


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/client/fileUpload/initializeMultipartUpload", {"fileName": "a", "collectionName": "b", "uploadId": "x"}),
        ("/api/client/fileUpload/getMultipartPreSignedUrls", {"fileId": "x", "fileKey": "y", "parts": 1}),
        (
            "/api/client/fileUpload/finalizeMultipartUpload",
            {"fileId": "x", "fileKey": "y", "uploadId": "z", "parts": [], "finalizeUrl": ""},
        ),
    ],
)
def test_unknown_ids_are_not_found(talk: Talk, path: str, body: object) -> None:
    assert error_of(talk.post(path, body))[0] == 404
    assert error_of(talk.get("/api/client/collectionUploadingStatus/x/complete"))[0] == 404
    assert error_of(talk.get("/api/client/jobs/x/getStatus"))[0] == 404


def test_the_object_key_consists_of_prefix_storage_path_and_name(talk: Talk) -> None:
    talk.upload({"a.png": png()}, "my birds!", prefix="/dir_1/sub_dir_1/")
    assert talk.details("my birds__a.png", "storagePath")["storagePath"] == "dir_1/sub_dir_1/my birds_/a.png"
    talk.upload({"b.png": png()}, "my birds!")
    assert talk.details("my birds__b.png", "storagePath")["storagePath"] == "dir_1/sub_dir_1/my birds_/b.png"


def test_progress_of_an_upload_is_the_share_of_finalized_files(talk: Talk) -> None:
    session = talk.open(names=["a.png", "b.png"])
    assert talk.get("/api/client/collection/getuploadProgress", collectionName="birds").status_code == 204
    talk.send(session, "a.png", png())
    talk.begin(session, "b.png")
    assert talk.got("/api/client/collection/getuploadProgress", collectionName="birds")["progress"] == 50.0
    assert talk.get("/api/client/collection/getuploadProgress", collectionName="missing").status_code == 204


def test_a_body_that_ends_early_does_not_store_a_part(talk: Talk, tmp_path: Path) -> None:
    import socket
    from urllib.parse import urlsplit

    session = talk.open()
    begun = talk.begin(session, "a.png")
    (url,) = talk.sign(begun)
    address = urlsplit(url)
    assert address.hostname is not None
    with socket.create_connection((address.hostname, address.port or 80)) as raw:
        head = f"PUT {address.path}?{address.query} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
        raw.sendall(head.encode() + b"only this")
    status = talk.finalize(session, begun, [md5(b"only this")]).status_code
    assert status == 400
    assert talk.put(url, b"whole").ok
    assert talk.finalize(session, begun, [md5(b"whole")]).ok
    assert list((tmp_path / "lake" / "parts").iterdir()) == []


def test_ranges_of_an_object_are_served(talk: Talk) -> None:
    content = bytes(range(256)) * 40
    talk.upload({"a.png": content})
    (item,) = talk.items()
    part = requests.get(item["url"], headers={"Range": "bytes=1000-1999"}, timeout=30)
    assert part.status_code == 206
    assert part.headers["Content-Range"] == f"bytes 1000-1999/{len(content)}"
    assert part.content == content[1000:2000]
    tail = requests.get(item["url"], headers={"Range": "bytes=10000-"}, timeout=30)
    assert tail.content == content[10000:]
    beyond = requests.get(item["url"], headers={"Range": "bytes=99999-"}, timeout=30)
    assert beyond.status_code == 416
    whole = requests.get(item["url"], timeout=30)
    assert whole.headers["Content-Length"] == str(len(content))
