"""The findings of the checks on sources, and how a plan words them.

Owns: the closed list of checks, what each finding says and how to correct it, and the notes that group findings. Must
not: look at a file, or decide what is checked.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from metalake_sync.core.notes import Note, NoteCode, counted
from metalake_sync.core.snapshots import CollectionKey
from metalake_sync.lazy_dataclass import dataclass

Level = Literal["warn", "error"]


class Check(enum.StrEnum):
    """The checks, by the codes that scripts may rely on."""

    POINTER = "pointer"
    EMPTY = "empty"
    ZEROS = "zeros"
    OTHER_TYPE = "other_type"
    TRUNCATED = "truncated"
    UNDECODABLE = "undecodable"
    TOO_LARGE = "too_large"
    DUPLICATE = "duplicate"
    SPLIT_LEAK = "split_leak"
    UNKNOWN_LABEL = "unknown_label"
    LABEL_SHARE = "label_share"
    BOX_OUTSIDE = "box_outside"


_SINGULAR: Mapping[Check, str] = {
    Check.POINTER: "file is a placeholder of Git LFS or git-annex, not the file itself",
    Check.EMPTY: "file is empty (0 bytes)",
    Check.ZEROS: "file has only zero bytes",
    Check.OTHER_TYPE: "file has bytes that do not fit its extension",
    Check.TRUNCATED: "file is truncated",
    Check.UNDECODABLE: "file cannot be decoded",
    Check.TOO_LARGE: "file exceeds the limits of 'checks.images'",
    Check.DUPLICATE: "file has the same bytes as another file of the collection",
    Check.SPLIT_LEAK: "file has the same bytes as a file of another collection",
    Check.UNKNOWN_LABEL: "image has a label that 'checks.labels.allow' does not have",
    Check.LABEL_SHARE: "label has a share of the shapes that moved beyond 'checks.labels.max_share_change'",
    Check.BOX_OUTSIDE: "image has shapes that reach outside of it",
}

_PLURAL: Mapping[Check, str] = {
    Check.POINTER: "files are placeholders of Git LFS or git-annex, not the files themselves",
    Check.EMPTY: "files are empty (0 bytes)",
    Check.ZEROS: "files have only zero bytes",
    Check.OTHER_TYPE: "files have bytes that do not fit their extensions",
    Check.TRUNCATED: "files are truncated",
    Check.UNDECODABLE: "files cannot be decoded",
    Check.TOO_LARGE: "files exceed the limits of 'checks.images'",
    Check.DUPLICATE: "files have the same bytes as another file of the collection",
    Check.SPLIT_LEAK: "files have the same bytes as a file of another collection",
    Check.UNKNOWN_LABEL: "images have a label that 'checks.labels.allow' does not have",
    Check.LABEL_SHARE: "labels have a share of the shapes that moved beyond 'checks.labels.max_share_change'",
    Check.BOX_OUTSIDE: "images have shapes that reach outside of them",
}

REMEDIES: Mapping[Check, str] = {
    Check.POINTER: "run 'git lfs pull' (or 'git annex get')",
    Check.EMPTY: "restore the file, or exclude it",
    Check.ZEROS: "restore the file, or exclude it",
    Check.OTHER_TYPE: "get the file again, rename it, or exclude it",
    Check.TRUNCATED: "get the file again, or exclude it",
    Check.UNDECODABLE: "get the file again, or exclude it",
    Check.TOO_LARGE: "make the file smaller, exclude it, or raise the limit",
    Check.DUPLICATE: "remove or exclude one of the two",
    Check.SPLIT_LEAK: "remove it from all collections but one",
    Check.UNKNOWN_LABEL: "correct the label, map it with 'labels.map', or allow it",
    Check.LABEL_SHARE: "compare the sources with those of the last run, or raise the limit",
    Check.BOX_OUTSIDE: "correct the shapes, or check which orientation of the image they belong to",
}


LIST_ALL_FINDINGS = (
    "'metalake-sync check MANIFEST --sources -v' lists every file. The key 'checks' says what is checked."
)
"""The remedy of an error about failed checks."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of a check."""

    check: Check
    level: Level
    collection: CollectionKey
    subject: str
    """What the finding is about: the name of a file in the collection, or a label."""
    path: str
    """The local file, or the place of the annotations in their source, relative to the manifest's folder."""
    message: str
    """A clause whose subject is the file, the image or the label."""
    about: str = ""
    """What findings must have in common to be counted together, beside check and collection: a label."""
    operation: str | None = None
    """The operation whose sets the finding is about. None: it is about a file, and `subject` is its name."""
    label: str | None = None
    """The label that the finding is about. None: it is about no label alone."""

    @property
    def remedy(self) -> str:
        """What the user can do, as a clause."""
        return REMEDIES[self.check]

    def note(self) -> Note:
        """Return a note about this finding alone."""
        code = NoteCode.CHECK_FAILED if self.level == "error" else NoteCode.CHECK_WARNED
        return Note(code, f"{self.message}; {self.remedy}", f"{self.collection}/{self.subject}")


def failed(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that stop a plan."""
    return [finding for finding in findings if finding.level == "error"]


def grouped(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Group findings that one line can describe: of one level, check, collection and label. Errors come first."""
    groups: dict[tuple[Level, CollectionKey, Check, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.level, finding.collection, finding.check, finding.about), []).append(finding)
    return sorted(groups.values(), key=lambda group: group[0].level != "error")


def headline(group: Sequence[Finding]) -> str:
    """Return one line about a group, without its place."""
    first = group[0]
    if len(group) == 1:
        return f"{first.message}; {first.remedy}"
    what = f" ({first.about})" if first.about else ""
    return f"{counted(len(group), _SINGULAR[first.check], _PLURAL[first.check])}{what}; {first.remedy}"


def without_found(notes: Iterable[Note], findings: Iterable[Finding]) -> list[Note]:
    """Return notes without those on emptied files that a finding names too."""
    found = {f"{finding.collection}/{finding.subject}" for finding in findings}
    return [note for note in notes if note.code is not NoteCode.EMPTIED or note.where not in found]


def notes_on(findings: Iterable[Finding]) -> Iterator[Note]:
    """Yield one note for each group of findings."""
    for group in grouped(findings):
        if len(group) == 1:
            yield group[0].note()
        else:
            code = NoteCode.CHECK_FAILED if group[0].level == "error" else NoteCode.CHECK_WARNED
            names = [finding.subject for finding in group]
            yield Note.naming(code, headline(group), names, str(group[0].collection))
