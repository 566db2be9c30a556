"""The scan: folders, one after the other, with what a stat call tells of each wanted file.

Owns: walking. Each folder is opened below the scanned one, part by part, and its entries are looked at through that
descriptor: a folder that is exchanged for a link meanwhile is not followed, unless the rules follow links. No file is
opened: a FIFO can't hold it up. What can't be looked at is a problem that is told, never a file that is silently
missing.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import field
from functools import partial
from operator import attrgetter
from typing import NamedTuple

from metalake_sync.core.snapshots import LATEST_NS, Fingerprint, recordable_ns
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.open_below import open_below, open_folder
from metalake_sync.sources.rules import IGNORE_FILE, FolderRules, ScanRules

PATH_LIMIT_BYTES = 4096
"""PATH_MAX of Linux, with the NUL at its end: a file beneath a longer path can't be opened to be sent."""


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
    IGNORE_FILE = "has an ignore file that can't be read"
    NOT_UTF8 = "has a name that is no UTF-8, which the lake can't take"
    FOLDER_NAME = "has a folder in its path whose name the lake does not take in a file's name ('naming: path')"
    CONTROL_CHARACTERS = "has control characters in its name, which the lake does not take"
    SPECIAL_FILE = "is no regular file"
    LINK = "is a link, and links are not followed"
    FOLDER_LINK = "is a link to a folder, and links are not followed"
    LOOP = "is a link to a folder that it stands in"
    BROKEN_LINK = "is a link that leads nowhere"


_HIDES_FILES = frozenset(
    {
        Trouble.MISSING,
        Trouble.NOT_A_FOLDER,
        Trouble.UNREADABLE,
        Trouble.IGNORE_FILE,
        Trouble.FOLDER_LINK,
        Trouble.BROKEN_LINK,
    }
)
_FAILURES = frozenset(
    {Trouble.UNREADABLE, Trouble.IGNORE_FILE, Trouble.NOT_UTF8, Trouble.CONTROL_CHARACTERS, Trouble.FOLDER_NAME}
)


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
    try:
        here = open_folder(root)
    except OSError as error:
        if not isinstance(error, FileNotFoundError) or not relative_dir or not os.path.lexists(root):
            yield FolderListing("", problems=[_folder_problem("", error)])
        return
    try:
        for name in relative_dir.split("/") if relative_dir else ():
            try:
                folder_rules = _with_ignore_file_of(here, folder_rules)
                is_folder = stat.S_ISDIR(os.stat(name, dir_fd=here, follow_symlinks=rules.follow_symlinks).st_mode)
                if not is_folder or not folder_rules.wants_folder(name):
                    return
                below = open_below(here, name, follow_symlinks=rules.follow_symlinks)
            except FileNotFoundError:
                return
            except _IgnoreFileProblem as problem:
                yield FolderListing(above, problems=[problem.at(above)])
                return
            except OSError as error:
                yield FolderListing(above, problems=[_folder_problem(above, error)])
                return
            os.close(here)
            here = below
            above = f"{above}/{name}" if above else name
            folder_rules = folder_rules.below(above)
    finally:
        os.close(here)
    yield from _walk(root, relative_dir, folder_rules, deep=deep)


def _walk(root: str, start: str, rules: FolderRules, *, deep: bool) -> Iterator[FolderListing]:
    try:
        top = open_folder(root)
    except OSError as error:
        yield FolderListing(start, problems=[_folder_problem(start, error)])
        return
    try:
        yield from _walk_from(top, root, start, rules, deep=deep)
    finally:
        os.close(top)


def _walk_from(top: int, root: str, start: str, rules: FolderRules, *, deep: bool) -> Iterator[FolderListing]:
    """`top`: the descriptor of `root`."""
    follows = rules.rules.follow_symlinks
    pending: list[tuple[str, FolderRules, _Chain]] = [(start, rules, _chain_to(root, start) if follows else ())]
    while pending:
        relative_dir, folder_rules, chain = pending.pop()
        listing = FolderListing(relative_dir)
        chains: dict[str, _Chain] = {}
        try:
            _refuse_long(root, relative_dir)
            here = open_below(top, relative_dir, follow_symlinks=follows)
        except OSError as error:
            listing.problems.append(_folder_problem(relative_dir, error, top))
            yield listing
            continue
        try:
            with os.scandir(here) as scan:
                entries = list(scan)
            if IGNORE_FILE in map(_name_of, entries):
                folder_rules = _with_ignore_file_of(here, folder_rules)
            folders = _sort_out(here, entries, relative_dir, folder_rules, listing)
            chains = dict.fromkeys(folders, chain)
            if follows:
                chains = _without_loops(root, folders, chain, listing)
        except _IgnoreFileProblem as problem:
            listing.problems.append(problem.at(relative_dir))
        except OSError as error:
            listing.problems.append(_folder_problem(relative_dir, error))
        finally:
            os.close(here)
        yield listing
        if not deep:
            return
        pending.extend((folder, folder_rules.below(folder), chains[folder]) for folder in reversed(chains))


class _IgnoreFileProblem(Exception):
    """Without its ignore file, what a folder may send is unknown."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def at(self, folder: str) -> ScanProblem:
        path = f"{folder}/{IGNORE_FILE}" if folder else IGNORE_FILE
        return ScanProblem(folder, Trouble.IGNORE_FILE, is_folder=True, detail=f"{path}: {self.reason}")


def _with_ignore_file_of(folder: int, rules: FolderRules) -> FolderRules:
    """The rules with the ignore file of an open folder, if it has one. Raises _IgnoreFileProblem."""
    try:
        os.stat(IGNORE_FILE, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return rules
    except OSError as error:
        raise _IgnoreFileProblem(error.strerror or "") from None
    try:
        return rules.with_ignore_file(IGNORE_FILE, dir_fd=folder)
    except OSError as error:
        raise _IgnoreFileProblem(error.strerror or "") from None


def _refuse_long(root: str, relative_dir: str) -> None:
    if len(root) + len(relative_dir) > PATH_LIMIT_BYTES // 4 and (
        len(os.fsencode(os.path.join(root, relative_dir))) >= PATH_LIMIT_BYTES
    ):
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), relative_dir)


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
    return scanned_file(name, found)


def scanned_file(name: str, found: os.stat_result) -> ScannedFile:
    """A file that was looked at."""
    mtime_ns, ctime_ns = recordable_ns(found.st_mtime_ns), recordable_ns(found.st_ctime_ns)
    return ScannedFile(name, found.st_size, mtime_ns, found.st_ino, ctime_ns)


def unsendable(name: str) -> Trouble | None:
    """Why the lake could not take a file of this name, or None."""
    if name.isprintable():
        return None
    try:
        name.encode()
    except UnicodeEncodeError:
        return Trouble.NOT_UTF8
    return Trouble.CONTROL_CHARACTERS if any(unicodedata.category(char) == "Cc" for char in name) else None


def _folder_problem(relative_dir: str, error: OSError, top: int | None = None) -> ScanProblem:
    """`top`: the scanned folder, where the error may be that a link took the folder's place."""
    if isinstance(error, FileNotFoundError):
        return ScanProblem(relative_dir, Trouble.MISSING, is_folder=True)
    if isinstance(error, NotADirectoryError):
        is_link = top is not None and relative_dir and _is_link(top, relative_dir)
        return ScanProblem(relative_dir, Trouble.FOLDER_LINK if is_link else Trouble.NOT_A_FOLDER, is_folder=True)
    return ScanProblem(relative_dir, Trouble.UNREADABLE, is_folder=True, detail=error.strerror or "")


def _is_link(folder: int, path: str) -> bool:
    with contextlib.suppress(OSError):
        return stat.S_ISLNK(os.stat(path, dir_fd=folder, follow_symlinks=False).st_mode)
    return False


def _sort_out(
    here: int, entries: list[os.DirEntry[str]], relative_dir: str, rules: FolderRules, listing: FolderListing
) -> list[str]:
    """Put wanted files and problems into the listing, and return the folders to walk; all of them sorted by name.
    `here`: the folder's descriptor, which the entries hang from."""
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
                    mtime_ns, ctime_ns = found.st_mtime_ns, found.st_ctime_ns
                    if not -LATEST_NS <= mtime_ns <= LATEST_NS >= ctime_ns:
                        mtime_ns, ctime_ns = recordable_ns(mtime_ns), recordable_ns(ctime_ns)
                    files.append(_scanned((name, found.st_size, mtime_ns, found.st_ino, ctime_ns)))
                else:
                    problems.append(ScanProblem(prefix + name, trouble, is_folder=False))
            elif entry.is_dir(follow_symlinks=follows):
                if rules.wants_folder(name):
                    folders.append(prefix + name)
            elif entry.is_symlink():
                if wants(name) or rules.wants_folder(name):
                    problems.extend(_about_link(here, entry, prefix + name, wanted=bool(wants(name)), follows=follows))
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


def _about_link(here: int, entry: os.DirEntry[str], path: str, *, wanted: bool, follows: bool) -> Iterator[ScanProblem]:
    """What there is to say of a link that is not taken. `wanted`: a file of that name would be."""
    if follows and not _leads_somewhere(here, entry.name):
        yield ScanProblem(path, Trouble.BROKEN_LINK, is_folder=True)
    elif not follows and entry.is_dir():
        yield ScanProblem(path, Trouble.FOLDER_LINK, is_folder=True)
    elif wanted:
        yield ScanProblem(path, Trouble.SPECIAL_FILE if follows else Trouble.LINK, is_folder=False)


def _leads_somewhere(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder)
    except OSError:
        return False
    return True
