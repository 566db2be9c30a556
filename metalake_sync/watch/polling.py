"""The polling trigger, for file systems without notifications.

Owns: one thread, and a digest for each folder. Memory grows with the number of folders, not of files.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b

from metalake_sync.sources.rules import is_never_walked
from metalake_sync.watch.hints import HintBox
from metalake_sync.watch.watched_paths import Change, Places


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
                        if deep and not is_never_walked(entry.name):
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
