"""Names of files: in the collection, in sources that spell paths differently, and on the local disk.

Owns: these rules. Names in the lake come from other clients and must not leave their folder. A name that is valid on
every file system is kept. Any other name is changed and gets eight digits of its hash, so that two names never become
equal. Must not: read a disk.
"""

from __future__ import annotations

import codecs
import os
import re
import sys
import unicodedata
from collections.abc import Iterable
from typing import Literal

Naming = Literal["name", "path"]


def lake_name(relative_path: str, naming: Naming) -> str:
    """Return a file's name in its collection. `name`: its own name. `path`: with its folders, a/b.jpg as a__b.jpg."""
    if naming == "name":
        return relative_path.rpartition("/")[2]
    return relative_path.replace("/", "__")


def names_are_utf8() -> bool:
    """Return whether Python decodes file names as UTF-8. Other encodings would change names in the lake."""
    return codecs.lookup(sys.getfilesystemencoding()).name == "utf-8"


def plain_path(path: str) -> str:
    """Return one spelling for equal paths of any system: with `/`, without leading dots, in composed Unicode form."""
    path = path.replace("\\", "/")
    while path.startswith(("./", "../", "/")):
        path = path.partition("/")[2]
    return path if path.isascii() else unicodedata.normalize("NFC", path)


NAME_BYTES_LIMIT = 240
"""Most file systems allow 255 bytes. The rest is for the hash and for a temporary name."""

SUFFIX_BYTES_LIMIT = 16
"""A longer suffix is not an extension and is shortened with the rest."""

_NOT_TAKEN = re.compile(r'[\x00-\x1f\x7f-\x9f\ud800-\udfff<>:"/\\|?*]')
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE | re.DOTALL)
"""Device names, with any ending. Source: Microsoft, "Naming Files, Paths, and Namespaces"."""


def safe_name(name: str) -> str:
    """Return a path component that is valid on every file system, of at most 240 bytes. Never '', '.' or '..'."""
    safe = _NOT_TAKEN.sub("_", name).rstrip(" .")
    if not safe or _RESERVED.fullmatch(safe):
        safe = f"_{safe}"
    if safe != name or len(safe.encode()) > NAME_BYTES_LIMIT:
        return marked(safe, name)
    return safe


def marked(safe: str, name: str) -> str:
    """Return a safe name with eight digits of the original name's hash before its extension, shortened if needed."""
    # Every start loads this module, and few need a hash.
    from blake3 import blake3

    stem, suffix = os.path.splitext(safe)
    if len(suffix.encode()) > SUFFIX_BYTES_LIMIT:
        stem, suffix = safe, ""
    mark = f"~{blake3(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}{suffix}"
    length = NAME_BYTES_LIMIT - len(mark.encode())
    return stem.encode()[:length].decode(errors="ignore") + mark


class FolderNames:
    """The names in one folder. Names that differ only in case or Unicode form get different safe names, because some
    file systems treat them as equal. `taken` has names that are in use."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = {folded(name) for name in taken}

    def take(self, name: str) -> str:
        """Reserve and return a safe name for the lake's name of a file."""
        safe = safe_name(name)
        number = 0
        while folded(safe) in self._taken:
            safe = marked(safe_name(name), f"{name}\0{number}" if number else name)
            number += 1
        self._taken.add(folded(safe))
        return safe

    @staticmethod
    def could_be(safe: str, name: str) -> bool:
        """Return whether `take` may have returned `safe` for `name`."""
        return safe in (safe_name(name), marked(safe_name(name), name))

    def keep(self, safe: str) -> None:
        """Reserve a name that an earlier run used."""
        self._taken.add(folded(safe))


def folded(name: str) -> str:
    """Return a key that is equal for names that differ only in case or Unicode form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
