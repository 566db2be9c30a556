"""Where notifications can't work: filesystems that other machines change behind the kernel's back.

Owns: that list. Source: /proc/self/mountinfo, proc(5).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")

_SILENT = re.compile(r"nfs4?|cifs|smb3?|smbfs|9p|afs|ceph|lustre|glusterfs|gpfs|beegfs|vboxsf|prl_fs|fuse(blk|\..*)?")


def silent_filesystem(path: str, mountinfo: Path = MOUNTINFO) -> str | None:
    """The type of a path's filesystem if it sends no notifications of what others change, else None."""
    try:
        lines = mountinfo.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    path = os.path.realpath(path)
    best, kind = "", ""
    for line in lines:
        before, _, after = line.partition(" - ")
        mount = _unescaped(before.split()[4])
        if (path == mount or path.startswith(mount.rstrip("/") + "/")) and len(mount) >= len(best):
            best, kind = mount, after.split()[0]
    return kind if _SILENT.fullmatch(kind) else None


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
