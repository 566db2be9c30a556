"""Scanning a local folder: one listing per folder, with a stat call for each wanted file.

Owns: the walk. Must not: open a file, so that a FIFO cannot block it.

Each folder is opened relative to the one above it, and its entries are read through that descriptor. So the walk does
not follow a folder that is exchanged for a link during the scan, unless the rules follow links. Everything that cannot
be read becomes a `ScanProblem`; no file is left out silently.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from functools import partial
from operator import attrgetter

from metalake_sync.core.snapshots import LATEST_NS, recordable_ns
from metalake_sync.sources.base import FolderListing, ScannedFile, ScanProblem, Trouble, unsendable
from metalake_sync.sources.opening import open_below, open_folder
from metalake_sync.sources.rules import IGNORE_FILE, FolderRules, ScanRules

PATH_LIMIT_BYTES = 4096
"""PATH_MAX of Linux, including the final NUL. A file with a longer path cannot be opened for upload."""


_name_of = attrgetter("name")

_scanned = partial(tuple.__new__, ScannedFile)
"""Creates a ScannedFile from one tuple, in half the time of a call with five arguments. It runs once per file."""


def scan_folder(root: str, rules: ScanRules) -> Iterator[FolderListing]:
    """Walk `root` depth first, children sorted by name. An unreadable root yields one listing with a problem."""
    yield from _walk(root, "", rules.at_root(), deep=True)


def scan_part(root: str, rules: ScanRules, relative_dir: str, *, deep: bool) -> Iterator[FolderListing]:
    """List one folder below `root`, or with `deep` walk from there. Yields what `scan_folder` yields for that part.

    A folder that does not exist, or that the rules exclude, yields nothing. If the root or a folder above it cannot be
    read, one listing with the problem is yielded.
    """
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
    """Walk from `start`. `top` is the descriptor of `root`."""
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
    """An ignore file that cannot be read. Without it, the wanted files of its folder are unknown."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def at(self, folder: str) -> ScanProblem:
        path = f"{folder}/{IGNORE_FILE}" if folder else IGNORE_FILE
        return ScanProblem(folder, Trouble.IGNORE_FILE, is_folder=True, detail=f"{path}: {self.reason}")


def _with_ignore_file_of(folder: int, rules: FolderRules) -> FolderRules:
    """Return the rules with the ignore file of an open folder, if it has one. Raises _IgnoreFileProblem."""
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
"""Device and inode of a folder and of every folder above it, up to the scanned root. When links are followed, a folder
that is part of its own chain would be walked without end."""


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
    """Return the folders to walk, each with its chain. A folder that contains itself becomes a problem."""
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


def _folder_problem(relative_dir: str, error: OSError, top: int | None = None) -> ScanProblem:
    """Describe an error. `top` is the scanned root, if the error may mean that a link replaced the folder."""
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
    """Add wanted files and problems to the listing and return the folders to walk, everything sorted by name.

    `here` is the descriptor of the folder that the entries belong to.
    """
    folders: list[str] = []
    prefix = relative_dir + "/" if relative_dir else ""
    files, problems, wants = listing.files, listing.problems, rules.file_filter()
    follows = rules.rules.follow_symlinks
    for entry in entries:
        name = entry.name
        try:
            if wants(name) and entry.is_file(follow_symlinks=follows):
                # The lake accepts every printable name.
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
            # It was deleted after the folder was listed.
            continue
        except OSError as error:
            problems.append(
                ScanProblem(prefix + name, Trouble.UNREADABLE, is_folder=False, detail=error.strerror or "")
            )
    files.sort()
    problems.sort(key=attrgetter("path"))
    return sorted(folders)


def _about_link(here: int, entry: os.DirEntry[str], path: str, *, wanted: bool, follows: bool) -> Iterator[ScanProblem]:
    """Yield the problem of a link that is not followed. `wanted`: whether the rules want a file of this name."""
    if follows and not _has_target(here, entry.name):
        yield ScanProblem(path, Trouble.BROKEN_LINK, is_folder=True)
    elif not follows and entry.is_dir():
        yield ScanProblem(path, Trouble.FOLDER_LINK, is_folder=True)
    elif wanted:
        yield ScanProblem(path, Trouble.SPECIAL_FILE if follows else Trouble.LINK, is_folder=False)


def _has_target(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder)
    except OSError:
        return False
    return True


def scanned_file(name: str, found: os.stat_result) -> ScannedFile:
    """Return a file from the result of a stat call."""
    mtime_ns, ctime_ns = recordable_ns(found.st_mtime_ns), recordable_ns(found.st_ctime_ns)
    return ScannedFile(name, found.st_size, mtime_ns, found.st_ino, ctime_ns)
