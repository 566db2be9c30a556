"""Uploads the files of one collection: batches that overlap, replacements after new files, and what follows a batch.

Owns: the order of batches, and which of them overlap. Must not: know how a stage does its work.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

from metalake_sync.apply.annotations import AnnotationStage
from metalake_sync.apply.collections import CollectionStage
from metalake_sync.apply.metadata import MetadataStage, updates_after_upload
from metalake_sync.apply.records import RecordStage
from metalake_sync.apply.session_files import OpenSession
from metalake_sync.apply.trash import (
    ReplaceStage,
    TrashStage,
    UploadAction,
    refuses_name,
    rejected_name_error,
    sends_trashed_name,
    sends_used_name,
)
from metalake_sync.apply.uploads import UploadStage
from metalake_sync.core.actions import ReplaceFile, SetAction
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.core.snapshots import RemoteFile
from metalake_sync.errors import LakeRejected, SyncError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.interrupted_runs import REFUSED, TAKEN, TRY_AGAIN, SessionDecision
from metalake_sync.planning.run_options import RunOptions

BATCHES_UNDER_WAY = 4
"""How many batches may be open at once: one or two in transfer, the others waiting for the lake's jobs."""


UPLOAD_THAT_FIRST = "An apply of the whole manifest uploads that file first, and then replaces this one."

NAMES_REFUSED = (
    "Give the local file another name, or set 'on_change: keep'. If the lake accepts such names now (its trash was"
    f" emptied), run '{TRY_AGAIN}'."
)


async def upload_collection(
    collection: CollectionPlan, stages: Stages, options: RunOptions, left_open: Sequence[SessionDecision] = ()
) -> None:
    """Finish the sessions of interrupted runs, upload new files, then files whose names were trashed before, then
    replace changed files.

    `left_open`: the sessions to finish. Files that fail in them are uploaded like any others.

    A lake may reject the name of a trashed file, and no call restores a file from the trash. So one file is replaced
    first, and the state keeps the outcome. After a rejection, no file is trashed for a replacement until the lake
    accepts such a name from a file that has to be uploaded anyway.
    """
    replaces = [action for action in collection.uploads if isinstance(action, ReplaceFile)]
    used_names = [action for action in collection.uploads if sends_used_name(action)]
    new = [action for action in collection.uploads if not sends_trashed_name(action)]
    work = CollectionUpload(collection, stages, options)
    for session in left_open:
        resumed = await work.resume(session, [*new, *used_names])
        if any(action.file.name in resumed for action in used_names):
            stages.replace.learn(TAKEN)
        new = [action for action in new if action.file.name not in resumed]
        used_names = [action for action in used_names if action.file.name not in resumed]
    replacing = stages.replace
    await work.send(new)
    if await work.send(used_names):
        replacing.learn(TAKEN)
    elif work.names_refused:
        replacing.learn(REFUSED)
    while replaces and replacing.trashed_names is None:
        lost = await replacing.lost_in_trash()
        if lost:
            replacing.leave(replaces, f"an earlier replacement failed: {lost}", UPLOAD_THAT_FIRST)
            return
        one = replaces.pop(0)
        if await work.send([one]):
            replacing.learn(TAKEN)
        elif replacing.is_half_done(one):
            if work.names_refused:
                replacing.learn(REFUSED)
                break
            replacing.leave(replaces, "the first replacement failed", UPLOAD_THAT_FIRST)
            return
    if replacing.trashed_names == REFUSED:
        replacing.leave(replaces, "the lake rejected the name of a trashed file", NAMES_REFUSED)
    else:
        await work.send(replaces)


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages of one run."""

    collections: CollectionStage
    records: RecordStage
    uploads: UploadStage
    metadata: MetadataStage
    annotations: AnnotationStage
    replace: ReplaceStage
    trash: TrashStage


@dataclass(slots=True)
class CollectionUpload:
    """The batches of one collection."""

    collection: CollectionPlan
    stages: Stages
    options: RunOptions
    names_refused: bool = False
    """Whether the lake rejected the name of a file that is in its trash."""

    async def send(self, actions: Sequence[UploadAction]) -> set[str]:
        """Send batches one after the other. Returns the trashed names that the lake accepted again.

        The next batch is opened while the last files of the one before are in transfer. What follows in the lake
        overlaps too.
        """
        sets = self._sets() if actions else {}
        in_the_lake = asyncio.Semaphore(BATCHES_UNDER_WAY)
        taken: set[str] = set()

        async def see_through(batch: Sequence[UploadAction], next_one: asyncio.Event) -> None:
            try:
                session = await self._sent(batch, next_one.set)
                next_one.set()
                if session is not None:
                    found = await self.stages.uploads.finish(session, batch)
                    await self._follow_up(session, batch, found, sets)
                    self.names_refused |= session.names_refused
                    taken.update(a.file.name for a in batch if sends_trashed_name(a) and a.file.name in found)
            finally:
                in_the_lake.release()

        with _first_error_alone():
            async with asyncio.TaskGroup() as under_way:
                for batch in cut_batches(
                    actions, max_files=self.options.batch_files, max_bytes=self.options.batch_bytes
                ):
                    replaces = [action for action in batch if isinstance(action, ReplaceFile)]
                    ready: Sequence[UploadAction] = batch
                    if replaces:
                        ready = await self.stages.replace.trash_replaced(self.collection, replaces)
                    if ready:
                        await in_the_lake.acquire()
                        next_one = asyncio.Event()
                        under_way.create_task(see_through(ready, next_one))
                        await next_one.wait()
        return taken

    async def _sent(self, batch: Sequence[UploadAction], last_files_started: Callable[[], None]) -> OpenSession | None:
        """Send one batch. If the lake rejects a session of trashed names, all its files fail, and None is returned."""
        try:
            return await self.stages.uploads.send(self.collection, batch, last_files_started)
        except LakeRejected as rejection:
            if not all(map(sends_trashed_name, batch)):
                raise
            if refuses_name(rejection):
                self.names_refused = True
                rejection = rejected_name_error(rejection)
            self.stages.replace.recorder.fail(batch, rejection, retryable=True)
            return None

    async def resume(self, left_open: SessionDecision, actions: Sequence[UploadAction]) -> set[str]:
        """Finish a session of an earlier run. Returns the names of files in `actions` that need no upload any more."""
        by_name = {action.file.name: action for action in actions}
        try:
            session, found = await self.stages.uploads.resume(self.collection, left_open, by_name)
        except LakeRejected:
            # The lake does not know the session any more, or its job failed.
            self.stages.uploads.forget(left_open, by_name)
            return set()
        wanted = {file.name for file in left_open.wanted}
        batch = [by_name[name] for name in found if name in wanted and name in by_name]
        await self._follow_up(session, batch, found, self._sets())
        outdated = [by_name[name] for name in found if name not in wanted and name in by_name]
        if outdated:
            error = LakeRejected(
                "an interrupted run uploaded an earlier version, which the lake has added only now",
                status=200,
            )
            self.stages.replace.recorder.fail(outdated, error, retryable=True)
        return {action.file.name for action in (*batch, *outdated)}

    def _sets(self) -> dict[str, list[SetAction]]:
        """The annotation actions of the collection, by file name."""
        sets: dict[str, list[SetAction]] = {}
        for action in self.collection.annotations:
            sets.setdefault(action.at.name, []).append(action)
        return sets

    async def _follow_up(
        self,
        session: OpenSession,
        batch: Sequence[UploadAction],
        found: Mapping[str, RemoteFile],
        sets: Mapping[str, Sequence[SetAction]],
    ) -> None:
        """Write the metadata and annotation sets of the recorded files."""
        here = [action.file for action in batch if action.file.name in found]
        updates = updates_after_upload(
            self.collection.key, session.common, here, self.stages.metadata.tags_of_others(self.collection)
        )
        failed = await self.stages.metadata.write(self.collection.key, updates, session.wire.collection_id)
        self.stages.metadata.tags_restored(self.collection, [file.name for file in here if file.name not in failed])
        await self.stages.annotations.send(
            [action for file in here for action in sets.get(file.name, ())],
            {name: file.unique_name for name, file in found.items()},
        )


def cut_batches(
    uploads: Sequence[UploadAction], *, max_files: int, max_bytes: int
) -> Iterator[tuple[UploadAction, ...]]:
    """Cut a collection's uploads into batches of at most `max_files` files and `max_bytes` bytes.

    A single larger file is a batch of its own.
    """
    batch: list[UploadAction] = []
    size = 0
    for action in uploads:
        size_bytes = action.file.fingerprint.size_bytes
        if batch and (len(batch) == max_files or size + size_bytes > max_bytes):
            yield tuple(batch)
            batch, size = [], 0
        batch.append(action)
        size += size_bytes
    if batch:
        yield tuple(batch)


@contextlib.contextmanager
def _first_error_alone() -> Iterator[None]:
    """A task group raises an exception group. Raise only the error that ended the run."""
    try:
        yield
    except BaseExceptionGroup as group:
        errors: list[BaseException] = [error for error in group.exceptions if isinstance(error, SyncError)]
        raise (errors or list(group.exceptions))[0] from None
