"""`check --sources`: runs all checks of a manifest on all of its local sources, without a lake.

Owns: that every file is checked, also those that the lake has already. Must not: change anything but caches.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing

from metalake_sync.core.checks import Finding
from metalake_sync.core.events import Observing
from metalake_sync.engine import Engine
from metalake_sync.errors import ManifestError
from metalake_sync.lake_access import lake_identity
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest import LoadedManifest
from metalake_sync.manifest.check_models import Checks, ImageChecks, LeakChecks
from metalake_sync.planning.desired import DesiredCollection
from metalake_sync.planning.file_sources import FileSource, FolderSource, scan_source
from metalake_sync.planning.label_checks import CheckedSets
from metalake_sync.planning.open_sources import open_sources
from metalake_sync.planning.run_checks import CheckRun
from metalake_sync.planning.run_options import chosen_parts
from metalake_sync.planning.source_checks import PROGRESS_EVERY_FILES, FileToCheck
from metalake_sync.planning.unmanaged_sources import open_unmanaged
from metalake_sync.sources.base import equal_but_for_ctime
from metalake_sync.sources.names import lake_name
from metalake_sync.state.names import CollectionHandle, join_path
from metalake_sync.state.store import StateStore


@dataclass(frozen=True, slots=True)
class CheckedSources:
    files: int
    """How many files were checked."""
    findings: Sequence[Finding]
    unreadable: Sequence[str]
    """Files and folders that could not be read, each with the reason."""


def checks_of(manifest: LoadedManifest) -> Checks:
    """Return the checks to run. The command was called to find everything, so checks that the manifest leaves out run
    too, if they need no settings: the structure of files as errors, and equal bytes as warnings."""
    given = manifest.model.checks
    others = {
        "images": ImageChecks.model_construct(level="error", depth="header"),
        "duplicates": "warn",
        "split_leak": LeakChecks.model_construct(level="warn"),
        "boxes": "warn",
    }
    return given.model_copy(update={key: value for key, value in others.items() if key not in given.model_fields_set})


def check_sources(engine: Engine) -> CheckedSources:
    """Check every local file and every annotation source. Raises ManifestErrors."""
    manifest = engine.manifest
    started_at_ns = time.time_ns()
    files: list[FileToCheck] = []
    findings: list[Finding] = []
    unreadable: list[str] = []
    with StateStore(engine.state_backend) as state:
        recorded = state.collections.of_lake(lake_identity(manifest))
        handles = {key: handle for key, (handle, _) in recorded.items()}
        checks = CheckRun(
            manifest, checks_of(manifest), state, handles, engine.options.hash_threads, engine.emit, started_at_ns
        )
        chosen = chosen_parts(manifest, engine.options)
        for collection in open_sources(manifest, engine.options, state):
            with closing(collection):
                name = collection.key.name
                if not chosen.takes_part_of(name):
                    continue
                handle = handles.get(collection.key)
                for one in _files(collection, state, handle, unreadable):
                    if not chosen.takes(name, one.name):
                        continue
                    files.append(one)
                    if not len(files) % PROGRESS_EVERY_FILES:
                        engine.emit(Observing("scanning sources", len(files)))
                findings += checks.of_sets(
                    [
                        CheckedSets(
                            collection.key,
                            operation,
                            index,
                            [image for image in index.images() if chosen.takes(name, image)],
                            handle,
                        )
                        for operation, index in collection.annotations.items()
                    ]
                )
        findings[:0] = checks.of_files(files)
        if not chosen:
            # Unmanaged files belong to no collection of the manifest, so a target never includes them.
            with closing(open_unmanaged(manifest, state.set_memo)) as unmanaged:
                findings += checks.of_sets(
                    [
                        CheckedSets(address.collection, operation, index, list(index.images()), None)
                        for (address, operation), index in unmanaged.annotations.items()
                    ]
                )
        state.flush_caches()
    return CheckedSources(len(files), findings, unreadable)


def _files(
    collection: DesiredCollection, state: StateStore, handle: CollectionHandle | None, unreadable: list[str]
) -> Iterator[FileToCheck]:
    """Yield the local files of a collection. Raises ManifestError for a source that does not exist."""
    sources: list[FolderSource | FileSource] = [*collection.folders, *collection.files]
    for source in sources:
        for folder in scan_source(source):
            for problem in folder.problems:
                path = join_path(source.path, problem.path) if problem.path else source.path
                if problem.hides_files and not problem.path:
                    remedy = "Create it, make it readable, or correct the path."
                    raise ManifestError(f"'{path or '.'}' {problem.message}", where=source.declared_at, remedy=remedy)
                unreadable.append(f"{path}: {problem.message}")
            recorded = state.files.contents(handle, folder.path) if handle is not None else {}
            for file in folder.files:
                name = lake_name(join_path(folder.relative_dir, file.filename), source.naming)
                version, content = recorded.get(name, (None, ""))
                same = version is not None and equal_but_for_ctime(version, file.version())
                yield FileToCheck(
                    collection.key,
                    name,
                    join_path(folder.path, file.filename),
                    file.fingerprint(),
                    replaces=version is not None and not same,
                    content_hash=content if same and content else None,
                )
