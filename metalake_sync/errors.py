"""What can go wrong, and the exit code that says so.

Owns: the families of errors that a user may see. Every one carries what happened, where, and what to do about it.
Must not: know how an error is printed, or import anything of ours.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence

from metalake_sync.lazy_dataclass import dataclass


class ExitCode(enum.IntEnum):
    """The exit codes that scripts depend on."""

    DONE = 0
    FAILED = 1
    CHANGES = 2
    SOME_FAILED = 3
    LAKE_AWAY = 5
    GUARDED = 7
    LOCKED = 11
    CREDENTIALS_REFUSED = 12
    USAGE = 64
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a text that a person wrote. `line` and `column` count from 1; both None names the whole file."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        if self.line is None:
            return self.file
        if self.column is None:
            return f"{self.file}:{self.line}"
        return f"{self.file}:{self.line}:{self.column}"


class SyncError(Exception):
    """The root of every error that is reported in one sentence instead of a traceback.

    `message`: what happened, a clause without a full stop. `remedy`: what the user can do, a full sentence.
    `where`: the file and line, the address or the item it happened at.
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, message: str, *, remedy: str | None = None, where: Location | str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.where = where

    def __reduce__(self) -> tuple[Callable[..., SyncError], tuple[object, ...]]:
        """Pickle without calling `__init__`, whose parameters differ from error to error."""
        return _unpickle, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where is not None else ""
        remedy = f". {self.remedy}" if self.remedy else ""
        return f"{place}{self.message}{remedy}"


def _unpickle(kind: type[SyncError], arguments: tuple[object, ...], attributes: dict[str, object]) -> SyncError:
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    error.__dict__.update(attributes)
    return error


class UsageError(SyncError):
    """The command line asks for something that can't be meant."""

    exit_code = ExitCode.USAGE


class ManifestError(SyncError):
    """The manifest, or a source that it names, can't be used as written."""

    exit_code = ExitCode.USAGE


class ManifestErrors(ManifestError):
    """All the mistakes of a manifest at once, so that ten mistakes need one run and not ten."""

    def __init__(self, errors: Sequence[ManifestError]) -> None:
        super().__init__(f"the manifest has {len(errors)} mistakes")
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


class GuardStopped(SyncError):
    """A guard stopped the run before anything was done that could not be taken back."""

    exit_code = ExitCode.GUARDED


class StateError(SyncError):
    """The local state can't be read or written."""


class StateLocked(SyncError):
    """Another run holds the state (or another server holds the lake's folder)."""

    exit_code = ExitCode.LOCKED


class LakeError(SyncError):
    """Something between us and the lake went wrong. The subclass says how far the damage reaches."""


class LakeUnreachable(LakeError):
    """The lake or its store could not be reached, or kept failing until patience ran out. Concerns the whole run."""

    exit_code = ExitCode.LAKE_AWAY


class CredentialsRefused(LakeError):
    """The lake does not accept the credentials. Concerns the whole run; trying again does not help."""

    exit_code = ExitCode.CREDENTIALS_REFUSED


class LakeRefused(LakeError):
    """The lake understood one call and refused it. Concerns the items of that call; the run goes on.

    `status`: the HTTP status (200 where the lake refused with `isSuccess: false`). `explained`: whether the lake gave a
    reason; a gateway in front of it gives none.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        remedy: str | None = None,
        where: Location | str | None = None,
        explained: bool = True,
    ) -> None:
        super().__init__(message, remedy=remedy, where=where)
        self.status = status
        self.explained = explained


class LakeAnswerInvalid(LakeError):
    """An answer is not what the protocol says: no JSON, a missing field, a wrong type."""

    exit_code = ExitCode.LAKE_AWAY


class StudioMissing(LakeRefused):
    """The lake has no annotation studio, or not the project that a model run was to be attached to."""


class StorageUnknown(LakeError):
    """The lake keeps files in an object store of a kind that metalake-sync cannot send to. Concerns the whole run."""


class SignedUrlExpired(LakeError):
    """A store no longer takes a signed URL. Sign again; parts that were received are kept."""


class SourceChanged(SyncError):
    """A local file moved under our hands: gone, grown or replaced between being looked at and being sent."""


class Interrupted(SyncError):
    """The user or the system asked us to stop."""

    exit_code = ExitCode.INTERRUPTED
