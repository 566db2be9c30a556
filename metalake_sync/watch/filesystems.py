"""Mounts: which file systems send no notifications, and which mounts disappeared.

Owns: the list of file systems that other machines change without notice to the local kernel.
Source: /proc/self/mountinfo, proc(5).
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import field
from pathlib import Path

from metalake_sync.lazy_dataclass import dataclass

MOUNTINFO = Path("/proc/self/mountinfo")

_SILENT = re.compile(r"nfs4?|cifs|smb3?|smbfs|9p|afs|ceph|lustre|glusterfs|gpfs|beegfs|vboxsf|prl_fs|fuse(blk|\..*)?")


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
