"""File systems without notifications, which are polled, and mounts that disappeared.

Owns: the list of file systems that other machines change without notice to the local kernel, one thread, and a digest
for each folder. Memory grows with the number of folders, not of files. Source: /proc/self/mountinfo, proc(5).
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import field
from hashlib import blake2b
from pathlib import Path

from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.junk import JUNK
from metalake_sync.watch.hints import Change, HintBox, Places

MOUNTINFO = Path("/proc/self/mountinfo")

_SILENT = re.compile(r"nfs4?|cifs|smb3?|smbfs|9p|afs|ceph|lustre|glusterfs|gpfs|beegfs|vboxsf|prl_fs|fuse(blk|\..*)?")


class PollingTrigger:
    """Scans folders every `poll_s` seconds and sends hints about changes. The first scan only stores the digests."""

    def __init__(self, box: HintBox, poll_s: float, places: Callable[[], Places]) -> None:
        self._box = box
        self._poll_s = poll_s
        self._places = places
        self._folders: dict[str, bool] = {}
        self._digests: dict[str, bytes] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, folders: Mapping[str, bool]) -> None:
        """Poll these folders from now on (folder → whether with its subfolders)."""
        self._folders = dict(folders)
        if folders and self._thread is None:
            self._scan(report=False)
            self._thread = threading.Thread(target=self._run, name="poll", daemon=True)
            self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)

    def _run(self) -> None:
        while not self._stop.wait(self._poll_s):
            self._scan(report=True)

    def _scan(self, *, report: bool) -> None:
        """Compare the digests of all folders with those of the last scan, and report differences."""
        seen = {folder: digest for top, deep in list(self._folders.items()) for folder, digest in _digests(top, deep)}
        before, self._digests = self._digests, seen
        if not report:
            return
        for folder, digest in seen.items():
            if folder not in before:
                self._report(Change(folder, is_folder=True))
            elif before[folder] != digest:
                self._report_inside(folder)
        for folder in before.keys() - seen.keys():
            self._report(Change(folder, is_folder=True, gone=True))

    def _report(self, change: Change) -> None:
        for hint in self._places().hints(change):
            self._box.put(hint)

    def _report_inside(self, folder: str) -> None:
        """Report a change of an unknown file in a folder. In a data folder any name represents it. Elsewhere it may be
        any of the watched files."""
        self._report(Change(os.path.join(folder, "any")))
        places = self._places()
        if folder in places.manifest:
            self._report(Change(os.path.join(folder, "any.yaml")))
        for path in (*places.manifest, *places.sources, *places.files):
            if os.path.dirname(path) == folder:
                self._report(Change(path))


def _digests(top: str, deep: bool) -> Iterator[tuple[str, bytes]]:
    pending = [top]
    while pending:
        folder = pending.pop()
        digest = blake2b(digest_size=8)
        try:
            with os.scandir(folder) as scan:
                for entry in sorted(scan, key=lambda entry: entry.name):
                    if entry.is_dir(follow_symlinks=False):
                        if deep and not JUNK.is_folder(entry.name):
                            pending.append(entry.path)
                        continue
                    found = entry.stat(follow_symlinks=False)
                    line = f"{entry.name}\0{found.st_size}\0{found.st_mtime_ns}\0{found.st_ctime_ns}\0{found.st_ino}\n"
                    digest.update(line.encode("utf-8", "surrogateescape"))
        except FileNotFoundError:
            if not os.path.isdir(folder):
                continue
            digest.update(b"moving")
        except OSError as error:
            digest.update(f"unreadable: {error.errno}".encode())
        yield folder, digest.digest()


def silent_filesystem(path: str, mountinfo: Path = MOUNTINFO) -> str | None:
    """Return the type of a path's file system if it sends no notifications about other machines' changes, or None."""
    path = os.path.realpath(path)
    best, kind = "", ""
    for mount, of_kind in _mounts(mountinfo):
        if (path == mount or path.startswith(mount.rstrip("/") + "/")) and len(mount) >= len(best):
            best, kind = mount, of_kind
    return kind if _SILENT.fullmatch(kind) else None


@dataclass(slots=True)
class Mounts:
    """Remembers the mounts at and below some folders. Without its disk, a folder looks as if it had been emptied."""

    roots: Collection[str]
    mountinfo: Path = MOUNTINFO
    _seen: set[str] = field(default_factory=set)

    def gone(self) -> Sequence[str]:
        """Return the paths that were mounted at an earlier call and are not mounted now."""
        roots = [os.path.realpath(root) for root in self.roots]
        mounted = {
            mount
            for mount, _ in _mounts(self.mountinfo)
            if any(mount == root or mount.startswith(root.rstrip("/") + "/") for root in roots)
        }
        self._seen |= mounted
        return sorted(self._seen - mounted)


def _mounts(mountinfo: Path) -> Iterator[tuple[str, str]]:
    """Yield path and type of each mount. Of several mounts on one path, the last one is visible."""
    try:
        lines = mountinfo.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        before, _, after = line.partition(" - ")
        yield _unescaped(before.split()[4]), after.split()[0]


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
