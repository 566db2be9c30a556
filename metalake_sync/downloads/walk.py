"""Walks through one download: compares what the lake lists with the files in the folder, page by page.

Owns: the names of files in the folder, and the comparison. The planner and apply both walk, so that apply has valid
URLs and sees what was uploaded in between.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path

from metalake_sync.core.actions import DownloadFile, Reason
from metalake_sync.core.downloads import DownloadedFile, DownloadSpec, Local, judge_local, judge_size
from metalake_sync.core.snapshots import Fingerprint, RemoteFile
from metalake_sync.downloads.splits import is_in
from metalake_sync.downloads.stale import is_same
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.protocol.items import ListedItem
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.content_proof import Pair, same_bytes
from metalake_sync.remote.item_details import remote_sizes
from metalake_sync.remote.selections import Place, list_selection
from metalake_sync.remote.transfers.partial import FOLDER
from metalake_sync.sources.names import FolderNames

SIZE_THREADS = 16


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to fetch."""

    action: DownloadFile
    filename: str
    url: str = field(default="", repr=False)
    """The signed URL of the listing. Empty if the lake has to be asked for one."""


@dataclass(frozen=True, slots=True)
class WalkedPage:
    """The comparison of one page of the listing."""

    wanted: Sequence[Wanted]
    unchanged: int
    """How many files are in the folder already, with the right bytes."""
    adopted: Sequence[DownloadedFile]
    """Those of them that have no record yet."""


class DownloadWalk:
    """Walks through one download.

    `recorded`: earlier downloads into the folder, by unique name. `others`: as `DownloadRecords.other_files` returned
    them. `root`: the folder. `reserved`: names in the folder that files must not get.
    `taken`: the files of earlier splits of the download, by unique name.
    """

    def __init__(
        self,
        client: LakeClient,
        spec: DownloadSpec,
        place: Place,
        *,
        root: Path,
        recorded: Mapping[str, DownloadedFile],
        others: Mapping[str, Fingerprint | None],
        reserved: Sequence[str],
        taken: Mapping[str, str],
    ) -> None:
        self._client = client
        self._spec = spec
        self._place = place
        self._root = root
        self.recorded = recorded
        self.others = others
        self._names = FolderNames((FOLDER, *reserved))
        for known in recorded.values():
            self._names.keep(known.filename)
        self.filenames: dict[str, str] = {}
        """Unique name → file name in the folder, of all items so far."""
        self.in_other_splits: list[str] = []
        """Names of items that match and are in an earlier split already."""
        self._taken = taken

    def pages(self, seen: Callable[[int], None] = lambda _: None) -> Iterator[WalkedPage]:
        """Compare the listing page by page. `seen`: called with the number of items so far."""
        if self._spec.splits:
            return
        for page in list_selection(self._client, self._spec.selection, self._place):
            # A listing that changes while it is read may return an item twice.
            items = [item for item in page if _unique(item) not in self.filenames and self._is_in_split(item)]
            for item in items:
                self.filenames[_unique(item)] = self._filename(item)
            seen(len(self.filenames))
            yield self._compare(items) if self._spec.media else WalkedPage((), 0, ())

    def _is_in_split(self, item: ListedItem) -> bool:
        share = self._spec.share
        if share is not None:
            return is_in(share, item.name if self._spec.selection.collection is not None else _unique(item))
        other = self._taken.get(_unique(item), self._spec.to)
        if other != self._spec.to:
            self.in_other_splits.append(item.name)
        return other == self._spec.to

    def _filename(self, item: ListedItem) -> str:
        wanted = item.name if self._spec.naming == "name" else _unique(item)
        known = self.recorded.get(_unique(item))
        if known is not None and self._names.could_be(known.filename, wanted):
            return known.filename
        return self._names.take(wanted)

    def _compare(self, items: Sequence[ListedItem]) -> WalkedPage:
        wanted: list[Wanted] = []
        to_size: list[tuple[ListedItem, Fingerprint]] = []
        to_check: list[tuple[ListedItem, DownloadedFile]] = []
        right = 0
        for item in items:
            local = fingerprint_at(self._root / self.filenames[_unique(item)])
            known = self.recorded.get(_unique(item))
            if known is not None and known.filename != self.filenames[_unique(item)]:
                known = None  # The manifest gives it another name now.
            verdict = judge_local(item.id, known, local)
            if verdict is Local.ASK_SIZE and local is not None:
                to_size.append((item, local))
            elif verdict is Local.CHECK_SIZE and known is not None:
                to_check.append((item, known))
            elif isinstance(verdict, Reason):
                wanted.append(self._wanted(item, verdict))
            else:
                right += 1
        adopted: list[DownloadedFile] = []
        # By unique name, because several items of the lake may have the same name.
        asked = [*(item for item, _ in to_size), *(item for item, _ in to_check)]
        files = [RemoteFile(_unique(item), item.id, _unique(item)) for item in asked]
        sizes = remote_sizes(self._client, files, SIZE_THREADS)
        for item, known in to_check:
            size = sizes.get(_unique(item))
            if size is not None and size != known.fingerprint.size_bytes:
                wanted.append(self._wanted(item, Reason.CONTENT_CHANGED))
            elif size is not None:
                adopted.append(replace(known, checked=True))
            else:
                right += 1
        to_prove: list[tuple[ListedItem, Fingerprint]] = []
        for item, local in to_size:
            verdict = judge_size(sizes.get(_unique(item)), local)
            if isinstance(verdict, Reason):
                wanted.append(self._wanted(item, verdict))
            else:
                to_prove.append((item, local))
        same = same_bytes(self._client, [self._pair(item, local) for item, local in to_prove], SIZE_THREADS)
        for item, local in to_prove:
            if _unique(item) in same:
                filename = self.filenames[_unique(item)]
                # An earlier or a killed run may have written it.
                ours = filename in self.others and is_same(self.others[filename] or local, local)
                adopted.append(DownloadedFile(item.id, _unique(item), filename, local, written=ours))
            else:
                wanted.append(self._wanted(item, Reason.CONTENT_CHANGED))
        return WalkedPage(wanted, right + len(adopted), adopted)

    def _pair(self, item: ListedItem, local: Fingerprint) -> Pair:
        path = str(self._root / self.filenames[_unique(item)])
        return Pair(_unique(item), path, local.size_bytes, item.url or "")

    def _wanted(self, item: ListedItem, reason: Reason) -> Wanted:
        filename = self.filenames[_unique(item)]
        path = os.path.join(self._spec.to, filename)
        return Wanted(DownloadFile(self._spec.key, _remote(item), path, reason), filename, item.url or "")


def fingerprint_at(path: Path) -> Fingerprint | None:
    """The fingerprint of a regular file. None without a regular file at the path."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return Fingerprint.of(found)


def _unique(item: ListedItem) -> str:
    return item.unique_name or item.name


def _remote(item: ListedItem) -> RemoteFile:
    return RemoteFile(item.name, item.id, _unique(item))
