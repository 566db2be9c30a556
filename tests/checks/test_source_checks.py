"""Which files a plan reads to check them, and how severe a problem is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from metalake_sync.core.checks import Finding
from metalake_sync.core.snapshots import CollectionKey, Fingerprint, MediaType
from metalake_sync.manifest.check_models import Checks
from metalake_sync.planning import source_checks
from metalake_sync.planning.source_checks import ByteChecks, FileToCheck
from metalake_sync.sources import hashing
from metalake_sync.sources.readings import NoCache

BIRDS = CollectionKey(MediaType.IMAGE, "birds")


def to_check(folder: Path, name: str, content: bytes, *, replaces: bool = False) -> FileToCheck:
    (folder / name).write_bytes(content)
    fingerprint = Fingerprint.of(os.stat(folder / name))
    return FileToCheck(BIRDS, name, name, fingerprint, replaces)


def check(folder: Path, files: list[FileToCheck]) -> list[Finding]:
    return list(ByteChecks(Checks().images, str(folder), NoCache(), 2, lambda _: None).run(files))


def test_without_checks_only_small_and_replacing_files_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = hashing.read_head
    opened: list[str] = []

    def read_head(path: str, expected: Fingerprint, size_bytes: int) -> bytes:
        opened.append(os.path.basename(path))
        return read(path, expected, size_bytes)

    monkeypatch.setattr(source_checks, "read_head", read_head)
    files = [
        to_check(tmp_path, "small.jpg", b"x" * 1024),
        to_check(tmp_path, "empty.jpg", b""),
        to_check(tmp_path, "large.jpg", b"x" * 1025),
        to_check(tmp_path, "replacing.jpg", b"x" * 1025, replaces=True),
    ]
    found = check(tmp_path, files)
    assert opened == ["small.jpg", "replacing.jpg"]
    assert [(one.subject, one.check.value, one.level) for one in found] == [("empty.jpg", "empty", "warn")]


def test_a_file_that_changed_since_the_scan_is_left_to_its_upload(tmp_path: Path) -> None:
    one = to_check(tmp_path, "a.jpg", b"version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "a.jpg").write_bytes(b"x" * 10)
    assert check(tmp_path, [one]) == []
