"""Injected faults: each kind as it appears on the wire, and which requests get it."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from metalake_sync.embedded_lake import EmbeddedLake
from metalake_sync.embedded_lake.faults import FaultPlan, Faults, read_fault_plan
from metalake_sync.embedded_lake.request_log import RequestKind
from metalake_sync.errors import UsageError
from tests.embedded_lake.talk import Talk, error_of, md5, png, settings, talk_to
from tests.end_to_end.world import PROGRAM

SYSTEM = "/api/client/getDetails/system"
READ, WRITE = RequestKind("GET", "system_details", mutating=False), RequestKind("POST", "finalize_file", mutating=True)


def plan(*faults: dict[str, Any], seed: int = 0) -> FaultPlan:
    return FaultPlan.model_validate({"seed": seed, "faults": list(faults)})


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[EmbeddedLake]:
    with EmbeddedLake(settings(tmp_path / "lake")) as lake:
        yield lake


@pytest.fixture
def talk(lake: EmbeddedLake) -> Iterator[Talk]:
    with talk_to(lake.url) as talk:
        yield talk


def test_an_injected_error_has_its_status_and_retry_after(lake: EmbeddedLake, talk: Talk) -> None:
    lake.faults.use(plan({"kind": "status", "status": 429, "retry_after": 2, "route": "system_details"}))
    answer = talk.get(SYSTEM)
    assert (error_of(answer)[0], answer.headers["Retry-After"]) == (429, "2")
    assert talk.get(SYSTEM).ok
    assert lake.faults.injected == {"status": 1}


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_reset_happens_before_or_after_the_request_is_carried_out(lake: EmbeddedLake, talk: Talk, when: str) -> None:
    session = talk.open()
    begun = talk.begin(session, "a.png")
    talk.put(talk.sign(begun)[0], b"x")
    lake.faults.use(plan({"kind": "reset", "when": when, "route": "finalize_file"}))
    with pytest.raises(requests.ConnectionError):
        talk.finalize(session, begun, [md5(b"x")])
    assert talk.complete(session) == (["birds_a.png"] if when == "after" else [])


def test_an_injected_error_can_hide_that_the_request_was_carried_out(lake: EmbeddedLake, talk: Talk) -> None:
    lake.faults.use(plan({"kind": "status", "status": 502, "carried_out": True, "route": "create_collection"}))
    body = {"collectionName": "birds", "objectType": 5, "customMetaObject": {}}
    assert talk.post("/api/client/metadata/collection/create", body).status_code == 502
    assert talk.asked("/api/client/metadata/getCollectionIdByName", {"collectionName": "birds", "objectType": 5})


def test_answers_and_objects_can_be_cut_in_the_middle(lake: EmbeddedLake, talk: Talk) -> None:
    talk.upload({"a.png": png()})
    url = talk.items()[0]["url"]
    lake.faults.use(plan({"kind": "cut", "route": "system_details"}, {"kind": "cut", "route": "get_object"}))
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        talk.get(SYSTEM)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        requests.get(url, timeout=30)
    assert requests.get(url, timeout=30).content == png()


def test_an_answer_can_be_html_instead_of_json(lake: EmbeddedLake, talk: Talk) -> None:
    lake.faults.use(plan({"kind": "no_json"}))
    answer = talk.get(SYSTEM)
    assert answer.ok
    with pytest.raises(ValueError, match="Expecting value"):
        answer.json()


def test_a_corrupted_part_has_another_etag_and_an_expired_url_is_rejected(lake: EmbeddedLake, talk: Talk) -> None:
    session = talk.open()
    begun = talk.begin(session, "a.png")
    lake.faults.use(plan({"kind": "wrong_etag"}, {"kind": "expired_url"}))
    [url] = talk.sign(begun)
    assert talk.put(url, b"x").headers["ETag"] not in ("", f'"{md5(b"x")}"')
    assert "expired" in error_of(talk.put(url, b"x"))[1]
    assert talk.put(url, b"x").headers["ETag"] == f'"{md5(b"x")}"'


def test_a_stall_sends_half_of_the_answer(lake: EmbeddedLake, talk: Talk) -> None:
    lake.faults.use(plan({"kind": "stall", "seconds": 30}))
    with pytest.raises(requests.ConnectionError, match="Read timed out"):
        talk.http.get(f"{talk.url}/datalake{SYSTEM}", timeout=0.2)


def test_every_request_is_reset_while_the_lake_is_down() -> None:
    clock = iter([0.0, 0.0, 1.0, 1.9, 2.1, 2.2])
    faults = Faults(plan({"kind": "down", "seconds": 2}), clock=lambda: next(clock))
    kinds = [getattr(faults.pick(READ), "kind", None) for _ in range(4)]
    assert kinds == ["down", "reset", "reset", None]


def test_a_job_can_fail_with_all_of_its_files_or_never_end(lake: EmbeddedLake, talk: Talk) -> None:
    lake.faults.use(plan({"kind": "job_fails"}, {"kind": "job_never_ends"}))
    failed = talk.upload({"a.png": png()})
    assert talk.job(failed)["status"] == 4
    endless = talk.upload({"b.png": png()})
    assert (talk.job(endless)["status"], talk.job(endless)["progress"]) == (1, 0)
    assert talk.names(endless.collection_id) == []
    assert talk.names(talk.upload({"a.png": png()}).collection_id) == ["a.png"]


def test_a_call_can_answer_200_without_doing_anything(lake: EmbeddedLake, talk: Talk) -> None:
    session = talk.open()
    begun = talk.begin(session, "a.png")
    lake.faults.use(plan({"kind": "does_nothing", "route": "put_part"}))
    [url] = talk.sign(begun)
    assert talk.put(url, b"x").headers["ETag"] == f'"{md5(b"x")}"'
    assert error_of(talk.finalize(session, begun, [md5(b"x")]))[0] == 400


def test_only_matching_requests_get_a_fault() -> None:
    faults = Faults(plan({"kind": "no_json", "route": "finalize_file", "after": 2, "times": 1}))
    assert [faults.pick(asked) is not None for asked in (READ, WRITE, WRITE, READ, WRITE, WRITE)] == [
        False,
        False,
        False,
        False,
        True,
        False,
    ]
    faults.use(plan({"kind": "no_json", "effect": "writes", "times": None}))
    assert [faults.pick(asked) is not None for asked in (READ, WRITE, WRITE)] == [False, True, True]


@given(seed=st.integers(), chance=st.floats(0.05, 0.95))
def test_the_same_seed_affects_the_same_requests(seed: int, chance: float) -> None:
    wanted = plan({"kind": "no_json", "chance": chance, "times": None}, seed=seed)
    first, second = Faults(wanted), Faults(wanted)
    picks = [(first.pick(READ) is None, second.pick(READ) is None) for _ in range(200)]
    assert all(one == other for one, other in picks)
    assert len(set(picks)) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("faults: [", "is not YAML"),
        ("faults: [{kind: storm}]", "faults.0"),
        ("faults: [{kind: reset, route: nowhere}]", "unknown route 'nowhere'"),
        ("faults: [{kind: does_nothing, route: begin_file}]", "'does_nothing' is possible only for"),
        ("faults: [{kind: latency}]", "faults.0.latency.seconds"),
        ("faulst: []", "faulst"),
        ("!!python/object/apply:os.system [true]", "is not YAML"),
    ],
)
def test_an_invalid_plan_is_rejected_with_the_place_of_the_error(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "faults.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=words):
        read_fault_plan(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_fault_plan(tmp_path / "none.yaml")


def test_a_served_lake_prints_which_faults_it_injected(tmp_path: Path) -> None:
    (tmp_path / "faults.yaml").write_text("faults: [{kind: status, status: 503, times: 2}]")
    command = [str(PROGRAM), "lake", "serve", "--dir", str(tmp_path / "lake"), "--faults", f"{tmp_path}/faults.yaml"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("listening on ").strip()
        credentials = process.stdout.readline().split("=")
        auth = (credentials[1].partition(" ")[0], credentials[2].strip())
        codes = [requests.get(f"{url}/datalake{SYSTEM}", auth=auth, timeout=30).status_code for _ in range(3)]
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readlines()[-1] == "faults injected: 2 status\n"
    assert codes == [503, 503, 200]


def test_latency_only_delays_the_answer(lake: EmbeddedLake, talk: Talk) -> None:
    lake.faults.use(plan({"kind": "latency", "seconds": 0.05}))
    started = time.monotonic()
    assert talk.get(SYSTEM).ok
    assert time.monotonic() - started >= 0.05


def test_a_rate_allows_its_number_of_requests_and_affects_the_others() -> None:
    now = [100.0]
    faults = Faults(plan({"kind": "rate", "per_second": 5, "route": "lake"}), clock=lambda: now[0])
    put = RequestKind("PUT", "put_part", mutating=True)
    assert [faults.pick(READ) is None for _ in range(7)] == [True] * 5 + [False] * 2
    assert faults.pick(put) is None
    now[0] += 0.21
    assert [faults.pick(READ) is None for _ in range(2)] == [True, False]
    now[0] += 60
    assert [faults.pick(WRITE) is None for _ in range(6)] == [True] * 5 + [False]
    assert faults.injected == {"rate": 4}


def test_requests_above_a_rate_get_429(lake: EmbeddedLake, talk: Talk) -> None:
    lake.faults.use(plan({"kind": "rate", "per_second": 0.01, "retry_after": 3}))
    assert talk.get(SYSTEM).ok
    answer = talk.get(SYSTEM)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "3")
