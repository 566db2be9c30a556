"""What a file is called in its collection."""

from __future__ import annotations

from typing import Literal

Naming = Literal["name", "path"]


def lake_name(relative_path: str, naming: Naming) -> str:
    """`name` is the file's own name; `path` joins the folders into it: a/b.jpg becomes a__b.jpg."""
    if naming == "name":
        return relative_path.rpartition("/")[2]
    return relative_path.replace("/", "__")
