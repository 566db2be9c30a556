"""The errors that users see, and their exit codes.

Owns: the families of errors. Every error has a place, a message and a remedy. Must not: know how an error is printed,
or import another package of this project.
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
    CREDENTIALS_REJECTED = 12
    USAGE = 64
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a text file. `line` and `column` count from 1; without both, it is the whole file."""

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
    """The base of all errors that are reported as one sentence instead of a traceback.

    `message` is a clause without a full stop. `remedy` is a full sentence that says what the user can do. `where` is
    the file and line, the address or the item.
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
    """The command line is invalid."""

    exit_code = ExitCode.USAGE

    @classmethod
    def of_clause(cls, clause: str) -> UsageError:
        """Return the error of a note that ends with its remedy: `there is no label 'x'; correct the query`."""
        message, _, remedy = clause.partition("; ")
        return cls(message, remedy=f"{remedy[:1].upper()}{remedy[1:]}{'' if remedy.endswith('?') else '.'}")


class ManifestError(SyncError):
    """The manifest, or a source that it names, is invalid."""

    exit_code = ExitCode.USAGE


class ManifestErrors(ManifestError):
    """All errors of a manifest at once, so that ten errors need one run instead of ten."""

    def __init__(self, errors: Sequence[ManifestError]) -> None:
        super().__init__(f"the manifest has {len(errors)} errors")
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


class GuardStopped(SyncError):
    """A guard stopped the run before it did anything that cannot be undone."""

    exit_code = ExitCode.GUARDED


class StateError(SyncError):
    """The state cannot be read or written."""


class StateUnreachable(SyncError):
    """The place of the state, a bucket or a database server, is away or does not exist. A later run may succeed."""

    exit_code = ExitCode.LAKE_AWAY


class StateCredentialsRejected(SyncError):
    """The place of the state, a bucket or a database server, does not accept the credentials."""

    exit_code = ExitCode.CREDENTIALS_REJECTED


class StateDamaged(StateError):
    """A shared state that cannot be read. Other errors of the state say nothing about what is in it."""


class StateLocked(SyncError):
    """Another run holds the lock of the state, or another server holds the folder of the embedded lake."""

    exit_code = ExitCode.LOCKED


class LakeError(SyncError):
    """A call to the lake failed. The subclass says whether the error concerns one item or the run."""


class LakeUnreachable(LakeError):
    """The lake or its object store could not be reached within the retry timeout. Concerns the whole run."""

    exit_code = ExitCode.LAKE_AWAY


class CredentialsRejected(LakeError):
    """The lake does not accept the credentials. Concerns the whole run. A retry does not help."""

    exit_code = ExitCode.CREDENTIALS_REJECTED


class WorkersUnreachable(SyncError):
    """The scheduler of the workers cannot be reached, or the connection to it broke. A later run may succeed."""

    exit_code = ExitCode.LAKE_AWAY


class LakeRejected(LakeError):
    """The lake rejected one call. Concerns the items of that call; the run continues.

    `status` is the HTTP status, or 200 if the lake answered `isSuccess: false`. `explained` says whether the lake gave
    a reason; a gateway in front of it does not.
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
    """An answer violates the protocol: it is not JSON, lacks a field, or has a wrong type."""

    exit_code = ExitCode.LAKE_AWAY


class StudioMissing(LakeRejected):
    """The lake has no annotation studio, or no project of the id that a model run should be attached to."""


class StorageUnknown(LakeError):
    """The lake uses a kind of object store that metalake-sync does not support. Concerns the whole run."""


class SignedUrlExpired(LakeError):
    """The object store rejects an expired signed URL. Request a new one; finished parts are kept."""


class SourceChanged(SyncError):
    """A local file changed between the scan and the upload: it was deleted, replaced or written to."""


class Interrupted(SyncError):
    """The user, the system or the calling program stopped the run. What was finished is recorded."""

    exit_code = ExitCode.INTERRUPTED

    @classmethod
    def by_program(cls) -> Interrupted:
        """Return the error of a run that the calling program cancelled."""
        return cls("the run was cancelled", remedy="The next run continues where it stopped.")
