"""What should be in a local folder, and whether a file there is right.

Owns: the words and the comparison. Must not: look at the disk or at the lake.
"""

from __future__ import annotations

import enum
from dataclasses import field
from typing import Literal

from metalake_sync.core.actions import DownloadAnnotations, DownloadFile, Reason
from metalake_sync.core.selection import ItemSelection
from metalake_sync.core.shapes import FormatName
from metalake_sync.core.snapshots import CollectionKey, Fingerprint
from metalake_sync.lazy_dataclass import dataclass

AnnotationChoice = Literal["human", "machine", "all"]
DownloadNaming = Literal["unique_name", "name"]


@dataclass(frozen=True, slots=True)
class AnnotationsWanted:
    """Annotations that come along. `operations`: none means every one of the kind. `format`: of the files written."""

    kind: AnnotationChoice = "all"
    operations: tuple[str, ...] = ()
    format: FormatName = "metalake"


@dataclass(frozen=True, slots=True)
class DownloadSpec:
    """A folder that should hold what the lake has of a selection. `to`: from the manifest's folder, or absolute.
    `naming`: what files are called there. `media`: the files themselves. `declared_at`: the manifest's line."""

    selection: ItemSelection
    to: str
    media: bool = True
    annotations: AnnotationsWanted | None = None
    naming: DownloadNaming = "unique_name"
    declared_at: str = ""

    @property
    def key(self) -> CollectionKey:
        return self.selection.key


@dataclass(frozen=True, slots=True)
class DownloadedFile:
    """A file that was downloaded before. `filename`: what it is called in its folder."""

    lake_id: str
    unique_name: str
    filename: str
    fingerprint: Fingerprint
    checked: bool = True
    """Whether it was compared with the lake's size or the store's MD5. Older versions recorded files without."""


@dataclass(slots=True)
class DownloadPlan:
    """The work of one download. `unchanged`: how many files are right. `adopted`: those of them that are yet to be
    recorded. `losses`: what the format of the annotations can't hold, in one line each. `missing`: the lake has no such
    collection yet. `nothing_drawn`: none of the operations that were asked for has a shape there."""

    spec: DownloadSpec
    files: list[DownloadFile] = field(default_factory=list)
    annotations: list[DownloadAnnotations] = field(default_factory=list)
    unchanged: int = 0
    adopted: list[DownloadedFile] = field(default_factory=list)
    losses: tuple[str, ...] = ()
    missing: bool = False
    nothing_drawn: bool = False
    labels: frozenset[str] = frozenset()
    """The labels that get class ids."""
    stale: tuple[str, ...] = ()
    """Files in the folder, by their paths below it, that an earlier download wrote and this one does not."""


class Local(enum.Enum):
    """What can be said of a file without asking the lake."""

    RIGHT = "right"
    ASK_SIZE = "ask the lake for its size"
    CHECK_SIZE = "ask the lake whether the recorded file has the right size"
    ASK_STORE = "ask the store for a proof of its bytes"


def judge_local(lake_id: str, recorded: DownloadedFile | None, local: Fingerprint | None) -> Reason | Local:
    """Compare an item with what was downloaded and what is in the folder. A reason means that it has to be fetched.

    The bytes of an id never change: the same id and an untouched file are right. Inodes say nothing here, because
    folders of downloads are copied and moved. `sources`: None if there is no file.
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
    """Whether a file that nobody recorded can be what the lake has: the same size has to be proven the same."""
    return Local.ASK_STORE if size_in_lake == local.size_bytes else Reason.CONTENT_CHANGED
