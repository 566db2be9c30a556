"""`doctor`: it checks every part that a run needs. An error has a remedy and the exit code that a run would have."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from metalake_sync.operations.doctor import _clock, _notifications
from tests.embedded_lake.talk import API_KEY, SECRET
from tests.end_to_end.world import BIRDS, World

SUBJECTS = ["versions", "folder images", "state", "disk at", "notifications", "credentials", "lake", "clock"]


@pytest.fixture
def healthy(world: World) -> World:
    world.images("a.png", "b.png")
    world.manifest(BIRDS)
    return world


def findings(world: World, *args: str, code: int = 0, **environment: str) -> dict[str, dict[str, str]]:
    done = world.run("doctor", "--json", *args, "manifest.yaml", **environment)
    assert done.code == code, (done.out, done.err)
    return {row["subject"].partition(" ")[0]: row for row in done.document}


def test_without_errors_every_check_is_ok_and_nothing_is_changed(healthy: World) -> None:
    before = sorted(os.walk(healthy.folder))
    done = healthy.good("doctor", "manifest.yaml")
    for line, subject in zip(done.out.splitlines(), SUBJECTS, strict=True):
        assert line.startswith(f"ok       {subject}"), line
    assert sorted(os.walk(healthy.folder)) == before
    assert healthy.lake.requests.writes == 0
    assert SECRET not in done.out
    assert API_KEY not in done.out
    healthy.good("apply", "manifest.yaml")
    assert "is sound, and not in use" in healthy.good("doctor", "manifest.yaml").out
    assert healthy.good("doctor", "-q", "manifest.yaml").out == ""


def test_each_error_is_reported_with_its_exit_code(healthy: World) -> None:
    refused = findings(healthy, code=12, LAYERNEXT_SECRET="wrong")
    assert refused["credentials"]["verdict"] == "wrong"
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        unreachable = f"http://127.0.0.1:{unused.getsockname()[1]}"
        assert findings(healthy, "--retry-for", "0", code=5, LAYERNEXT_URL=unreachable)["lake"]["verdict"] == "wrong"
    healthy.good("apply", "manifest.yaml")
    (healthy.folder / ".metalake-sync/manifest.db").write_bytes(b"junk" * 5000)
    (healthy.folder / "images").rename(healthy.folder / "elsewhere")
    broken = findings(healthy, code=1)
    assert "state rebuild" in broken["state"]["remedy"]
    assert "can't be read" in broken["folder"]["message"]
    assert broken["lake"]["verdict"] == "ok"
    (healthy.folder / "images").mkdir()
    assert findings(healthy, code=1)["folder"]["message"] == "is empty"


def test_the_limit_of_watches_is_compared_with_the_number_of_folders(tmp_path: Path) -> None:
    (tmp_path / "proc/fs/inotify").mkdir(parents=True)
    limit = tmp_path / "proc/fs/inotify/max_user_watches"
    (tmp_path / "data/one/two").mkdir(parents=True)
    limit.write_text("3\n")
    short = _notifications([tmp_path / "data"], tmp_path / "proc")
    assert (short.verdict, "needs 3 watches" in short.message) == ("warning", True)
    assert "sysctl fs.inotify.max_user_watches=" in str(short.remedy)
    limit.write_text("4\n")
    assert _notifications([tmp_path / "data"], tmp_path / "proc").verdict == "ok"
    limit.unlink()
    assert "--poll" in str(_notifications([tmp_path / "data"], tmp_path / "proc").remedy)


@pytest.mark.parametrize(
    ("lake_date", "verdict", "words"),
    [
        ("Sat, 28 Nov 2026 04:00:30 GMT", "ok", "within 30 s"),
        ("Sat, 28 Nov 2026 03:00:00 GMT", "warning", "3,600 s ahead"),
        ("Sat, 28 Nov 2026 05:00:00 GMT", "warning", "3,600 s behind"),
        ("soon", "warning", "no date"),
        (None, "warning", "no date"),
    ],
)
def test_the_clock_is_compared_with_the_date_of_the_lakes_answer(
    lake_date: str | None, verdict: str, words: str
) -> None:
    found = _clock(lake_date, lambda: datetime(2026, 11, 28, 4, tzinfo=UTC))
    assert (found.verdict, words in found.message) == (verdict, True)


def test_a_missing_library_of_the_store_is_a_finding(healthy: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # A folder without a `boto3` of ours hides the real one.
    healthy.write("hidden/boto3/__init__.py", "raise ImportError('hidden', name='boto3')\n")
    hidden = str(healthy.folder / "hidden")
    rows = findings(healthy, "--state", "s3://acme-state/birds", code=64, PYTHONPATH=hidden)
    assert rows["state"]["verdict"] == "wrong"
    assert "pip install 'metalake-sync[s3]'" in rows["state"]["remedy"]
    # The checks after it are made all the same.
    assert rows["lake"]["verdict"] == rows["clock"]["verdict"] == "ok"


@pytest.mark.parametrize("address", ["s3:acme-state", "ftp://acme/birds", "s3://", "postgresql://ci:pw@host/db"])
def test_an_address_of_the_state_that_is_none_is_a_finding(healthy: World, address: str) -> None:
    rows = findings(healthy, "--state", address, code=64)
    assert rows["state"]["verdict"] == "wrong"
    assert "pw" not in rows["state"]["message"] + rows["state"]["remedy"]
    assert rows["lake"]["verdict"] == "ok"
