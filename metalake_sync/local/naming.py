"""What a file is called in its collection."""

from __future__ import annotations

import codecs
import sys
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
