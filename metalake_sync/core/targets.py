"""Targets: the collections and files that `--target COLLECTION[/GLOB]` restricts a run to, or `--exclude` leaves out.

Owns: reading a target and matching names. Globs match names in the collection. Must not: read the disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from metalake_sync.core.snapshots import CollectionKey
from metalake_sync.errors import UsageError
from metalake_sync.lazy_dataclass import dataclass

TARGET_OPTION, EXCLUDE_OPTION = "--target", "--exclude"


@dataclass(frozen=True, slots=True)
class Target:
    """A collection, or the files of one whose names match `glob`."""

    collection: str
    glob: str | None = None

    def __str__(self) -> str:
        return self.collection if self.glob is None else f"{self.collection}/{self.glob}"

    def takes(self, collection: str, name: str | None) -> bool:
        """Whether the target includes a file. `name`: None for the collection's head, which a glob never includes."""
        if collection != self.collection:
            return False
        return self.glob is None or (name is not None and fnmatchcase(name, self.glob))


@dataclass(frozen=True, slots=True)
class Chosen:
    """The part of the manifest that a run covers."""

    targets: Sequence[Target] = ()
    """Empty: everything."""
    excluded: Sequence[Target] = ()
    """What is taken out of it."""

    def __bool__(self) -> bool:
        """Whether the run covers only a part."""
        return bool(self.targets or self.excluded)

    def takes_part_of(self, collection: str) -> bool:
        """Whether the run covers anything of a collection."""
        if any(one.collection == collection and one.glob is None for one in self.excluded):
            return False
        return not self.targets or any(one.collection == collection for one in self.targets)

    def takes(self, collection: str, name: str | None) -> bool:
        """Whether the run covers a file. `name`: None for the collection's head, which a glob never includes."""
        if any(one.takes(collection, name) for one in self.excluded):
            return False
        return not self.targets or any(one.takes(collection, name) for one in self.targets)


def parse_target(text: str, collections: Sequence[str]) -> Target | None:
    """Parse `COLLECTION[/GLOB]`. Return None if no collection has that name. Names may contain slashes."""
    if text in collections:
        return Target(text)
    named = [name for name in collections if text.startswith(name + "/")]
    if not named:
        return None
    name = max(named, key=len)
    return Target(name, text[len(name) + 1 :])


def parse_targets(texts: Iterable[str], collections: Sequence[str], problem: str) -> list[Target]:
    """Parse several targets. Raises UsageError for one that names no collection.

    `problem`: the error's sentence, with `{}` for the target as the user wrote it.
    """
    targets = []
    for text in texts:
        target = parse_target(text, collections)
        if target is None:
            known = ", ".join(collections) or "(no collections)"
            raise UsageError(problem.format(text), remedy=f"Use COLLECTION or COLLECTION/GLOB with one of: {known}.")
        targets.append(target)
    return targets


def check_matched(
    targets: Sequence[Target],
    names: Mapping[CollectionKey, Iterable[str]],
    where: str,
    option: str = TARGET_OPTION,
) -> None:
    """Raise UsageError for a target whose glob matches no name.

    `names`: by collection. `where`: where the names are from, such as "in the state". `option`: which has the targets.
    """
    left = [target for target in targets if target.glob is not None]
    for key, known in names.items():
        for name in known:
            if not left:
                return
            left = [target for target in left if not target.takes(key.name, name)]
    if left:
        raise UsageError(
            f"'{option} {left[0]}' matches no file {where}",
            remedy="Correct the pattern. It must match whole names in the collection.",
        )
