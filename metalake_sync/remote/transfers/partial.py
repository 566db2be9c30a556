"""Files that are half here: where they lie until they are whole, and which of them can be gone on with.

Owns: one folder beside the finished files, locked while in use and gone when nothing is left in it. A partial file's
name holds what it is a part of and the store's ETag, so that a later run can ask for the rest of the very same bytes.

The folder may come with a repository, so nothing in it is trusted: it is opened without following links, all work in it
goes through that descriptor, and only files that are named as this module names them are removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from blake3 import blake3

from metalake_sync.core.snapshots import Fingerprint
from metalake_sync.errors import StateLocked, SyncError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.open_below import open_below, open_folder, opened_below

FOLDER = ".metalake-sync-partial"

_LOCK = "lock"
_READ_BYTES = 1 << 20
_ETAG = re.compile(r'"[A-Za-z0-9_-]{1,100}"')
"""Only a strong ETag of a usual form promises the same bytes, and can stand in a file's name."""

_PARTIAL_NAME = re.compile(r"(?P<digest>[0-9a-f]{32})(?:\.(?P<etag>[A-Za-z0-9_-]{1,100}))?")
_SCRATCH = "annotations-"
_SCRATCH_NAME = re.compile(rf"{_SCRATCH}[a-z0-9_]{{8}}")


@dataclass(frozen=True, slots=True)
class Partial:
    """What is here of a file. `name`: in the partial folder. `etag` is the store's, in quotes, or None if it can't be
    relied on."""

    name: str
    size_bytes: int
    etag: str | None


class PartialFiles:
    """The partial files of one target folder. `target` and `folder`: descriptors of it and of the partial folder."""

    def __init__(self, target: int, folder: int) -> None:
        self._target = target
        self._folder = folder
        self._left_over = self._scan()

    def find(self, key: str) -> Partial | None:
        """What an earlier run left of a file, if it can be gone on with; given once."""
        name = self._left_over.pop(_digest(key), None)
        if name is None:
            return None
        return self.on_disk(Partial(name, 0, f'"{name.partition(".")[2]}"'))

    def new(self, key: str, etag: str | None) -> Partial:
        """A new, empty partial file."""
        usable = etag if etag is not None and _ETAG.fullmatch(etag) else None
        name = f"{_digest(key)}.{usable[1:-1]}" if usable else _digest(key)
        return Partial(name, 0, usable)

    def on_disk(self, partial: Partial) -> Partial | None:
        """The partial file with the size that it has now, or None if it is not there."""
        try:
            found = os.stat(partial.name, dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return Partial(partial.name, found.st_size, partial.etag) if stat.S_ISREG(found.st_mode) else None

    def open(self, partial: Partial) -> int:
        """A descriptor that appends to the file; it is created if need be."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(partial.name, flags, 0o666, dir_fd=self._folder)

    def feed(self, partial: Partial, take: Callable[[bytes], object]) -> None:
        """Read the partial file, in chunks."""
        with open(os.open(partial.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder), "rb") as file:
            while chunk := file.read(_READ_BYTES):
                take(chunk)

    def discard(self, partial: Partial) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial.name, dir_fd=self._folder)

    def put_in_place(self, partial: Partial, filename: str) -> Fingerprint:
        """Move a whole file into the target folder. A link of that name is replaced and not followed."""
        os.replace(partial.name, filename, src_dir_fd=self._folder, dst_dir_fd=self._target)
        found = os.stat(filename, dir_fd=self._target, follow_symlinks=False)
        return Fingerprint.of(found)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder on the target's file system, gone after the block."""
        with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=f"/proc/self/fd/{self._folder}") as path:
            yield Path(path)

    def move_in(self, scratch: Path, path: str) -> None:
        """Move a file of `scratch` to the same path below the target folder, which has the old one or the new one,
        whole. Raises NotADirectoryError where a folder on the way is a link."""
        folder, _, filename = path.rpartition("/")
        with opened_below(self._target, folder, create=True) as descriptor:
            os.replace(scratch / path, filename, dst_dir_fd=descriptor)

    def _scan(self) -> dict[str, str]:
        """Digest → name of those that can be gone on with. What else earlier runs left is removed."""
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
def partial_files(target: Path) -> Iterator[PartialFiles]:
    """Use a target folder; it is created if need be. Raises StateLocked if another run downloads into it, SyncError if
    it can't be written, or if its partial folder is a link."""
    with contextlib.ExitStack() as stack:
        try:
            target.mkdir(parents=True, exist_ok=True)
            descriptor = open_folder(target)
            stack.callback(os.close, descriptor)
            folder, lock = _lock_folder(descriptor, target)
        except OSError as error:
            raise SyncError(
                f"the folder can't be written ({error.strerror})", where=str(target), remedy="Give one that can."
            ) from None
        stack.callback(os.close, folder)
        stack.callback(os.close, lock)
        stack.callback(_remove_if_empty, descriptor, folder)
        yield PartialFiles(descriptor, folder)


def _lock_folder(target: int, path: Path) -> tuple[int, int]:
    """Descriptors of the partial folder and of its lock, which is held. Raises StateLocked, SyncError and OSError."""
    while True:
        try:
            folder = open_below(target, FOLDER, create=True)
        except NotADirectoryError:
            raise SyncError(
                f"'{FOLDER}' is a link or a file, not a folder of ours",
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
            # The run that held it before may have removed it: then the lock would be one that no other run sees.
            if os.fstat(lock).st_nlink and os.path.samestat(
                os.fstat(folder), os.stat(FOLDER, dir_fd=target, follow_symlinks=False)
            ):
                return folder, lock
        except BlockingIOError:
            _close(lock, folder)
            raise StateLocked(
                "another run downloads into this folder", where=str(path), remedy="Wait for it, or take another folder."
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
