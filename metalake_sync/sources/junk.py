"""Files that are never data: what systems, editors and transfer tools leave in folders.

Owns: the list, and which `include` patterns override a rule. An override must name the file: `*.jpg` is true of
`._a.jpg` too, but only `._*` says that such files are wanted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class JunkRule:
    """A rule for names. `glob`: with at most one `*`, as the documentation lists it."""

    glob: str
    what: str
    """Which program makes such files, for `plan --explain` and the documentation."""

    @property
    def expression(self) -> str:
        """A regular expression of whole names."""
        return ".*".join(map(re.escape, self.glob.split("*")))

    def is_named_by(self, part: str) -> bool:
        """Whether a part of a pattern names the files of this rule."""
        start, star, end = self.glob.partition("*")
        part = part.removeprefix("\\")  # `\#` and `\!` are characters of a name
        return part.startswith(start) and part.endswith(end) if star else part == self.glob


FILE_RULES = (
    JunkRule(".metalakeignore", "metalake-sync"),
    JunkRule(".DS_Store", "macOS"),
    JunkRule("._*", "macOS, attributes of a file"),
    JunkRule(".apdisk", "macOS"),
    JunkRule(".afpDeleted*", "macOS, a deleted file that a program has open"),
    JunkRule("Thumbs.db", "Windows"),
    JunkRule("ehthumbs.db", "Windows"),
    JunkRule("desktop.ini", "Windows"),
    JunkRule("~$*", "Microsoft Office, lock of an open file"),
    JunkRule(".~lock*", "LibreOffice, lock of an open file"),
    JunkRule(".directory", "KDE"),
    JunkRule(".smbdelete*", "Samba, a deleted file that a program has open"),
    JunkRule(".nfs*", "NFS, a deleted file that a program has open"),
    JunkRule(".fuse_hidden*", "FUSE, a deleted file that a program has open"),
    JunkRule(".goutputstream-*", "GNOME, an unfinished file"),
    JunkRule(".syncthing.*", "Syncthing, an unfinished file"),
    JunkRule("~syncthing~*", "Syncthing, an unfinished file"),
    JunkRule(".unison.*", "Unison, an unfinished file"),
    JunkRule("*.part", "browsers and download tools, an unfinished file"),
    JunkRule("*.partial", "browsers and rclone, an unfinished file"),
    JunkRule("*.crdownload", "Chrome, an unfinished file"),
    JunkRule("*.opdownload", "Opera, an unfinished file"),
    JunkRule("*.aria2", "aria2, the list of parts of an unfinished file"),
    JunkRule("*.filepart", "WinSCP, an unfinished file"),
    JunkRule("*.tmp", "an unfinished file"),
    JunkRule("*.swp", "Vim"),
    JunkRule("*.swo", "Vim"),
    JunkRule("*.swn", "Vim"),
    JunkRule("*.swx", "Vim"),
    JunkRule("4913", "Vim, a test whether it can write"),
    JunkRule("*.kate-swp", "Kate"),
    JunkRule("#*#", "Emacs, unsaved changes"),
    JunkRule(".#*", "Emacs, lock of an open file"),
    JunkRule("*___jb_tmp___", "JetBrains, an unfinished file"),
    JunkRule("*___jb_old___", "JetBrains, an earlier version"),
    JunkRule("*~", "editors, an earlier version"),
)

FOLDER_RULES = (
    JunkRule(".metalake-sync", "metalake-sync"),
    JunkRule(".metalake", "the embedded lake"),
    JunkRule(".git", "Git"),
    JunkRule("@eaDir", "Synology, thumbnails"),
    JunkRule(".@__thumb", "QNAP, thumbnails"),
    JunkRule("@Recycle", "QNAP, deleted files"),
    JunkRule("#recycle", "Synology, deleted files"),
    JunkRule("__MACOSX", "macOS, attributes in an archive"),
    JunkRule(".AppleDouble", "macOS, attributes of files"),
    JunkRule(".TemporaryItems", "macOS, unfinished files"),
    JunkRule(".DocumentRevisions-V100", "macOS, earlier versions"),
    JunkRule(".Trashes", "macOS, deleted files"),
    JunkRule(".Spotlight-V100", "macOS"),
    JunkRule(".fseventsd", "macOS"),
    JunkRule(".Trash-*", "Linux desktops, deleted files"),
    JunkRule("$RECYCLE.BIN", "Windows, deleted files"),
    JunkRule("System Volume Information", "Windows"),
    JunkRule(".rsync-partial", "rsync, unfinished files"),
    JunkRule(".~tmp~", "rsync, unfinished files"),
    JunkRule(".tmp.drivedownload", "Google Drive, unfinished files"),
    JunkRule(".tmp.driveupload", "Google Drive, unfinished files"),
    JunkRule(".dropbox.cache", "Dropbox, earlier versions"),
    JunkRule(".stversions", "Syncthing, earlier versions"),
    JunkRule(".stfolder", "Syncthing"),
    JunkRule(".ipynb_checkpoints", "Jupyter"),
    JunkRule("lost+found", "file systems"),
)

START_OF_JUNK = "|".join(re.escape(rule.glob[:-1]) for rule in FILE_RULES if rule.glob.endswith("*"))
"""A regular expression of what names with any extension begin with, if they are junk."""

ALWAYS = frozenset({".metalakeignore", ".metalake-sync", ".metalake", ".git"})
"""Rules that no pattern overrides."""

_RSYNC = r"\..+\.(?=[A-Za-z]*[A-Z0-9])[A-Za-z0-9]{6}"
"""Rsync's temporary files: `.NAME.` and six random letters or digits. Six small letters may be an extension."""

RSYNC_WHAT = "rsync, an unfinished file"


class JunkNames:
    """The names that are junk under some `include` patterns."""

    def __init__(self, include: Sequence[str] = ()) -> None:
        patterns = [pattern.rstrip("/").split("/") for pattern in include if not pattern.startswith("!")]
        last = [parts[-1] for parts in patterns]
        every = [part for parts in patterns for part in parts]
        self._files = [rule for rule in FILE_RULES if _holds(rule, last)]
        self._folders = [rule for rule in FOLDER_RULES if _holds(rule, every)]
        named = any(re.fullmatch(_RSYNC, part) or part.startswith(".") for part in last)
        rsync = [] if named else [_RSYNC]
        self.overridden = len(self._files) < len(FILE_RULES) or len(self._folders) < len(FOLDER_RULES) or named
        """Whether a pattern names files that are junk otherwise."""
        self._file = _one_of([*(rule.expression for rule in self._files), *rsync])
        self._folder = _one_of([rule.expression for rule in self._folders])

    def is_file(self, name: str) -> bool:
        """Whether files of this name are never uploaded."""
        return self._file.fullmatch(name) is not None

    def is_folder(self, name: str) -> bool:
        """Whether folders of this name are never scanned."""
        return self._folder.fullmatch(name) is not None

    def why_file(self, name: str) -> str | None:
        """Return a clause that says why a file is never uploaded, or None."""
        for rule in self._files:
            if re.fullmatch(rule.expression, name, re.DOTALL):
                return _clause(rule.glob, rule.what, rule.glob in ALWAYS)
        return _clause(".NAME.XXXXXX", RSYNC_WHAT, always=False) if self.is_file(name) else None

    def why_folder(self, name: str) -> str | None:
        """Return a clause that says why a folder is never scanned, or None."""
        for rule in self._folders:
            if re.fullmatch(rule.expression, name, re.DOTALL):
                return f"files in '{name}' are never uploaded ({rule.what})"
        return None


def _holds(rule: JunkRule, parts: Sequence[str]) -> bool:
    return rule.glob in ALWAYS or not any(map(rule.is_named_by, parts))


def _one_of(expressions: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{one})" for one in expressions), re.DOTALL)


def _clause(glob: str, what: str, always: bool) -> str:
    override = "" if always else "; a pattern in 'include' that names such files overrides it"
    return f"files named '{glob}' are never uploaded ({what}){override}"


JUNK = JunkNames()
"""The names that are junk where no pattern overrides a rule."""


def junk_under(include: Sequence[str]) -> JunkNames:
    """Return the names that are junk under some `include` patterns: `JUNK` itself if they override nothing."""
    if not include:
        return JUNK
    names = JunkNames(include)
    return names if names.overridden else JUNK
