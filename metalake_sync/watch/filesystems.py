"""What is mounted: where notifications can't work, and what went away.

Owns: the list of filesystems that other machines change behind the kernel's back.
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
    """The type of a path's filesystem if it sends no notifications of what others change, else None."""
    path = os.path.realpath(path)
    best, kind = "", ""
    for mount, of_kind in _mounts(mountinfo):
        if (path == mount or path.startswith(mount.rstrip("/") + "/")) and len(mount) >= len(best):
            best, kind = mount, of_kind
    return kind if _SILENT.fullmatch(kind) else None


@dataclass(slots=True)
class Mounts:
    """Remembers what was mounted at or below some folders. A folder whose disk is away looks like one that was
    emptied."""

    roots: Collection[str]
    mountinfo: Path = MOUNTINFO
    _seen: set[str] = field(default_factory=set)

    def gone(self) -> Sequence[str]:
        """What was mounted at an earlier call, and is not now."""
        roots = [os.path.realpath(root) for root in self.roots]
        mounted = {
            mount
            for mount, _ in _mounts(self.mountinfo)
            if any(mount == root or mount.startswith(root.rstrip("/") + "/") for root in roots)
        }
        self._seen |= mounted
        return sorted(self._seen - mounted)


def _mounts(mountinfo: Path) -> Iterator[tuple[str, str]]:
    """Each mount's path and type; the last of those on one path is the one that is seen."""
    try:
        lines = mountinfo.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        before, _, after = line.partition(" - ")
        yield _unescaped(before.split()[4]), after.split()[0]


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
