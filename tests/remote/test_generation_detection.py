"""Detecting which generation of the protocol a lake speaks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from metalake_sync.core.notes import NoteCode
from metalake_sync.embedded_lake import EmbeddedLake
from metalake_sync.errors import CredentialsRejected, LakeAnswerInvalid, LakeRejected, StorageUnknown, SyncError
from metalake_sync.protocol.items import CountItems, ListItems
from metalake_sync.protocol.routes import Generation
from metalake_sync.protocol.uploads import OpenUpload
from metalake_sync.protocol.wire import MediaKind, StorageKind
from metalake_sync.remote.address import LakeAddress, lake_root
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.retry import Clock, RetryPolicy
from tests.embedded_lake.talk import API_KEY, SECRET, settings, talk_to
from tests.end_to_end.world import World
from tests.remote.bare_server import Line, Server, serve

TWO, THREE = Generation
COMPATIBILITY = "/datalake/api/client/sdk/compatibility/2.3.4"
SYSTEM = "/api/client/getDetails/system"
PAGE = (404, b"<html>404 Not Found</html>")
NO_ENDPOINT = (404, b'{"error": {"statusCode": 404, "name": "NotFoundError", "message": "Endpoint not found"}}')
COMPATIBLE = (200, b'{"isCompatible": true}')
COUNTS = (200, b'{"images": {"count": 3}}')

Answers = Mapping[str, tuple[int, bytes]]


@contextmanager
def lake_of(answers: Answers, generation: Generation = TWO) -> Iterator[tuple[Server, LakeClient]]:
    """A server with these answers by path. It answers any other path with a gateway's 404."""

    def answer(line: Line) -> None:
        line.read_all()
        status, body = answers.get(line.asked.target.partition("?")[0], PAGE)
        line.answer(status, body, Location="https://elsewhere.invalid/")

    clock = Clock(sleep=lambda _: None)
    with serve(answer) as server:
        address = LakeAddress(server.url, API_KEY, SECRET, generation=generation)
        with LakeClient(address, clock=clock, retry=RetryPolicy(give_up_after_s=5.0)) as client:
            yield server, client


@pytest.mark.parametrize(
    ("answers", "assumed", "spoken", "requests"),
    [
        ({COMPATIBILITY: COMPATIBLE}, TWO, TWO, 1),
        ({SYSTEM: COUNTS}, THREE, THREE, 1),
        ({SYSTEM: (204, b"")}, THREE, THREE, 1),
        # The assumed generation does not fit: one more request.
        ({SYSTEM: COUNTS}, TWO, THREE, 2),
        ({COMPATIBILITY: COMPATIBLE}, THREE, TWO, 2),
        # Without a gateway, the backend itself does not know the path.
        ({COMPATIBILITY: NO_ENDPOINT, SYSTEM: COUNTS}, TWO, THREE, 2),
        # A web page for every unknown path, as single-page applications are served.
        ({COMPATIBILITY: (200, b"<!doctype html>"), SYSTEM: COUNTS}, TWO, THREE, 2),
        # A CDN that answers 403 for unknown paths, and one that redirects them.
        ({COMPATIBILITY: (403, b"<Error><Code>AccessDenied</Code></Error>"), SYSTEM: COUNTS}, TWO, THREE, 2),
        ({COMPATIBILITY: (302, b""), SYSTEM: COUNTS}, TWO, THREE, 2),
        # An API gateway that answers unknown paths with 403 in JSON.
        ({COMPATIBILITY: (403, b'{"message": "Missing Authentication Token"}'), SYSTEM: COUNTS}, TWO, THREE, 2),
        # No decision depends on the counts of the system.
        ({SYSTEM: (406, b'{"error": {"message": "not today"}}')}, THREE, THREE, 1),
        ({SYSTEM: (200, b"[]")}, THREE, THREE, 1),
    ],
)
def test_the_generation_that_answers_is_used(
    answers: Answers, assumed: Generation, spoken: Generation, requests: int
) -> None:
    with lake_of(answers, assumed) as (server, client):
        greeting = client.greet()
        assert (greeting.generation, client.address.generation) == (spoken, spoken)
        assert greeting.notes == ()
        assert len(server.asked) == requests


@pytest.mark.parametrize("body", [b"", b"<html>log in</html>", b'{"error": {"message": "Authentication failed"}}'])
@pytest.mark.parametrize("assumed", Generation)
def test_rejected_credentials_never_count_as_another_generation(body: bytes, assumed: Generation) -> None:
    refused: Answers = {COMPATIBILITY: (401, body), SYSTEM: (401, body)}
    with lake_of(refused, assumed) as (server, client):
        with pytest.raises(CredentialsRejected):
            client.greet()
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (NO_ENDPOINT, "Endpoint not found"),
        ((406, b'{"error": {"message": "unknown client"}}'), "unknown client"),
        ((200, b'{"isCompatible": false}'), "without a reason"),
        ((204, b""), "empty"),
        ((200, b'{"version": 7}'), "isCompatible"),
    ],
)
def test_an_unconfirmed_compatibility_is_a_note(answer: tuple[int, bytes], why: str) -> None:
    with lake_of({COMPATIBILITY: answer}) as (_, client):
        greeting = client.greet()
        assert greeting.generation is TWO
        (note,) = greeting.notes
        assert note.code is NoteCode.COMPATIBILITY
        assert why in note.message


@pytest.mark.parametrize("pinned", [False, True])
def test_a_missing_compatibility_call_is_a_note(pinned: bool) -> None:
    with lake_of({"/datalake" + SYSTEM: COUNTS}) as (_, client):
        greeting = client.greet(pinned=pinned)
        assert greeting.generation is TWO
        assert [note.code for note in greeting.notes] == [NoteCode.COMPATIBILITY]


@pytest.mark.parametrize("body", [b"<html>no</html>", b'{"error": {"message": "no"}}'])
def test_credentials_rejected_under_both_base_paths_are_reported_as_rejected(body: bytes) -> None:
    with lake_of({COMPATIBILITY: (403, body), SYSTEM: (403, body)}) as (_, client), pytest.raises(CredentialsRejected):
        client.greet()


def test_a_redirecting_address_is_reported() -> None:
    answers: Answers = {COMPATIBILITY: (302, b""), SYSTEM: (302, b"")}
    with lake_of(answers) as (_, client), pytest.raises(LakeAnswerInvalid, match="redirects") as caught:
        client.greet()
    assert "final address" in str(caught.value)


def test_an_incompatible_lake_ends_the_run_unless_that_is_ignored() -> None:
    answer = (200, b'{"isCompatible": false, "message": "please upgrade"}')
    with lake_of({COMPATIBILITY: answer}) as (_, client):
        with pytest.raises(SyncError, match="please upgrade") as caught:
            client.greet()
        assert "--ignore-compatibility" in str(caught.value)
        assert "please upgrade" in client.greet(ignore_compatibility=True).notes[0].message


def test_an_address_without_a_lake_is_reported_with_the_answers() -> None:
    with lake_of({}) as (server, client):
        with pytest.raises(LakeAnswerInvalid, match="no MetaLake answers at this address") as caught:
            client.greet()
        assert "/datalake/api with status 404, not JSON" in str(caught.value)
        assert len(server.asked) == 3
    with lake_of({COMPATIBILITY: (200, b"<html>"), SYSTEM: (200, b"<html>")}) as (server, client):
        with pytest.raises(LakeAnswerInvalid, match="no MetaLake answers"):
            client.greet()
        assert len(server.asked) == 6, "a proxy may answer with a page for a moment"


def test_only_a_pinned_generation_is_tried() -> None:
    with lake_of({SYSTEM: COUNTS}) as (server, client):
        with pytest.raises(LakeAnswerInvalid, match="generation 2 of the protocol is pinned"):
            client.greet(pinned=True)
        assert [asked.target for asked in server.asked] == [COMPATIBILITY, "/datalake" + SYSTEM]


def test_detection_sends_credentials_only_to_the_configured_origin() -> None:
    elsewhere: list[str] = []
    with serve(lambda line: elsewhere.append(line.asked.target)) as other:

        def redirect(line: Line) -> None:
            line.answer(307, b"", Location=other.url + line.asked.target)

        with serve(redirect) as server, LakeClient(LakeAddress(server.url, API_KEY, SECRET)) as client:
            with pytest.raises(LakeAnswerInvalid):
                client.greet()
            assert {asked.target for asked in server.asked} == {COMPATIBILITY, SYSTEM}
    assert elsewhere == []


def test_annotations_are_requested_under_the_base_path_that_has_them() -> None:
    page = {
        "data": {
            "identifier": "1", "groupUniqueName": "g", "rawFileName": "r", "nextPage": False, "resourceArray": []
        }
    }  # fmt: skip
    path = "/datalake/api/client/getAnnotations/c1/collection"
    with lake_of({SYSTEM: COUNTS, path: (200, json.dumps(page).encode())}, THREE) as (server, client):
        client.greet()
        for _ in range(2):
            assert client.download_annotations("c1", page=0) is not None
        asked = [asked.target.partition("?")[0] for asked in server.asked[1:]]
        assert asked == [path.removeprefix("/datalake"), path, path]


def test_a_call_that_the_lake_rejects_is_not_repeated_under_the_other_base_path() -> None:
    path = "/api/client/getAnnotations/c1/collection"
    with lake_of({path: NO_ENDPOINT}, THREE) as (server, client):
        with pytest.raises(LakeRejected, match="Endpoint not found"):
            client.download_annotations("c1", page=0)
        assert len(server.asked) == 1


@pytest.mark.parametrize("name", ["AWS_S3", "aws_s3", "Aws_S3", "GCP", "gcs", "AZURE", "azure_blob", "AZURE_BLOB"])
def test_object_stores_are_recognized_by_the_names_of_both_generations(name: str) -> None:
    assert StorageKind(name) in StorageKind


def test_an_unsupported_object_store_is_reported_with_its_name() -> None:
    opened = {"storageType": "lds", "uploadId": "u", "collectionId": "c", "jobId": "j"}
    route = "/datalake/api/client/uploadMetadataInCollection"
    with lake_of({route: (200, json.dumps(opened).encode())}) as (_, client):
        request = OpenUpload(collection_type=MediaKind.IMAGE, collection_name="birds", object_key_list=["a.jpg"])
        with pytest.raises(StorageUnknown, match="'lds'"):
            client.open_upload(request)


@pytest.mark.parametrize("suffix", ["", "/", "/datalake", "/datalake/"])
def test_the_address_may_end_with_the_base_path(suffix: str) -> None:
    assert lake_root(f"https://api.acme.example{suffix}") == "https://api.acme.example"
    assert LakeAddress(f"https://h.example/lakes/7{suffix}", "k", "s").url == "https://h.example/lakes/7"


@pytest.mark.parametrize("generation", Generation)
def test_filters_of_generation_3_are_sent_only_to_generation_3(generation: Generation) -> None:
    bodies: list[bytes] = []

    def answer(line: Line) -> None:
        line.read_all()
        bodies.append(line.body)
        line.answer(204)

    with serve(answer) as server:
        address = LakeAddress(server.url, API_KEY, SECRET, generation=generation)
        with LakeClient(address) as client:
            list(client.list_items(ListItems()))
            client.count_items(CountItems())
    filters = [json.loads(body)["filterData"] for body in bodies]
    assert [("keywords" in sent, "categories" in sent) for sent in filters] == [(generation is THREE,) * 2] * 2


@pytest.mark.parametrize("served", Generation)
def test_the_state_remembers_the_generation(tmp_path: Path, served: Generation) -> None:
    folder = tmp_path / "project"
    folder.mkdir()

    with _world(folder, tmp_path / "lake", served) as world_of_one:
        world_of_one.images("a.png")
        world_of_one.manifest({"name": "birds", "type": "image", "folders": [{"path": "images"}]})
        world_of_one.good("apply", "manifest.yaml")
        log = world_of_one.lake.requests
        log.clear()
        assert world_of_one.good("apply", "manifest.yaml").out.startswith("Nothing to do")
        assert log.of("unknown") == 0, "the remembered generation is asked first"
        port = int(world_of_one.lake.url.rpartition(":")[2])
        doctor = world_of_one.good("doctor", "manifest.yaml").out
        assert f"speaks generation {int(served)} of the protocol" in doctor
    # The lake was upgraded or downgraded, so the remembered generation is wrong.
    with _world(folder, tmp_path / "lake", served.other, port) as upgraded:
        assert upgraded.good("apply", "manifest.yaml").out.startswith("Nothing to do")
        assert upgraded.lake.requests.of("unknown") == 1
        upgraded.lake.requests.clear()
        upgraded.good("plan", "manifest.yaml")
        assert upgraded.lake.requests.of("unknown") == 0


@contextmanager
def _world(folder: Path, lake_folder: Path, served: Generation, port: int = 0) -> Iterator[World]:
    of_one = settings(lake_folder, generations=frozenset({served}), port=port)
    with EmbeddedLake(of_one) as lake, talk_to(lake.url) as talk:
        yield World(folder, lake, talk)
