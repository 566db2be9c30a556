"""Files in the folder of a download that an earlier download wrote and this one does not, and their removal.

Owns: which of them may be removed: those that a download wrote and that did not change since. The folder may come from
a repository, so no link inside it is followed. Must not: decide which files a download writes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from metalake_sync.core.downloads import DownloadedFile
from metalake_sync.core.snapshots import Fingerprint
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.opening import open_below, open_folder, opened_below

_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)
"""Errors of a file system on which the backup cannot be a second link of the same file."""


@dataclass(frozen=True, slots=True)
class StaleFiles:
    """The recorded files of a folder that a download does not write, as paths below the folder."""

    removable: Mapping[str, Fingerprint]
    """Files as a download wrote them."""
    kept: tuple[str, ...]
    """Files that were changed since, or that no download is known to have written."""
    vanished: tuple[str, ...]
    """Files that are not in the folder any more."""

    def with_those_of(self, subfolder: str, other: StaleFiles) -> StaleFiles:
        """Return the stale files of this folder and of one below it."""
        return StaleFiles(
            {**self.removable, **{f"{subfolder}/{path}": found for path, found in other.removable.items()}},
            (*self.kept, *(f"{subfolder}/{path}" for path in other.kept)),
            (*self.vanished, *(f"{subfolder}/{path}" for path in other.vanished)),
        )


def find_stale(
    root: Path,
    downloaded: Collection[DownloadedFile],
    others: Mapping[str, Fingerprint | None],
    current: Collection[str],
    *,
    subfolder: str = "",
) -> StaleFiles:
    """Compare the records of a folder with what is there. `current`: the paths that the download writes.

    `others`: as `DownloadRecords.other_files` returned them. `subfolder`: the folder below `root` to compare instead.
    Behind a link in its place, nothing is there.
    """
    removable: dict[str, Fingerprint] = {}
    kept: list[str] = []
    vanished: list[str] = []
    records: dict[str, Fingerprint | None] = dict(others)
    records |= {file.filename: file.fingerprint if file.written else None for file in downloaded}
    with _opened(root, subfolder) as folder:
        for path, written in sorted(records.items()):
            if path in current:
                continue
            found = _fingerprint_below(folder, path) if folder is not None else None
            if found is None:
                vanished.append(path)
            elif written is not None and is_same(written, found):
                removable[path] = found
            else:
                kept.append(path)
    return StaleFiles(removable, tuple(kept), tuple(vanished))


def is_same(before: Fingerprint, now: Fingerprint) -> bool:
    """Inodes are ignored, because users copy and move download folders."""
    return (before.size_bytes, before.mtime_ns) == (now.size_bytes, now.mtime_ns)


def unsettled(root: Path, others: Mapping[str, Fingerprint | None], right: Collection[str]) -> dict[str, Fingerprint]:
    """Return the fingerprints of files that are as the download writes them, and whose record is of another version.

    A run was killed before it recorded them, or they were copied. `right`: their paths.
    """
    with _opened(root) as folder:
        if folder is None:
            return {}
        found = {path: _fingerprint_below(folder, path) for path in right if path in others}
    return {
        path: now
        for path, now in found.items()
        if now is not None and ((before := others[path]) is None or not is_same(before, now))
    }


def remove_file(root: Path, path: str, expected: Fingerprint, backup_dir: Path | None) -> bool:
    """Remove a file below a folder, and then folders that become empty. Returns False if the file changed since.

    `path`: below `root`, with `/`. `backup_dir`: the folder that keeps the file under the same path. If there is a file
    already, the new one gets a number, as in `a.jpg.~1~`. A file that does not exist counts as removed. Raises OSError,
    and NotADirectoryError for a link on the way.
    """
    top = open_folder(root)
    try:
        folder, _, name = path.rpartition("/")
        try:
            with opened_below(top, folder) as here:
                found = _fingerprint_at(here, name)
                if found is None:
                    return True
                if not is_same(expected, found):
                    return False
                if backup_dir is not None:
                    _keep(here, name, backup_dir, folder)
                os.unlink(name, dir_fd=here)
        except FileNotFoundError:
            return True
        _remove_empty(top, folder)
        return True
    finally:
        os.close(top)


def _keep(here: int, name: str, backup_dir: Path, folder: str) -> None:
    """Give the file a second name in the backup folder. What is there stays."""
    backup_dir.mkdir(parents=True, exist_ok=True)
    top = open_folder(backup_dir)
    try:
        there = open_below(top, folder, create=True)
    finally:
        os.close(top)
    try:
        number = 0
        while True:
            kept = name if not number else f"{name}.~{number}~"
            number += 1
            try:
                os.link(name, kept, src_dir_fd=here, dst_dir_fd=there, follow_symlinks=False)
                return
            except FileExistsError:
                # A killed run may have kept this very file.
                before = os.stat(kept, dir_fd=there, follow_symlinks=False)
                if os.path.samestat(before, os.stat(name, dir_fd=here, follow_symlinks=False)):
                    return
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                with contextlib.suppress(FileExistsError):
                    _copy(here, name, there, kept)
                    return
    finally:
        os.close(there)


def _copy(here: int, name: str, there: int, kept: str) -> None:
    """Copy a file to another file system. Raises FileExistsError and OSError."""
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=here)
    with open(source, "rb") as read:
        found = os.fstat(source)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        target = os.open(kept, flags, stat.S_IMODE(found.st_mode), dir_fd=there)
        with open(target, "wb") as written:
            try:
                shutil.copyfileobj(read, written, 1 << 20)
                written.flush()
                os.fsync(target)
                os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))
            except OSError:
                os.unlink(kept, dir_fd=there)
                raise


def _remove_empty(top: int, folder: str) -> None:
    """Remove a folder below `top`, and those above it, as far as they are empty."""
    while folder:
        above, _, name = folder.rpartition("/")
        try:
            with opened_below(top, above) as here:
                os.rmdir(name, dir_fd=here)
        except OSError:
            return
        folder = above


@contextlib.contextmanager
def _opened(root: Path, subfolder: str = "") -> Iterator[int | None]:
    with contextlib.ExitStack() as stack:
        try:
            folder = open_folder(root)
            stack.callback(os.close, folder)
            folder = open_below(folder, subfolder)
            stack.callback(os.close, folder)
        except OSError:
            yield None
            return
        yield folder


def _fingerprint_below(root: int, path: str) -> Fingerprint | None:
    """Return the fingerprint of a regular file below a folder. None without one, or behind a link."""
    folder, _, name = path.rpartition("/")
    if not folder:
        return _fingerprint_at(root, name)
    try:
        here = open_below(root, folder)
    except OSError:
        return None
    try:
        return _fingerprint_at(here, name)
    finally:
        os.close(here)


def _fingerprint_at(folder: int, name: str) -> Fingerprint | None:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return None
    return Fingerprint.of(found) if stat.S_ISREG(found.st_mode) else None
