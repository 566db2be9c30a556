"""Output files that a user names.

Owns: writing them as a whole, through a temporary file that is renamed. Must not: replace a pipe, a link or a device.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import tempfile
from pathlib import Path

_OPEN_FILE = re.compile(r"(?:/dev|/proc/self)/fd/([0-9]{1,9})|/dev/(stdout|stderr)")
_NAMED = {"stdout": 1, "stderr": 2}


def write_output(path: Path, text: str) -> None:
    """Write a file that only its owner can read (mode 0600), as a whole or not at all. Raises OSError.

    A symbolic link stays; its target is replaced. A pipe or a character device, such as a process substitution, is
    written to.
    """
    number = _descriptor(path)
    if number is not None:
        with open(os.dup(number), "w", encoding="utf-8") as stream:
            stream.write(text)
        return
    target = Path(os.path.realpath(path))
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        with open(path, "w", encoding="utf-8", opener=_open_existing) as stream:
            stream.write(text)
        return
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    descriptor, draft = tempfile.mkstemp(prefix=f".{target.name[:100]}.", suffix=".part", dir=target.parent)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(draft, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise


def _open_existing(path: str, flags: int) -> int:
    return os.open(path, (flags & ~(os.O_CREAT | os.O_TRUNC)) | os.O_NOCTTY)


def _descriptor(path: Path) -> int | None:
    """Return the file descriptor of a path such as /dev/stdout or /dev/fd/63, or None."""
    found = _OPEN_FILE.fullmatch(str(path))
    return _NAMED[found[2]] if found and found[2] else int(found[1]) if found else None
