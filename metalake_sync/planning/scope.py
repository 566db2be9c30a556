"""What part of the disk a run looks at: the folders that were hinted at, and nothing else.

Owns: the translation of hinted folders into places below a source. Must not: read the disk.
"""

from __future__ import annotations

import os

from metalake_sync.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """A place below a source. `relative_dir`: from the source's folder with `/`, '' for itself. `deep`: with everything
    beneath it."""

    relative_dir: str
    deep: bool


@dataclass(frozen=True, slots=True)
class Scope:
    """`folders`: each alone; `trees`: each with everything beneath. Absolute and normal paths, as `os.path.abspath`
    gives them. `base_dir`: where the state's paths hang from.

    What lies outside is neither looked at nor taken for gone.
    """

    base_dir: str
    folders: frozenset[str] = frozenset()
    trees: frozenset[str] = frozenset()

    def parts_of(self, root: str) -> list[Part]:
        """The hinted places at or below a folder, sorted; a tree above it is the whole of it."""
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
        """Whether a single file stands in a hinted folder."""
        folder = os.path.dirname(os.path.abspath(path))
        return folder in self.folders or any(_at_or_below(folder, tree) for tree in self.trees)


def _at_or_below(path: str, top: str) -> bool:
    return path == top or not top or path.startswith(top.rstrip("/") + "/")


def _relative(path: str, root: str) -> str:
    return path[len(root.rstrip("/")) + 1 :]
