"""A lake's folder: used by one server at a time, private, and kept across restarts and kills."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from metalake_sync.embedded_lake import EmbeddedLake, LakeSettings, generate_credentials
from metalake_sync.errors import ExitCode, StateError, StateLocked, SyncError, UsageError
from tests.embedded_lake.talk import API_KEY, SECRET, Talk, box, image_set, lake_at, md5, png, settings, talk_to

SERVE = """
import sys
from pathlib import Path
from metalake_sync.embedded_lake import LakeSettings, serve
serve(
    LakeSettings(Path(sys.argv[1]), api_key=sys.argv[2], secret=sys.argv[3], host=sys.argv[4]),
    lambda line: print(line, flush=True),
)
"""


@contextmanager
def served(folder: Path, host: str = "127.0.0.1") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a lake in a separate process. Yields the process and the first line of its output."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(folder), API_KEY, SECRET, host], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def failure(folder: Path, **changes: object) -> SyncError:
    with pytest.raises(SyncError) as caught, EmbeddedLake(settings(folder, **changes)):
        pass
    assert caught.value.remedy
    return caught.value


def test_a_restart_keeps_all_data(tmp_path: Path) -> None:
    with lake_at(tmp_path / "lake") as talk:
        session = talk.upload({"a.png": png()}, metadata={"Camera": "1", "Tags": ["x"]})
        refs = talk.label("bird", size=["small"])
        talk.annotate("op", [image_set("birds_a.png", box("bird", 1, 2, 3, 4))])
        waiting = talk.open(names=["b.png"])
        begun = talk.begin(waiting, "b.png")
        talk.put(talk.sign(begun, 2)[0], b"one")
        before = talk.details("birds_a.png", "Camera", "Tags", "fileSize", "createdAt")
    with lake_at(tmp_path / "lake") as talk:
        after = talk.details("birds_a.png", "Camera", "Tags", "fileSize", "createdAt")
        assert {**before, "url": ""} == {**after, "url": ""}
        assert talk.read("birds_a.png") == png()
        assert talk.label("bird", size=["small"]) == refs
        assert talk.annotations(session.collection_id)["a.png"][0]["bbox"] == [1, 2, 3, 4]
        assert talk.job(session)["status"] == 2
        assert talk.begin(waiting, "b.png") == begun
        talk.put(talk.sign(begun, 2)[1], b"two")
        assert talk.finalize(waiting, begun, [md5(b"one"), md5(b"two")]).ok
        talk.complete(waiting)
        assert talk.read("birds_b.png") == b"onetwo"


def test_a_job_continues_after_a_restart(tmp_path: Path) -> None:
    with lake_at(tmp_path / "lake", job_delay_s=0.5) as talk:
        session = talk.open()
        talk.send(session, "a.png", png())
        talk.complete(session)
        assert talk.job(session)["status"] == 1
    with lake_at(tmp_path / "lake") as talk:
        seen = talk.items()
        while talk.job(session)["status"] == 1:
            assert seen == []
            seen = talk.items()
        assert talk.names() == ["a.png"]


def test_acknowledged_changes_survive_a_kill(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    with served(folder) as (process, line), talk_to(line.removeprefix("listening on ")) as talk:
        session = talk.upload({"a.png": png()}, metadata={"Camera": "1"})
        talk.annotate("op", [image_set("birds_a.png", box("bird", 1, 2, 3, 4))])
        waiting = talk.open(names=["b.png", "c.png"])
        talk.send(waiting, "b.png", b"finalized")
        begun = talk.begin(waiting, "c.png")
        talk.put(talk.sign(begun, 2)[1], b"two")
        process.send_signal(signal.SIGKILL)
        process.wait()
    (folder / "parts" / "0123.unfinished").write_bytes(b"half of a part that was not acknowledged")
    with lake_at(folder) as talk:
        assert talk.read("birds_a.png") == png()
        assert talk.details("birds_a.png", "Camera")["Camera"] == "1"
        assert talk.annotations(session.collection_id)["a.png"][0]["bbox"] == [1, 2, 3, 4]
        talk.put(talk.sign(begun, 2)[0], b"one")
        assert talk.finalize(waiting, begun, [md5(b"one"), md5(b"two")]).ok
        assert talk.complete(waiting) == ["birds_b.png", "birds_c.png"]
        assert talk.read("birds_b.png") == b"finalized"
        assert talk.read("birds_c.png") == b"onetwo"
        assert list((folder / "parts").iterdir()) == []


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_a_served_lake_prints_its_address_and_stops_on_a_signal(tmp_path: Path, host: str, shown: str) -> None:
    with served(tmp_path / "lake", host) as (process, line):
        assert line.startswith(f"listening on http://{shown}:")
        with talk_to(line.removeprefix("listening on ")) as talk:
            assert talk.got("/api/client/sdk/compatibility/2.3.4")["isCompatible"] is True
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0
    assert not (tmp_path / "lake" / "server.json").exists()


def test_a_second_server_fails_and_prints_which_process_holds_the_folder(tmp_path: Path) -> None:
    with lake_at(tmp_path / "lake") as talk:
        error = failure(tmp_path / "lake")
        assert isinstance(error, StateLocked)
        assert error.exit_code is ExitCode.LOCKED
        assert f"pid {os.getpid()} on" in error.message
        assert talk.got("/api/client/sdk/compatibility/2.3.4")
    with lake_at(tmp_path / "lake"):
        pass


def test_a_port_in_use_is_a_usage_error(tmp_path: Path) -> None:
    with EmbeddedLake(settings(tmp_path / "one")) as lake:
        error = failure(tmp_path / "two", port=int(lake.url.rpartition(":")[2]))
    assert isinstance(error, UsageError)
    assert "cannot listen on" in error.message
    assert isinstance(failure(tmp_path / "two", host="256.256.256.256"), UsageError)
    assert isinstance(failure(tmp_path / "two", port=70_000), UsageError)


def test_a_folder_with_other_files_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"")
    error = failure(tmp_path)
    assert isinstance(error, StateError)
    assert "no lake" in error.message
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_a_file_in_place_of_the_folder_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "lake").write_bytes(b"")
    assert isinstance(failure(tmp_path / "lake"), StateError)
    assert isinstance(failure(tmp_path / "lake" / "deeper"), StateError)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_rejected(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert isinstance(failure(tmp_path / "lake"), StateError)


def test_a_damaged_database_is_rejected(tmp_path: Path) -> None:
    with lake_at(tmp_path / "lake"):
        pass
    (tmp_path / "lake" / "lake.db").write_bytes(b"no database at all" * 1000)
    error = failure(tmp_path / "lake")
    assert isinstance(error, StateError)
    assert "damaged" in error.message


def test_a_database_of_another_program_is_rejected(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "lake.db")
    connection.execute("CREATE TABLE recipes (name)")
    connection.close()
    assert "not a lake's" in failure(tmp_path).message


def test_a_database_of_a_newer_version_is_rejected(tmp_path: Path) -> None:
    with lake_at(tmp_path / "lake"):
        pass
    connection = sqlite3.connect(tmp_path / "lake" / "lake.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert "newer version" in failure(tmp_path / "lake").message


def test_a_lake_without_credentials_is_a_usage_error(tmp_path: Path) -> None:
    assert isinstance(failure(tmp_path / "lake", secret=""), UsageError)


def test_only_the_owner_can_access_files_and_folders(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with lake_at(tmp_path / "lake", request_log=tmp_path / "log.jsonl") as talk:
            talk.upload({"a.png": png()})
            session = talk.open(names=["b.png"])
            talk.put(talk.sign(talk.begin(session, "b.png"), 2)[0], b"one")
            paths = [tmp_path / "lake", tmp_path / "log.jsonl", *(tmp_path / "lake").rglob("*")]
            modes = {path: stat.S_IMODE(path.stat().st_mode) for path in paths}
    finally:
        os.umask(old)
    assert any(path.parent.name == "parts" for path in modes)
    assert {path for path, mode in modes.items() if mode & 0o077} == set()


def test_secrets_do_not_appear_in_reprs_or_logs(tmp_path: Path) -> None:
    lake_settings = settings(tmp_path / "lake", request_log=tmp_path / "log.jsonl")
    assert SECRET not in repr(lake_settings)
    assert API_KEY not in repr(lake_settings)
    with EmbeddedLake(lake_settings) as lake, talk_to(lake.url) as talk:
        talk.upload({"a.png": png()})
        talk.got("/api/client/downloadUrl", file_key="birds_a.png")
    written = (tmp_path / "log.jsonl").read_text()
    for secret in (SECRET, API_KEY, "signature", "file_key", "birds"):
        assert secret not in written


def test_generated_credentials_differ_every_time() -> None:
    assert generate_credentials() != generate_credentials()
    assert all(len(part) >= 32 for part in generate_credentials())


def test_the_request_log_has_route_effect_and_status_of_each_request(tmp_path: Path) -> None:
    with EmbeddedLake(settings(tmp_path / "lake", request_log=tmp_path / "log.jsonl")) as lake:
        with talk_to(lake.url) as talk:
            session = talk.open()
            talk.send(session, "a.png", b"12345")
            assert lake.requests.writes == lake.requests.counts.total() == 5
            talk.items()
            requests.get(f"{lake.url}/datalake/elsewhere", timeout=30)
        assert lake.requests.writes == 5
        assert lake.requests.of("put_part") == 1
        assert lake.requests.of("list_items") == 1
        lake.requests.clear()
        assert lake.requests.writes == 0
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[3] == {"method": "PUT", "route": "put_part", "effect": "writes", "status": 200, "bytes_in": 5}
    assert [(line["route"], line["effect"], line["status"]) for line in lines[5:]] == [
        ("list_items", "reads", 204),
        ("unknown", "reads", 401),
    ]


def test_importing_the_package_does_not_load_the_server() -> None:
    code = "import sys, metalake_sync.embedded_lake; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"aiohttp", "sqlite_utils", "pydantic"} & set(done.stdout.split())


def test_a_lake_can_be_started_repeatedly(tmp_path: Path) -> None:
    for _ in range(5):
        with EmbeddedLake(LakeSettings(tmp_path / "lake", api_key="a", secret="b")) as lake:
            assert lake.url.startswith("http://127.0.0.1:")
            assert Talk(lake.url).get("/api/client/getDetails/system").status_code == 401
