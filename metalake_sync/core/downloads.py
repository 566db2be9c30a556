"""Downloads: the files that a local folder should have, and whether a file there is the wanted one.

Owns: the types and the comparison. Must not: read the disk or call the lake.
"""

from __future__ import annotations

import enum
from dataclasses import field
from typing import Literal

from metalake_sync.core.actions import DownloadAnnotations, DownloadFile, Reason, RemoveDownloaded
from metalake_sync.core.selection import ItemSelection
from metalake_sync.core.shapes import FormatName
from metalake_sync.core.snapshots import CollectionKey, Fingerprint
from metalake_sync.lazy_dataclass import dataclass

AnnotationChoice = Literal["human", "machine", "all"]
DownloadNaming = Literal["unique_name", "name"]


@dataclass(frozen=True, slots=True)
class AnnotationsWanted:
    """The annotations to download with the files."""

    kind: AnnotationChoice = "all"
    operations: tuple[str, ...] = ()
    """The operations to download; empty for all operations of the kind."""
    format: FormatName = "metalake"
    """The format of the annotation files."""
    classes: tuple[str, ...] = ()
    """The labels in the order of their class ids. Empty: the order of their names."""


@dataclass(frozen=True, slots=True)
class Share:
    """The share of one split by ratio: an interval of the numbers from 0 to 1, of which each file has one."""

    begin: float
    end: float
    """Not part of the share."""
    seed: int


@dataclass(frozen=True, slots=True)
class DownloadSpec:
    """A local folder that should have the items of a selection."""

    selection: ItemSelection
    to: str
    """The folder, absolute or relative to the manifest's folder."""
    media: bool = True
    """Whether to download the files themselves."""
    annotations: AnnotationsWanted | None = None
    naming: DownloadNaming = "unique_name"
    """How files are named in the folder."""
    metadata: tuple[str, ...] | None = None
    """Metadata fields to write beside the files, in addition to Tags and those that the manifest wrote. None: write no
    metadata."""
    prune: bool = False
    """Whether to remove files of earlier downloads into the folder that this one does not write."""
    backup_dir: str | None = None
    """The folder that keeps removed files, absolute or relative to the manifest's folder. None: they are deleted."""
    declared_at: str = ""
    """The line of the manifest, as FILE:LINE:COLUMN."""
    block_to: str | None = None
    """The folder of the whole download. None: the download has no splits, or this is the folder around them."""
    split: str | None = None
    """The split that goes into the folder. None: as for `block_to`."""
    share: Share | None = None
    """The share of the split, if a ratio divides the files."""
    splits: tuple[str, ...] = ()
    """The splits in the folder, if this is the folder around them. It has no files of the lake then."""
    counts_unassigned: bool = False
    """Whether files of the download may be in none of the splits."""

    @property
    def block(self) -> str:
        """What the specs of one download share."""
        return self.to if self.block_to is None else self.block_to

    @property
    def records_folder(self) -> str:
        """The folder in the state. The folder of a split differs from the same folder of another download."""
        return self.to if self.block_to is None else folder_of_split(self.block_to, self.split or "")

    @property
    def key(self) -> CollectionKey:
        return self.selection.key


def folder_of_split(to: str, split: str) -> str:
    """Return the folder of a split as the state names it."""
    return f"{to}/./{split}"


@dataclass(frozen=True, slots=True)
class DownloadedFile:
    """A file that an earlier run downloaded."""

    lake_id: str
    unique_name: str
    filename: str
    """The name in the download folder."""
    fingerprint: Fingerprint
    checked: bool = True
    """Whether its size or MD5 was compared with the lake or the store. Older versions recorded unchecked files."""
    written: bool = False
    """Whether a download is known to have written it. Other files were in the folder before, with the lake's bytes."""


@dataclass(slots=True)
class DownloadPlan:
    """The actions of one download."""

    spec: DownloadSpec
    files: list[DownloadFile] = field(default_factory=list)
    annotations: list[DownloadAnnotations] = field(default_factory=list)
    removals: list[RemoveDownloaded] = field(default_factory=list)
    unchanged: int = 0
    """The number of local files that are the wanted ones already."""
    adopted: list[DownloadedFile] = field(default_factory=list)
    """Unchanged files that the state does not record yet."""
    losses: tuple[str, ...] = ()
    """What the annotation format cannot represent, one line each."""
    missing: bool = False
    """Whether the lake does not have the collection yet."""
    nothing_drawn: bool = False
    """Whether none of the requested operations has a shape."""
    labels: frozenset[str] = frozenset()
    """The labels that get class ids: those of all requested operations in the collection, whatever the query selects.
    So another query does not change the ids."""
    classes: tuple[str, ...] | None = None
    """The labels in the order of their class ids. None: the format has no class ids."""
    recorded_classes: tuple[str, ...] | None = None
    """The order of the class ids that an earlier run wrote into the folder. None: it wrote none."""
    refused_labels: tuple[str, ...] = ()
    """Labels of shapes that are not among the classes in the manifest. Nothing is downloaded then."""
    stale: tuple[str, ...] = ()
    """Paths of files in the folder that an earlier download wrote, this one does not write, and no action removes."""
    vanished: tuple[str, ...] = ()
    """Paths of recorded files that this download does not write and that are not in the folder any more."""
    unsettled: int = 0
    """The number of written files that are right, and whose record is of another version."""
    fields_unknown: bool = False
    """Whether metadata is written and no field is known to be read."""
    recorded: int = 0
    """The number of files in the folder that downloads wrote or took over."""
    in_other_splits: tuple[str, ...] = ()
    """Names of files that match this split and are in an earlier one already."""
    unassigned: int = 0
    """The number of files that the download selects and none of its splits does."""
    nothing_matches: bool = False
    """Whether the lake lists no file. Then nothing is removed."""

    @property
    def selects_files(self) -> bool:
        """Whether the lake lists a file that the download selects."""
        return bool(self.files or self.unchanged or self.adopted or self.in_other_splits or self.refused_labels)

    @property
    def moved_classes(self) -> tuple[str, ...]:
        """The labels that get another class id than an earlier run wrote, in the order of their new ids."""
        before = {label: number for number, label in enumerate(self.recorded_classes or ())}
        now = enumerate(self.classes or ())
        return tuple(label for number, label in now if before.get(label, number) != number)

    @property
    def only_records(self) -> bool:
        """Whether records change even if nothing is downloaded."""
        new_classes = self.classes not in (None, self.recorded_classes)
        return bool(self.adopted or self.vanished or self.unsettled) or new_classes


class Local(enum.Enum):
    """The result of comparing a local file with its record, without calling the lake."""

    RIGHT = "right"
    ASK_SIZE = "ask the lake for its size"
    CHECK_SIZE = "ask the lake whether the recorded file has the right size"
    ASK_STORE = "ask the store for a proof of its bytes"


def judge_local(lake_id: str, recorded: DownloadedFile | None, local: Fingerprint | None) -> Reason | Local:
    """Compare an item with its record and the local file. A reason means that the file must be downloaded.

    The bytes of an id never change, so a file with the same id and an unchanged fingerprint is the wanted one. Inodes
    are ignored, because users copy and move download folders. `local`: None if there is no local file.
    """
    if local is None:
        return Reason.NEW if recorded is None else Reason.DRIFTED
    if recorded is None:
        return Local.ASK_SIZE
    if recorded.lake_id != lake_id:
        return Reason.CONTENT_CHANGED
    before = recorded.fingerprint
    if (before.size_bytes, before.mtime_ns) != (local.size_bytes, local.mtime_ns):
        return Reason.DRIFTED
    return Local.RIGHT if recorded.checked else Local.CHECK_SIZE


def judge_size(size_in_lake: int | None, local: Fingerprint) -> Reason | Local:
    """Compare the size of a local file without a record. A file of equal size needs proof that its bytes are equal."""
    return Local.ASK_STORE if size_in_lake == local.size_bytes else Reason.CONTENT_CHANGED
