"""The scope of a run: the folders that changed, when a daemon's run scans nothing else.

Owns: the translation of these folders into parts of a source. Must not: read the disk.
"""

from __future__ import annotations

import os

from metalake_sync.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """A folder at or below a source."""

    relative_dir: str
    """Relative to the source's folder, with `/`, and '' for the folder itself."""
    deep: bool
    """Whether everything beneath it is included."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The folders to scan, as absolute paths that `os.path.abspath` has normalized.

    Files outside of the scope are neither compared nor treated as gone.
    """

    base_dir: str
    """The folder that paths in the state are relative to."""
    folders: frozenset[str] = frozenset()
    """Folders to scan without their subfolders."""
    trees: frozenset[str] = frozenset()
    """Folders to scan with everything beneath them."""

    def parts_of(self, root: str) -> list[Part]:
        """The parts of the scope at or below a folder, sorted. A tree above the folder covers all of it."""
        root = os.path.abspath(root)
        if any(_at_or_below(root, tree) for tree in self.trees):
            return [Part("", deep=True)]
        trees = sorted(_relative(tree, root) for tree in self.trees if _at_or_below(tree, root))
        tops = [tree for tree in trees if not any(tree != other and _at_or_below(tree, other) for other in trees)]
        folders = sorted(_relative(folder, root) for folder in self.folders if _at_or_below(folder, root))
        alone = [folder for folder in folders if not any(_at_or_below(folder, top) for top in tops)]
        return sorted(
            [*(Part(top, deep=True) for top in tops), *(Part(folder, deep=False) for folder in alone)],
            key=lambda part: part.relative_dir,
        )

    def holds_file(self, path: str) -> bool:
        """Whether the scope includes a single file."""
        folder = os.path.dirname(os.path.abspath(path))
        return folder in self.folders or any(_at_or_below(folder, tree) for tree in self.trees)


def _at_or_below(path: str, top: str) -> bool:
    return path == top or not top or path.startswith(top.rstrip("/") + "/")


def _relative(path: str, root: str) -> str:
    return path[len(root.rstrip("/")) + 1 :]
