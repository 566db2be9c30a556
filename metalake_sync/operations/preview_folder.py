"""The folder that previews are written to.

Owns: which files of it may be overwritten and removed: those that a preview wrote and that did not change since. Each
file is listed with its BLAKE3 hash in LIST before it gets its name. Must not: remove or replace anything else.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from blake3 import blake3

from metalake_sync.errors import UsageError
from metalake_sync.sources.opening import open_regular_file

PAGE = "index.html"
LIST = ".metalake-sync-preview"
_DRAFT = LIST + ".part"
_LINE = re.compile(r"([0-9a-f]{64})  (index\.html|[0-9]{4,}-[A-Za-z0-9._-]+\.png)")
"""Hash and name. A list can't name a file of another folder."""

_EARLIER_PAGE = b'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n<meta http-equiv='
"""How the page of a preview begins. Earlier versions wrote no list."""

LIST_LIMIT_BYTES = 64 << 20


class PreviewFolder:
    """A folder during one preview."""

    def __init__(self, path: Path, names: Collection[str]) -> None:
        """Create the folder, if it does not exist. `names`: the files that the preview is going to write.

        Raises UsageError if the folder cannot be used, or if a file would be overwritten that no preview wrote.
        """
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._earlier = _unchanged_files(path)
        except OSError as error:
            raise UsageError(
                f"cannot use '{path}' ({error.strerror})", remedy="Choose another folder with --to."
            ) from None
        for name in names:
            if os.path.lexists(path / name) and name not in self._earlier and not _is_earlier_page(path / name):
                raise UsageError(
                    f"'{path / name}' exists, and no preview wrote it",
                    remedy="Choose another folder with --to, or move the file away.",
                )
        self._written: dict[str, str] = {}

    def write(self, name: str, write: Callable[[Path], None]) -> None:
        """Write a file. `write` writes the content to the given path. A file of an earlier preview is replaced."""
        draft = self.path / _DRAFT
        draft.unlink(missing_ok=True)
        try:
            write(draft)
            digest = _hash(draft)
            with open(self.path / LIST, "a", encoding="ascii", opener=_open_no_link) as listed:
                listed.write(f"{digest}  {name}\n")
            os.rename(draft, self.path / name)
        finally:
            draft.unlink(missing_ok=True)
        self._written[name] = digest

    def finish(self) -> None:
        """Remove the files of earlier previews that this one did not write."""
        for name, digest in self._earlier.items():
            if name not in self._written and _hash_of_regular(self.path / name) == digest:
                (self.path / name).unlink()
        draft = self.path / _DRAFT
        draft.write_text("".join(f"{digest}  {name}\n" for name, digest in self._written.items()), "ascii")
        os.rename(draft, self.path / LIST)


def _unchanged_files(folder: Path) -> Mapping[str, str]:
    """Return the files that a preview wrote and that did not change since: name → hash."""
    try:
        with os.fdopen(open_regular_file(folder / LIST), "rb") as file:
            text = file.read(LIST_LIMIT_BYTES).decode("ascii", "replace")
    except OSError:
        return {}
    digests: dict[str, set[str]] = {}
    for line in text.splitlines():
        if match := _LINE.fullmatch(line):
            digests.setdefault(match[2], set()).add(match[1])
    found = {name: _hash_of_regular(folder / name) for name in digests}
    return {name: digest for name, digest in found.items() if digest is not None and digest in digests[name]}


def _hash_of_regular(path: Path) -> str | None:
    """Return the hash of a regular file, or None for anything else, such as a link."""
    try:
        return _hash(path) if stat.S_ISREG(os.lstat(path).st_mode) else None
    except OSError:
        return None


def _hash(path: Path) -> str:
    with os.fdopen(open_regular_file(path), "rb") as file:
        hasher = blake3()
        while chunk := file.read(1 << 20):
            hasher.update(chunk)
    return hasher.hexdigest()


def _is_earlier_page(path: Path) -> bool:
    if path.name != PAGE or not stat.S_ISREG(os.lstat(path).st_mode):
        return False
    with os.fdopen(open_regular_file(path), "rb") as file:
        return file.read(len(_EARLIER_PAGE)) == _EARLIER_PAGE


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)
