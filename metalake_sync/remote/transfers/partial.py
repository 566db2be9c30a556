"""Keeps partially downloaded files, finds those that a download can continue, and checks that they are complete.

Owns: one folder beside the finished files, which is locked while in use and removed when empty. The name of a partial
file contains a digest of the item and the store's ETag, so that a later run can request the rest of the same bytes.

The folder may come from a repository, so its content is not trusted: it is opened without following links, all access
uses that descriptor, and only files with names of this module are removed.

A file is complete if the store's MD5 matches the received bytes, or if their number is the size that the lake gives.
The end of a body alone proves nothing: a cut connection also ends a body without a Content-Length.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from metalake_sync.core.snapshots import Fingerprint
from metalake_sync.errors import StateLocked, SyncError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.opening import open_below, open_folder, opened_below

if TYPE_CHECKING:
    from metalake_sync.remote.content_proof import Claims

FOLDER = ".metalake-sync-partial"

_LOCK = "lock"
_READ_BYTES = 1 << 20
_ETAG = re.compile(r'"[A-Za-z0-9_-]{1,100}"')
"""Only a strong ETag guarantees the same bytes. This form can be part of a file name."""

_PARTIAL_NAME = re.compile(r"(?P<digest>[0-9a-f]{32})(?:\.(?P<etag>[A-Za-z0-9_-]{1,100}))?")
_SCRATCH = "annotations-"
_SCRATCH_NAME = re.compile(rf"{_SCRATCH}[a-z0-9_]{{8}}")


@dataclass(frozen=True, slots=True)
class Partial:
    """A partially downloaded file."""

    name: str
    """In the partial folder."""
    size_bytes: int
    etag: str | None
    """The store's, in quotes. None if it is not reliable."""


class PartialFiles:
    """The partial files of one target folder. `target`, `folder`: descriptors of the target and the partial folder."""

    def __init__(self, target: int, folder: int) -> None:
        self._target = target
        self._folder = folder
        self._left_over = self._scan()

    def find(self, key: str) -> Partial | None:
        """Return the partial file of an earlier run, if the download can continue it. Returned once per key."""
        name = self._left_over.pop(_digest(key), None)
        if name is None:
            return None
        return self.on_disk(Partial(name, 0, f'"{name.partition(".")[2]}"'))

    def new(self, key: str, etag: str | None) -> Partial:
        """Return a new, empty partial file."""
        usable = etag if etag is not None and _ETAG.fullmatch(etag) else None
        name = f"{_digest(key)}.{usable[1:-1]}" if usable else _digest(key)
        return Partial(name, 0, usable)

    def on_disk(self, partial: Partial) -> Partial | None:
        """Return the partial file with its present size, or None if it does not exist."""
        try:
            found = os.stat(partial.name, dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return Partial(partial.name, found.st_size, partial.etag) if stat.S_ISREG(found.st_mode) else None

    def open(self, partial: Partial) -> int:
        """Open the file to append, creating it if it does not exist. Returns a descriptor."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(partial.name, flags, 0o666, dir_fd=self._folder)

    def feed(self, partial: Partial, take: Callable[[bytes], object]) -> None:
        """Read the partial file, and pass each chunk to `take`."""
        with open(os.open(partial.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder), "rb") as file:
            while chunk := file.read(_READ_BYTES):
                take(chunk)

    def discard(self, partial: Partial | None) -> None:
        if partial is None:
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial.name, dir_fd=self._folder)

    def put_in_place(self, partial: Partial, filename: str) -> Fingerprint:
        """Move a complete file into the target folder. A link with that name is replaced, not followed."""
        os.replace(partial.name, filename, src_dir_fd=self._folder, dst_dir_fd=self._target)
        found = os.stat(filename, dir_fd=self._target, follow_symlinks=False)
        return Fingerprint.of(found)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """Provide an empty folder on the target's file system, which is removed after the block."""
        with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=f"/proc/self/fd/{self._folder}") as path:
            yield Path(path)

    def move_in(self, scratch: Path, path: str) -> Fingerprint:
        """Atomically move a file of `scratch` to the same path below the target folder. Returns its fingerprint there.

        Raises NotADirectoryError if a folder on the path is a link.
        """
        folder, _, filename = path.rpartition("/")
        with opened_below(self._target, folder, create=True) as descriptor:
            os.replace(scratch / path, filename, dst_dir_fd=descriptor)
            return Fingerprint.of(os.stat(filename, dir_fd=descriptor, follow_symlinks=False))

    def _scan(self) -> dict[str, str]:
        """Return digest → name of the files that can be continued. Removes all other files of earlier runs."""
        found: dict[str, str] = {}
        with os.scandir(self._folder) as entries:
            for entry in entries:
                match = _PARTIAL_NAME.fullmatch(entry.name)
                if match and match["etag"] and match["digest"] not in found and entry.is_file(follow_symlinks=False):
                    found[match["digest"]] = entry.name
                elif match and not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.name, dir_fd=self._folder)
                elif _SCRATCH_NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.name, ignore_errors=True, dir_fd=self._folder)
        return found


@contextlib.contextmanager
def partial_files(target: Path, subfolder: str = "") -> Iterator[PartialFiles]:
    """Open a target folder, creating it if it does not exist.

    `subfolder`: the folder below it to open instead, with `/`. No part of it may be a link. Raises StateLocked if
    another run downloads into it, and SyncError if it is not writable or its partial folder is a link.
    """
    with contextlib.ExitStack() as stack:
        try:
            target.mkdir(parents=True, exist_ok=True)
            descriptor = open_folder(target)
            stack.callback(os.close, descriptor)
            if subfolder:
                descriptor = open_below(descriptor, subfolder, create=True)
                stack.callback(os.close, descriptor)
                target = target / subfolder
            folder, lock = _lock_folder(descriptor, target)
        except OSError as error:
            raise SyncError(
                f"the folder cannot be written ({error.strerror})", where=str(target), remedy="Use a writable folder."
            ) from None
        stack.callback(os.close, folder)
        stack.callback(os.close, lock)
        stack.callback(_remove_if_empty, descriptor, folder)
        yield PartialFiles(descriptor, folder)


def _lock_folder(target: int, path: Path) -> tuple[int, int]:
    """Lock the partial folder. Returns descriptors of folder and lock. Raises StateLocked, SyncError and OSError."""
    while True:
        try:
            folder = open_below(target, FOLDER, create=True)
        except NotADirectoryError:
            raise SyncError(
                f"'{FOLDER}' is a link or a file, not a folder of metalake-sync",
                where=str(path / FOLDER),
                remedy="Remove it, or download into another folder.",
            ) from None
        except FileNotFoundError:
            continue  # another run ended between the two calls
        lock = -1
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            lock = os.open(_LOCK, flags, 0o666, dir_fd=folder)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The previous run may have removed this file, and no other run would see the lock.
            if os.fstat(lock).st_nlink and os.path.samestat(
                os.fstat(folder), os.stat(FOLDER, dir_fd=target, follow_symlinks=False)
            ):
                return folder, lock
        except BlockingIOError:
            _close(lock, folder)
            raise StateLocked(
                "another run downloads into this folder",
                where=str(path),
                remedy="Wait until it ends, or use another folder.",
            ) from None
        except FileNotFoundError:
            pass
        except OSError:
            _close(lock, folder)
            raise
        _close(lock, folder)


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        if descriptor >= 0:
            os.close(descriptor)


def _remove_if_empty(target: int, folder: int) -> None:
    with contextlib.suppress(OSError):
        if set(os.listdir(folder)) <= {_LOCK}:
            os.unlink(_LOCK, dir_fd=folder)
            os.rmdir(FOLDER, dir_fd=target)


def _digest(key: str) -> str:
    return blake3(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]


LARGEST_OF_UNKNOWN_SIZE = 1 << 30
"""How many bytes are accepted for a file whose size neither the lake nor the store gives."""

_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)")


class WrongBody(Exception):
    """A store's complete response cannot be the file. The text says why."""


@dataclass(frozen=True, slots=True)
class ExpectedFile:
    """What proves that a file is complete."""

    size_bytes: int | None
    """From the lake, else from the store. None if neither gives it."""

    claims: Claims
    """The store's MD5s."""

    @property
    def most_bytes(self) -> int:
        """How many bytes are accepted."""
        return LARGEST_OF_UNKNOWN_SIZE if self.size_bytes is None else self.size_bytes

    def check(self, received: Partial, md5: hashlib._Hash | None) -> None:
        """Raise WrongBody if the received file does not have the expected size, or `md5` is not the store's."""
        if self.size_bytes is not None and received.size_bytes != self.size_bytes:
            raise WrongBody(f"the store sent {received.size_bytes} of {self.size_bytes} bytes")
        if md5 is not None and not self.claims.match(md5.digest()):
            raise WrongBody("the bytes do not match the store's MD5")


def content_length(headers: Mapping[str, str]) -> int | None:
    """Return the Content-Length in bytes. None if it is missing or not a number."""
    length = headers.get("content-length", "")
    return int(length) if length.isdecimal() else None


def content_range(headers: Mapping[str, str]) -> tuple[int, int]:
    """Return the start of a range and the size of the whole file, in bytes. -1 if the response does not say."""
    match = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
    if match is None:
        return -1, -1
    return int(match[1] or -1), int(match[3])
