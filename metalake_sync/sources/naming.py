"""What a file is called: in its collection, and by sources that spell its path otherwise."""

from __future__ import annotations

import codecs
import sys
import unicodedata
from typing import Literal

Naming = Literal["name", "path"]


def lake_name(relative_path: str, naming: Naming) -> str:
    """`name` is the file's own name; `path` joins the folders into it: a/b.jpg becomes a__b.jpg."""
    if naming == "name":
        return relative_path.rpartition("/")[2]
    return relative_path.replace("/", "__")


def names_are_utf8() -> bool:
    """Whether Python reads file names as UTF-8. In any other encoding they would reach the lake as other names."""
    return codecs.lookup(sys.getfilesystemencoding()).name == "utf-8"


def plain_path(path: str) -> str:
    """One spelling for paths that mean the same: `/`, no dots in front, and accents composed, whatever system wrote
    them."""
    path = path.replace("\\", "/")
    while path.startswith(("./", "../", "/")):
        path = path.partition("/")[2]
    return path if path.isascii() else unicodedata.normalize("NFC", path)
