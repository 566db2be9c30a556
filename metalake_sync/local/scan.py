"""The scan: folders, one after the other, with what a stat call tells of each wanted file.

Owns: walking. Links are followed where the rules say so, and nothing is opened: a FIFO can't hold it up. What can't be
looked at is a problem that is told, never a file that is silently missing.
"""

from __future__ import annotations

import contextlib
import enum
import os
import stat
from collections.abc import Iterator
from dataclasses import field
from functools import partial
from operator import attrgetter
from typing import NamedTuple

from metalake_sync.core.facts import Fingerprint
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.local.rules import IGNORE_FILE, FolderRules, ScanRules


class ScannedFile(NamedTuple):
    """A wanted file. Sizes in bytes, times in nanoseconds since the epoch."""

    filename: str
    size_bytes: int
    mtime_ns: int
    inode: int
    ctime_ns: int

    def fingerprint(self) -> Fingerprint:
        return Fingerprint(self.size_bytes, self.mtime_ns, self.inode, self.ctime_ns)

    def stat_row(self) -> tuple[int, int, int, int]:
        """The fingerprint as a plain tuple, which is what most comparisons need."""
        return self[1:]


_name_of = attrgetter("name")

_scanned = partial(tuple.__new__, ScannedFile)
"""ScannedFile from one tuple: half the price of a call with five arguments, and it is paid for every file."""


class Trouble(enum.Enum):
    """Why something could not be looked at, or can't be sent."""

    MISSING = "does not exist"
    NOT_A_FOLDER = "is not a folder"
    UNREADABLE = "can't be read"
    NOT_UTF8 = "has a name that is no UTF-8, which the lake can't take"
    CONTROL_CHARACTERS = "has control characters in its name, which the lake does not take"
    SPECIAL_FILE = "is no regular file"
    LINK = "is a link, and links are not followed"
    FOLDER_LINK = "is a link to a folder, and links are not followed"
    LOOP = "is a link to a folder that it stands in"
    BROKEN_LINK = "is a link that leads nowhere"


_HIDES_FILES = frozenset(
    {Trouble.MISSING, Trouble.NOT_A_FOLDER, Trouble.UNREADABLE, Trouble.FOLDER_LINK, Trouble.BROKEN_LINK}
)
_FAILURES = frozenset({Trouble.UNREADABLE, Trouble.NOT_UTF8, Trouble.CONTROL_CHARACTERS})


@dataclass(frozen=True, slots=True)
class ScanProblem:
    """`path`: from the scanned folder, '' for the folder itself. `detail`: the system's words, if it had any.
    `is_folder`: what is beneath it is unknown."""

    path: str
    trouble: Trouble
    is_folder: bool
    detail: str = ""

    @property
    def filename(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def message(self) -> str:
        return f"{self.trouble.value} ({self.detail})" if self.detail else self.trouble.value

    @property
    def hides_files(self) -> bool:
        """True where an unknown number of files is out of sight."""
        return self.is_folder and self.trouble in _HIDES_FILES

    @property
    def is_failure(self) -> bool:
        """True where something that was wanted could not be looked at or can't be sent."""
        return self.trouble in _FAILURES


@dataclass(slots=True)
class FolderListing:
    """One folder. `relative_dir`: from the scanned folder with `/`, '' for itself. Files are sorted by name."""

    relative_dir: str
    files: list[ScannedFile] = field(default_factory=list)
    problems: list[ScanProblem] = field(default_factory=list)


def scan_folder(root: str, rules: ScanRules) -> Iterator[FolderListing]:
    """Walk `root` depth first, folder by folder, children sorted by name. A root that can't be listed gives one
    listing with the problem."""
    yield from _walk(root, "", rules.at_root(), deep=True)


def scan_part(root: str, rules: ScanRules, relative_dir: str, *, deep: bool) -> Iterator[FolderListing]:
    """List one folder below `root`, or with `deep` walk from there: what `scan_folder` would say of it, without walking
    the rest. A folder that is not there, or not wanted, gives nothing; a root or a folder above that can't be looked at
    gives one listing with the problem."""
    folder_rules = rules.at_root()
    above = ""
    for name in relative_dir.split("/") if relative_dir else ():
        path = os.path.join(root, above) if above else root
        try:
            os.stat(os.path.join(path, "."))
            if os.path.lexists(os.path.join(path, IGNORE_FILE)):
                folder_rules = folder_rules.with_ignore_file(os.path.join(path, IGNORE_FILE))
            below = os.stat(os.path.join(path, name), follow_symlinks=rules.follow_symlinks)
        except FileNotFoundError as error:
            if not above and not os.path.lexists(root):
                yield FolderListing("", problems=[_folder_problem("", error)])
            return
        except OSError as error:
            yield FolderListing(above, problems=[_folder_problem(above, error)])
            return
        if not stat.S_ISDIR(below.st_mode) or not folder_rules.wants_folder(name):
            return
        above = f"{above}/{name}" if above else name
        folder_rules = folder_rules.below(above)
    yield from _walk(root, relative_dir, folder_rules, deep=deep)


def _walk(root: str, start: str, rules: FolderRules, *, deep: bool) -> Iterator[FolderListing]:
    follows = rules.rules.follow_symlinks
    pending: list[tuple[str, FolderRules, _Chain]] = [(start, rules, _chain_to(root, start) if follows else ())]
    while pending:
        relative_dir, folder_rules, chain = pending.pop()
        path = os.path.join(root, relative_dir) if relative_dir else root
        listing = FolderListing(relative_dir)
        try:
            with os.scandir(path) as scan:
                entries = list(scan)
        except OSError as error:
            listing.problems.append(_folder_problem(relative_dir, error))
            yield listing
            continue
        if IGNORE_FILE in map(_name_of, entries):
            folder_rules = folder_rules.with_ignore_file(os.path.join(path, IGNORE_FILE))
        folders = _sort_out(entries, relative_dir, folder_rules, listing)
        chains = dict.fromkeys(folders, chain)
        if follows:
            chains = _without_loops(root, folders, chain, listing)
        yield listing
        if not deep:
            return
        pending.extend((folder, folder_rules.below(folder), chains[folder]) for folder in reversed(chains))


_Chain = tuple[tuple[int, int], ...]
"""Device and inode of a folder and of each one above it, up to the scanned one: where links are followed, a folder that
stands in its own chain is met again and again."""


def _chain_to(root: str, relative_dir: str) -> _Chain:
    parts = relative_dir.split("/") if relative_dir else []
    paths = [root, *("/".join([root, *parts[: number + 1]]) for number in range(len(parts)))]
    with contextlib.suppress(OSError):
        return tuple(_identity(path) for path in paths)
    return ()


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _without_loops(root: str, folders: list[str], chain: _Chain, listing: FolderListing) -> dict[str, _Chain]:
    """The folders to walk, each with its chain; those that lead back are problems."""
    chains: dict[str, _Chain] = {}
    for folder in folders:
        try:
            identity = _identity(os.path.join(root, folder))
        except OSError as error:
            listing.problems.append(_folder_problem(folder, error))
            continue
        if identity in chain:
            listing.problems.append(ScanProblem(folder, Trouble.LOOP, is_folder=False))
        else:
            chains[folder] = (*chain, identity)
    return chains


def scan_file(path: str) -> ScannedFile | ScanProblem:
    """Look at a single file that was named outright. The problem's path is ''."""
    name = os.path.basename(path)
    trouble = unsendable(name)
    if trouble is not None:
        return ScanProblem("", trouble, is_folder=False)
    try:
        found = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return ScanProblem("", Trouble.MISSING, is_folder=True)
    except OSError as error:
        return ScanProblem("", Trouble.UNREADABLE, is_folder=True, detail=error.strerror or "")
    if stat.S_ISLNK(found.st_mode):
        return ScanProblem("", Trouble.LINK, is_folder=True)
    if not stat.S_ISREG(found.st_mode):
        return ScanProblem("", Trouble.SPECIAL_FILE, is_folder=True)
    return ScannedFile(name, found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns)


def unsendable(name: str) -> Trouble | None:
    """Why the lake could not take a file of this name, or None."""
    if name.isprintable():
        return None
    try:
        name.encode()
    except UnicodeEncodeError:
        return Trouble.NOT_UTF8
    return Trouble.CONTROL_CHARACTERS if any(ord(char) < 32 or ord(char) == 127 for char in name) else None


def _folder_problem(relative_dir: str, error: OSError) -> ScanProblem:
    if isinstance(error, FileNotFoundError):
        return ScanProblem(relative_dir, Trouble.MISSING, is_folder=True)
    if isinstance(error, NotADirectoryError):
        return ScanProblem(relative_dir, Trouble.NOT_A_FOLDER, is_folder=True)
    return ScanProblem(relative_dir, Trouble.UNREADABLE, is_folder=True, detail=error.strerror or "")


def _sort_out(
    entries: list[os.DirEntry[str]], relative_dir: str, rules: FolderRules, listing: FolderListing
) -> list[str]:
    """Put wanted files and problems into the listing, and return the folders to walk; all of them sorted by name."""
    folders: list[str] = []
    prefix = relative_dir + "/" if relative_dir else ""
    files, problems, wants = listing.files, listing.problems, rules.file_filter()
    follows = rules.rules.follow_symlinks
    for entry in entries:
        name = entry.name
        try:
            if wants(name) and entry.is_file(follow_symlinks=follows):
                # A printable name is one that the lake can take.
                if name.isprintable() or (trouble := unsendable(name)) is None:
                    found = entry.stat(follow_symlinks=follows)
                    files.append(
                        _scanned((name, found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns)),
                    )
                else:
                    problems.append(ScanProblem(prefix + name, trouble, is_folder=False))
            elif entry.is_dir(follow_symlinks=follows):
                if rules.wants_folder(name):
                    folders.append(prefix + name)
            elif entry.is_symlink():
                if wants(name) or rules.wants_folder(name):
                    problems.extend(_about_link(entry, prefix + name, wanted=bool(wants(name)), follows=follows))
            elif wants(name):
                problems.append(ScanProblem(prefix + name, Trouble.SPECIAL_FILE, is_folder=False))
        except FileNotFoundError:
            # It vanished between being listed and being looked at: it is gone, like any file that is not there.
            continue
        except OSError as error:
            problems.append(
                ScanProblem(prefix + name, Trouble.UNREADABLE, is_folder=False, detail=error.strerror or "")
            )
    files.sort()
    problems.sort(key=attrgetter("path"))
    return sorted(folders)


def _about_link(entry: os.DirEntry[str], path: str, *, wanted: bool, follows: bool) -> Iterator[ScanProblem]:
    """What there is to say of a link that is not taken. `wanted`: a file of that name would be."""
    if follows and not os.path.exists(entry.path):
        yield ScanProblem(path, Trouble.BROKEN_LINK, is_folder=True)
    elif not follows and entry.is_dir():
        yield ScanProblem(path, Trouble.FOLDER_LINK, is_folder=True)
    elif wanted:
        yield ScanProblem(path, Trouble.SPECIAL_FILE if follows else Trouble.LINK, is_folder=False)
