"""Merging the files of a manifest into one tree.

Owns: which keys may be in several files. Top-level lists are concatenated. Any other key may be in one file only, or
have the same value in all. Must not: know what a collection holds.
"""

from __future__ import annotations

from collections.abc import Sequence

from metalake_sync.errors import ManifestError
from metalake_sync.manifest.yaml_tree import KeyPath, Tree

LISTS = frozenset({"collections", "annotations", "metadata", "downloads", "trash"})


def merge(trees: Sequence[Tree]) -> Tree:
    """Merge the trees of several files, each of them a mapping. Places keep the name of their file."""
    merged = Tree({}, places={(): trees[0].place(())})
    for tree in trees:
        merged.errors += tree.errors
        for key, value in tree.value.items():
            held = merged.value.get(key)
            if key in LISTS and isinstance(held, list) and isinstance(value, list):
                _take(merged, tree, key, shift=len(held))
                held += value
            elif key not in merged.value:
                merged.value[key] = list(value) if isinstance(value, list) else value
                _take(merged, tree, key, shift=0)
            elif held != value:
                merged.errors.append(
                    ManifestError(
                        f"'{key}' has a different value here than at {merged.keys[(key,)]}",
                        where=tree.keys[(key,)],
                        remedy="Keep it in one file of the folder.",
                    )
                )
    return merged


def _take(merged: Tree, tree: Tree, key: str, *, shift: int) -> None:
    """Copy the places and marks of a key and of everything below it. `shift` is added to the indexes of its list."""

    def moved(path: KeyPath) -> KeyPath:
        if shift and len(path) > 1 and isinstance(path[1], int):
            return (key, path[1] + shift, *path[2:])
        return path

    def below(path: KeyPath) -> bool:
        return path[:1] == (key,)

    for path, place in tree.places.items():
        if below(path):
            merged.places.setdefault(moved(path), place)
    for path, place in tree.keys.items():
        if below(path):
            merged.keys.setdefault(moved(path), place)
    merged.literal |= {moved(path) for path in tree.literal if below(path)}
    merged.broken |= {moved(path) for path in tree.broken if below(path)}
    merged.references |= {moved(path): names for path, names in tree.references.items() if below(path)}
    merged.missing |= {moved(path): names for path, names in tree.missing.items() if below(path)}
