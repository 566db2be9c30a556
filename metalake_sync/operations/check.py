"""`check`: verifies that the lake has each recorded file with the recorded size and, on request, the recorded bytes.

Must not: change anything in the lake or in the state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from metalake_sync.core.events import Observing
from metalake_sync.core.snapshots import RecordedFile
from metalake_sync.core.targets import check_matched
from metalake_sync.errors import LakeRefused
from metalake_sync.lake_access import lake_identity
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.lake_listing import view_lake
from metalake_sync.planning.targets import chosen_targets, recorded_names
from metalake_sync.project import Project
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.content_proof import hash_of_object
from metalake_sync.remote.item_details import remote_details
from metalake_sync.state.store import StateStore

PAGE = 1000
DOWNLOADS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Mismatch:
    collection: str
    file: str
    problem: str
    """A clause, such as "is not in the lake"."""


@dataclass(frozen=True, slots=True)
class Checked:
    files: int
    """How many files were checked."""
    bytes_read: int
    """How many bytes were downloaded."""
    mismatches: list[Mismatch]


def check(project: Project, *, download: bool) -> Checked:
    """Check every recorded file. `download`: also download its bytes and compare their hash."""
    files = bytes_read = 0
    mismatches: list[Mismatch] = []
    with StateStore(project.state_backend) as state, project.reach(state) as client:
        targets = chosen_targets(project.manifest, project.options)
        recorded = state.collections.of_lake(lake_identity(project.manifest))
        check_matched(targets, recorded_names(state, recorded), "in the state")
        for key, (handle, known) in recorded.items():
            view = view_lake(client, key, known, full=True)
            wanted = [
                file
                for file in state.files.all(handle)
                if not targets or any(target.takes(key.name, file.name) for target in targets)
            ]
            for start in range(0, len(wanted), PAGE):
                page = wanted[start : start + PAGE]
                listed: list[RecordedFile] = []
                for file in page:
                    remote = view.of_recorded(file)
                    if remote is not None and remote.lake_id == file.lake_id:
                        listed.append(file)
                        continue
                    problem = "is not in the lake" if remote is None else "was replaced by another client"
                    mismatches.append(Mismatch(key.name, file.name, problem))
                right, wrong = _check_sizes(client, listed, project.options.calls_at_once)
                mismatches += [Mismatch(key.name, name, problem) for name, problem in wrong]
                if download:
                    for file, size, bad in _check_bytes(client, right):
                        bytes_read += size
                        if bad is not None:
                            mismatches.append(Mismatch(key.name, file.name, bad))
                files += len(page)
                project.emit(Observing(f"checking {key}", files))
    return Checked(files, bytes_read, mismatches)


def _check_sizes(
    client: LakeClient, files: Sequence[RecordedFile], threads: int
) -> tuple[list[RecordedFile], list[tuple[str, str]]]:
    details = remote_details(client, [(file.unique_name, ()) for file in files], threads)
    right: list[RecordedFile] = []
    wrong: list[tuple[str, str]] = []
    for file in files:
        found = details.get(file.unique_name)
        size = found.size_bytes if found is not None else None
        if not file.content_hash:
            # The lake's bytes differ on purpose ('on_change: keep').
            continue
        if size == file.fingerprint.size_bytes:
            right.append(file)
        else:
            recorded = f"{file.fingerprint.size_bytes} bytes were recorded"
            problem = f"has {size} bytes in the lake, but {recorded}"
            if size is None:
                problem = f"is not confirmed: the lake does not report its size, but {recorded}"
            wrong.append((file.name, problem))
    return right, wrong


def _check_bytes(client: LakeClient, files: Sequence[RecordedFile]) -> Iterator[tuple[RecordedFile, int, str | None]]:
    """Each file with the number of bytes read and its problem, if any."""
    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE, thread_name_prefix="check") as pool:
        yield from pool.map(lambda file: (file, *_check_one(client, file)), files)


def _check_one(client: LakeClient, file: RecordedFile) -> tuple[int, str | None]:
    try:
        url = client.download_url(file.unique_name)
    except LakeRefused as refusal:
        return 0, f"can't be downloaded ({refusal.message})"
    # The download URL is signed, which makes it a credential. Ours are not sent with it.
    size, content_hash, trouble = hash_of_object(url, client.address, file.fingerprint.size_bytes)
    if content_hash is None:
        return size, f"can't be downloaded ({trouble})"
    if size != file.fingerprint.size_bytes:
        return size, f"can't be downloaded (the store sent {size} of {file.fingerprint.size_bytes} bytes)"
    return size, None if content_hash == file.content_hash else "has different bytes in the lake than recorded"
