"""`doctor`: checks everything that a run of a manifest depends on, with one finding each.

Must not: change anything in the lake, the sources or the state, or stop at the first problem.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from metalake_sync import __version__
from metalake_sync.engine import Engine
from metalake_sync.errors import ExitCode, LakeAnswerInvalid, LakeRejected, SyncError, UsageError
from metalake_sync.key_stores.conditional_writes import check_conditional_writes
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest import resolve_credentials
from metalake_sync.protocol import routes
from metalake_sync.protocol.items import CountItems, ListItems
from metalake_sync.protocol.routes import BASE_PATHS
from metalake_sync.protocol.wire import ObjectKind
from metalake_sync.state.backends.file import FileBackend
from metalake_sync.state.backends.shared import SharedBackend
from metalake_sync.watch.polling import silent_filesystem
from metalake_sync.watch.triggers import LIMITS

if TYPE_CHECKING:
    from metalake_sync.remote.client import LakeClient

LITTLE_SPACE_BYTES = 256 << 20
"""Free disk space below which the state's folder or a download's folder gets a warning."""

CLOCK_OFF_S = 300.0
"""Signed URLs and TLS certificates depend on the clock. Stores commonly accept a difference of 5 to 15 minutes."""

FOLDERS_COUNTED = 200_000
"""The count of folders stops here, because the limit must be raised in any case."""

Verdict = Literal["ok", "warning", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    subject: str
    """What was checked."""
    verdict: Verdict
    message: str
    """The result, a clause."""
    remedy: str | None = None
    """What the user can do, a sentence."""
    exit_code: ExitCode = ExitCode.DONE


def examine(engine: Engine, *, proc_sys: Path = Path("/proc/sys")) -> Iterator[Finding]:
    """Check versions, sources, state, disk, notifications, credentials, lake and clock, in this order.

    `proc_sys`: the folder with the limits of the system.
    """
    yield Finding(
        "versions",
        "ok",
        f"metalake-sync {__version__}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version},"
        f" {platform.system()} {platform.release()}",
    )
    folders = [folder for collection in engine.manifest.collections for folder in collection.folders]
    roots = {folder.path: engine.manifest.base_dir / folder.path for folder in folders}
    files = [path for collection in engine.manifest.collections for path in collection.files]
    yield from _sources(roots, {path: engine.manifest.base_dir / path for path in files})
    state_folder = engine.manifest.base_dir
    try:
        backend = engine.state_backend
    except UsageError as error:
        # The address is not one, or the library of its store is not installed.
        yield _from_error("state", error)
    else:
        yield _shared_state(backend) if isinstance(backend, SharedBackend) else _state(engine.state_path)
        state_folder = engine.state_path.parent
    targets = [engine.manifest.base_dir / download.to for download in engine.manifest.model.downloads]
    yield from _space([state_folder, *targets])
    yield _notifications([root for root in roots.values() if root.is_dir()], proc_sys)
    yield from _lake(engine)


def _sources(roots: dict[str, Path], files: dict[str, Path]) -> Iterator[Finding]:
    for named, root in roots.items():
        try:
            with os.scandir(root) as entries:
                empty = next(entries, None) is None
        except OSError as error:
            yield _wrong(
                f"folder {named}", f"can't be read ({error.strerror})", "Create or mount it, or make it readable."
            )
            continue
        if empty:
            yield Finding(f"folder {named}", "warning", "is empty", "If something should be mounted there, mount it.")
        else:
            yield Finding(f"folder {named}", "ok", "can be read")
    for named, path in files.items():
        if os.access(path, os.R_OK):
            yield Finding(f"file {named}", "ok", "can be read")
        else:
            yield _wrong(f"file {named}", "does not exist, or can't be read", "Create it, or correct the manifest.")


def _state(path: Path) -> Finding:
    subject = f"state {path}"
    if not path.exists():
        folder = next(parent for parent in path.parents if parent.exists())
        if not os.access(folder, os.W_OK):
            return _wrong(subject, "does not exist, and can't be created", f"Make {folder} writable, or use --state.")
        return Finding(subject, "ok", "does not exist yet; the first apply creates it")
    if not os.access(path, os.W_OK):
        return _wrong(subject, "can't be written", "Make the file and its folder writable, or use --state.")
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            (result,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        result = str(error)
    if result != "ok":
        return _wrong(subject, f"is damaged ({result})", "Run 'metalake-sync state rebuild MANIFEST'.")
    holder = FileBackend(path).lock_holder()
    if holder is not None:
        return Finding(subject, "warning", f"is sound, and in use by {holder}", "Other runs wait until it is free.")
    return Finding(subject, "ok", "is sound, and not in use")


def _shared_state(backend: SharedBackend) -> Finding:
    subject = f"state {backend.location}"
    try:
        check_conditional_writes(backend.store)
        contents, holder = backend.contents(), backend.lock_holder()
        backend.check_copy()
    except SyncError as error:
        remedy = error.remedy or "Check the location and the credentials."
        return Finding(subject, "wrong", error.message, remedy, error.exit_code)
    found = "does not exist yet; the first apply creates it"
    if contents is not None:
        found = f"can be read, and is at sequence number {contents.head}"
    if holder is not None:
        return Finding(subject, "warning", f"{found}; in use by {holder}", "Other runs wait until it is free.")
    return Finding(subject, "ok", f"{found}; the store creates a key only once")


def _space(folders: list[Path]) -> Iterator[Finding]:
    for device, folder in {_device(there): there for there in map(_nearest, folders)}.items():
        free = shutil.disk_usage(folder).free
        subject = f"disk at {folder}"
        free_mb = f"{free / 1e6:,.0f} MB are free"
        if device is not None and free < LITTLE_SPACE_BYTES:
            yield Finding(subject, "warning", free_mb, "Free some space before the next run.")
        else:
            yield Finding(subject, "ok", free_mb)


def _nearest(folder: Path) -> Path:
    """The nearest existing folder, from a folder upwards."""
    return next(there for there in (folder, *folder.absolute().parents) if there.is_dir())


def _device(folder: Path) -> int:
    return os.stat(folder).st_dev


def _notifications(roots: list[Path], proc_sys: Path) -> Finding:
    """Whether the file systems notify `watch` of changes, or `watch` must poll."""
    subject = "notifications"
    silent = {str(root): kind for root in roots if (kind := silent_filesystem(str(root))) is not None}
    if silent:
        named = ", ".join(f"{root} ({kind})" for root, kind in silent.items())
        return Finding(
            subject,
            "warning",
            f"are not available for {named}, so 'watch' polls there",
            "Set the interval with --poll.",
        )
    name, enough = next(iter(LIMITS.values()))
    try:
        limit = int((proc_sys / name.replace(".", "/")).read_text())
    except (OSError, ValueError):
        return Finding(
            subject, "warning", "the limit of watches is unknown", "If 'watch' fails, use 'watch --poll SECONDS'."
        )
    needed = _count_folders(roots)
    message = f"'watch' needs {needed:,} watches, {name} is {limit:,}"
    if needed >= limit:
        return Finding(subject, "warning", message, f"Raise it, or 'watch' polls: sudo sysctl {name}={enough}.")
    return Finding(subject, "ok", message)


def _count_folders(roots: list[Path]) -> int:
    number = 0
    for root in roots:
        for _ in os.walk(root):
            number += 1
            if number >= FOLDERS_COUNTED:
                return number
    return number


def _lake(engine: Engine) -> Iterator[Finding]:
    remote = engine.manifest.model.remote
    try:
        credentials = resolve_credentials(engine.manifest)
    except SyncError as error:
        yield _from_error("credentials", error)
        return
    source = "from the manifest's 'remote'" if credentials else "created by the embedded lake"
    subject = f"lake {remote.url}"
    try:
        with engine.reach() as client:
            yield Finding("credentials", "ok", f"{source}, and accepted")
            yield _generation(subject, client, remote.generation)
            yield from _answers(client)
            yield _clock(client.lake_date, lambda: datetime.now(UTC))
    except SyncError as error:
        subject = "credentials" if error.exit_code is ExitCode.CREDENTIALS_REJECTED else subject
        yield _from_error(subject, error)


def _answers(client: LakeClient) -> Iterator[Finding]:
    """Make each reading call that needs no name, and report answers that differ from the known form."""
    calls: tuple[tuple[routes.Route[Any], Callable[[], object], Verdict, str], ...] = (
        (routes.LIST_LABELS, client.list_labels, "warning", "Plans do not show new labels. Nothing else needs it."),
        (routes.LIST_LABEL_GROUPS, client.list_label_groups, "warning", "Only 'annotations label-groups' needs it."),
        (routes.SYSTEM_DETAILS, client.system_details, "warning", "Only 'item stats' needs it."),
        (
            routes.COUNT_ITEMS,
            lambda: client.count_items(CountItems(content_type=ObjectKind.IMAGE)),
            "wrong",
            "Plans and downloads need it. Ask the lake's operator.",
        ),
        (
            routes.LIST_ITEMS,
            lambda: next(client.list_items(ListItems(content_type=ObjectKind.IMAGE, page_size=1)), None),
            "wrong",
            "Every command needs it. Ask the lake's operator.",
        ),
    )
    for route, call, verdict, consequence in calls:
        subject = f"answer of {route.method} {route.path}"
        try:
            call()
        except (LakeRejected, LakeAnswerInvalid) as error:
            code = ExitCode.DONE if verdict == "warning" else error.exit_code
            yield Finding(subject, verdict, f"can't be used: {error.message}", consequence, code)
    for name, clause in client.differences.items():
        message = f"differs from the known form ({clause}), and is read as far as possible"
        remedy = "If a command shows too little, report this line as a bug of metalake-sync."
        yield Finding(f"answer of {name}", "warning", message, remedy)


def _generation(subject: str, client: LakeClient, wanted: object) -> Finding:
    """The generation of the protocol that the lake speaks, how we know it, and what the lake did not confirm."""
    address, notes = client.address, client.greeting.notes if client.greeting else ()
    how = "found by asking" if wanted == "auto" else "pinned by 'remote.generation'"
    base = BASE_PATHS[address.generation] or "no base path"
    message = f"answers, and speaks generation {int(address.generation)} of the protocol ({how}; {base})"
    if not notes:
        return Finding(subject, "ok", message)
    remedy = "If commands work, no action is needed. Otherwise ask the lake's operator for its version."
    return Finding(subject, "warning", "; ".join([message, *map(str, notes)]), remedy)


def _clock(lake_date: str | None, now: Callable[[], datetime]) -> Finding:
    """Compare this machine's clock with the `Date` of the lake's last answer (RFC 9110, 6.6.1)."""
    try:
        lake_time = parsedate_to_datetime(lake_date or "")
    except ValueError:
        return Finding("clock", "warning", "the lake's answers have no date to compare it with")
    ahead_s = (now() - lake_time).total_seconds()
    if abs(ahead_s) < CLOCK_OFF_S:
        return Finding("clock", "ok", f"within {max(1, round(abs(ahead_s)))} s of the lake's")
    which = "ahead of" if ahead_s > 0 else "behind"
    return Finding(
        "clock",
        "warning",
        f"{abs(ahead_s):,.0f} s {which} the lake's",
        "Set it, preferably with NTP, because signed URLs and certificates depend on it.",
    )


def _wrong(subject: str, message: str, remedy: str) -> Finding:
    return Finding(subject, "wrong", message, remedy, ExitCode.FAILED)


def _from_error(subject: str, error: SyncError) -> Finding:
    # The subject of a finding about the lake has its address already.
    is_known = str(error.where).startswith(subject.removeprefix("lake "))
    where = f" ({error.where})" if error.where is not None and not is_known else ""
    return Finding(subject, "wrong", f"{error.message}{where}", error.remedy, error.exit_code)
