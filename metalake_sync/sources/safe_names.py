"""What a file of the lake is called on this disk: names come from strangers, and stay in the folder they are meant for.

Pure: no disk. A name that every file system takes stands as it is; any other one is changed, and then carries eight
digits of its hash, so that two names never become one.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable

from blake3 import blake3

NAME_BYTES_LIMIT = 240
"""Most file systems take 255 bytes; the rest is for the hash, and for a temporary name."""

SUFFIX_BYTES_LIMIT = 16
"""An ending that is longer is no ending, and is cut with the rest."""

_NOT_TAKEN = re.compile(r'[\x00-\x1f\x7f-\x9f\ud800-\udfff<>:"/\\|?*]')
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE | re.DOTALL)
"""Device names, with any ending. Source: Microsoft, "Naming Files, Paths, and Namespaces"."""


def safe_name(name: str) -> str:
    """One path component that every file system takes, of at most 240 bytes. It never is '', '.' or '..'."""
    safe = _NOT_TAKEN.sub("_", name).rstrip(" .")
    if not safe or _RESERVED.fullmatch(safe):
        safe = f"_{safe}"
    if safe != name or len(safe.encode()) > NAME_BYTES_LIMIT:
        return marked(safe, name)
    return safe


def marked(safe: str, name: str) -> str:
    """A safe name with eight digits of the original name's hash before its ending, shortened where it is too long."""
    stem, suffix = os.path.splitext(safe)
    if len(suffix.encode()) > SUFFIX_BYTES_LIMIT:
        stem, suffix = safe, ""
    mark = f"~{blake3(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}{suffix}"
    room = NAME_BYTES_LIMIT - len(mark.encode())
    return stem.encode()[:room].decode(errors="ignore") + mark


class FolderNames:
    """The names in one folder. Twins that differ in case or in their Unicode form only are kept apart, because some
    file systems take them for one. `taken`: names that nothing else may get."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = {folded(name) for name in taken}

    def take(self, name: str) -> str:
        """The safe name for a file that the lake calls `name`; each call takes one."""
        safe = safe_name(name)
        number = 0
        while folded(safe) in self._taken:
            safe = marked(safe_name(name), f"{name}\0{number}" if number else name)
            number += 1
        self._taken.add(folded(safe))
        return safe

    @staticmethod
    def could_be(safe: str, name: str) -> bool:
        """Whether `safe` is what a file called `name` may have got."""
        return safe in (safe_name(name), marked(safe_name(name), name))

    def keep(self, safe: str) -> None:
        """A name that an earlier run gave stays taken."""
        self._taken.add(folded(safe))


def folded(name: str) -> str:
    """What twins have in common: names that differ only in case or in their Unicode form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
