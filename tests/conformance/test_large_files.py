"""Uploads and downloads a file of 5 GiB with each store. Lake and client run in separate processes, so that the memory
of each can be measured."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from metalake_sync.key_stores.addresses import BucketAddress
from tests.embedded_lake.store_servers import LARGE_STORES, StoreMissing
from tests.embedded_lake.talk import API_KEY, SECRET, talk_to

pytestmark = pytest.mark.long

SIZE_BYTES = 5 << 30
MEMORY_LIMIT_BYTES = 200 << 20

MANIFEST = """
version: 1
name: films
remote: {{url: "{url}", api_key: "${{API_KEY}}", secret: "${{SECRET}}"}}
collections:
  - name: films
    type: video
    folders: [{{path: films}}]
"""


@pytest.fixture(params=["file", *LARGE_STORES])
def storage(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[BucketAddress | None]:
    if request.param == "file":
        yield None
        return
    folder = tmp_path / "server"
    folder.mkdir()
    try:
        with LARGE_STORES[request.param](folder) as server:
            for variable, value in server.environment.items():
                monkeypatch.setenv(variable, value)
            yield server.new_bucket()
    except StoreMissing as reason:
        pytest.skip(f"no server of {request.param}: {reason}")


def test_a_file_of_5_gib_is_uploaded_and_downloaded_in_little_memory(
    tmp_path: Path, storage: BucketAddress | None
) -> None:
    environment = {**os.environ, "API_KEY": API_KEY, "SECRET": SECRET}
    environment |= {"LAYERNEXT_API_KEY": API_KEY, "LAYERNEXT_SECRET": SECRET}
    program = [sys.executable, "-m", "metalake_sync"]
    where = ["--storage", str(storage), "--storage-endpoint", str(storage.endpoint)] if storage else []
    serve = [*program, "lake", "serve", "--dir", str(tmp_path / "lake"), *where]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, env=environment, text=True) as lake:
        assert lake.stdout is not None
        try:
            url = lake.stdout.readline().split()[-1]
            (tmp_path / "manifest.yaml").write_text(MANIFEST.format(url=url))
            sent = write_sparse(tmp_path / "films", SIZE_BYTES)
            client_peak = peak_of([*program, "apply", "manifest.yaml"], tmp_path, environment)
            with talk_to(url) as talk:
                assert talk.details("films_a.mp4", "fileSize")["fileSize"] == SIZE_BYTES
            (tmp_path / "films" / "a.mp4").unlink()
            pull = [*program, "pull", "manifest.yaml", "--collection", "films", "--to", "down"]
            client_peak = max(client_peak, peak_of(pull, tmp_path, environment))
            assert hash_of(tmp_path / "down" / "films_a.mp4") == sent
            assert client_peak < MEMORY_LIMIT_BYTES
            assert peak_bytes(lake.pid) < MEMORY_LIMIT_BYTES
        finally:
            lake.terminate()


def write_sparse(folder: Path, size_bytes: int) -> str:
    """Write a sparse file with distinct bytes at the start, in the middle and at the end. Returns its MD5."""
    folder.mkdir()
    with (folder / "a.mp4").open("wb") as file:
        for mark in (0, size_bytes // 3, size_bytes - 9):
            file.seek(mark)
            file.write(b"%09d" % (mark % 10**9))
    return hash_of(folder / "a.mp4")


def hash_of(path: Path) -> str:
    """Return the MD5 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def peak_of(command: list[str], folder: Path, environment: dict[str, str]) -> int:
    """Run a command that must succeed, and return its peak memory in bytes."""
    with subprocess.Popen(command, cwd=folder, env=environment) as client:
        peak = peak_while_running(client)
    assert client.returncode == 0
    return peak


def peak_while_running(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process, and return its peak memory in bytes."""
    peak = 0
    while process.poll() is None:
        peak = max(peak, peak_bytes(process.pid))
        time.sleep(0.1)
    return peak


def peak_bytes(pid: int) -> int:
    """Return the peak memory of a process so far in bytes, or 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), 0)
