"""File names: in the collection, and in sources that spell paths differently.

Owns: these rules. Must not: read a disk.
"""

from __future__ import annotations

import codecs
import sys
import unicodedata
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
