"""How SQLite stores file names of arbitrary bytes and inodes of 64 bits, and how callers name recorded collections.

Owns: these conversions, and the type of a handle; only the tables in this package know what it holds. Must not: read or
write a table. A name that is valid UTF-8 is stored as TEXT, which people can read; any other name is stored as a BLOB
of its bytes.
"""

from __future__ import annotations

import os
from typing import NewType

from metalake_sync.core.snapshots import FileVersion, Fingerprint

_SIGN_BIT = 1 << 63
_RANGE = 1 << 64


def name_to_db(name: str) -> str | bytes:
    """Return a name as SQLite stores it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name


def name_from_db(value: str | bytes) -> str:
    """The inverse of `name_to_db`."""
    return value if isinstance(value, str) else os.fsdecode(value)


def fingerprint_to_db(fingerprint: Fingerprint) -> tuple[int, int, int, int]:
    """Return a fingerprint as SQLite stores it: its integers are signed, and some inodes use the top bit."""
    inode = fingerprint.inode if fingerprint.inode < _SIGN_BIT else fingerprint.inode - _RANGE
    return fingerprint.size_bytes, fingerprint.mtime_ns, inode, fingerprint.ctime_ns


def fingerprint_from_db(size_bytes: int, mtime_ns: int, inode: int, ctime_ns: int) -> Fingerprint:
    """The inverse of `fingerprint_to_db`."""
    return Fingerprint(*version_from_db(size_bytes, mtime_ns, inode, ctime_ns))


def version_from_db(size_bytes: int, mtime_ns: int, inode: int, ctime_ns: int) -> FileVersion:
    """Return a stored fingerprint as the version that a source gave to the file."""
    return FileVersion((size_bytes, mtime_ns, inode if inode >= 0 else inode + _RANGE, ctime_ns))


def split_path(path: str) -> tuple[str, str]:
    """Split a path relative to the manifest into folder ('' beside the manifest) and file name."""
    folder, _, filename = path.rpartition("/")
    return folder, filename


def join_path(folder: str, filename: str) -> str:
    """The inverse of `split_path`."""
    return f"{folder}/{filename}" if folder else filename


CollectionHandle = NewType("CollectionHandle", int)
"""Names one recorded collection in one open state. Get it from `Records.collections` or `Records.record_collection`,
and pass it back to the tables of the same state. Do not store, compute or print it."""
