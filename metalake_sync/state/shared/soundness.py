"""Remembers that SQLite found a working copy sound, so that not every command reads all of it.

`PRAGMA quick_check` takes 0.1 s of processor time for 100,000 files. It finds what a killed machine, a full disk or an
old CI cache left. A copy that was sound when it was last closed, and whose file is unchanged since, is sound.

Must not: check, or repair.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def was_sound(path: Path) -> bool:
    """Whether nothing changed a working copy since it was closed. Call it before the copy is opened."""
    try:
        return not _log(path).exists() and _marker(path).read_text() == _fingerprint(path)
    except (OSError, ValueError):
        return False


def remember_sound(path: Path) -> None:
    """Record that a working copy is sound. Call it after the copy was closed. Does nothing if it is open elsewhere."""
    if _log(path).exists():
        return
    # Without the record, the next command checks the copy.
    with contextlib.suppress(OSError):
        _marker(path).write_text(_fingerprint(path))


def _marker(path: Path) -> Path:
    return path.with_suffix(".sound")


def _log(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _fingerprint(path: Path) -> str:
    found = os.stat(path)
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ino}"
