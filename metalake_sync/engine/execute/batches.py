"""A collection's files on their way: batches that overlap, replacements after new files, and what follows each batch.

Owns: the order, and what overlaps. Must not: know how a stage does its work.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

from metalake_sync.core.actions import Annotate, Reason, RemoveAnnotations, ReplaceFile, UploadFile
from metalake_sync.core.facts import RemoteFile
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.engine.execute.annotations import AnnotationStage
from metalake_sync.engine.execute.metadata import MetadataStage, updates_after_upload
from metalake_sync.engine.execute.replace import REFUSED, TAKEN, UNKNOWN, Replacing
from metalake_sync.engine.execute.uploads import OpenSession, UploadAction, Uploads, cut_batches
from metalake_sync.engine.options import RunOptions
from metalake_sync.errors import LakeRefused, SyncError
from metalake_sync.lazy_dataclass import dataclass

BATCHES_UNDER_WAY = 4
"""How many batches may be under way: one or two on the wire, the others waiting for the lake's jobs."""


def sends_used_name(action: UploadAction) -> bool:
    """Whether an upload takes a name that was trashed before this run."""
    return isinstance(action, UploadFile) and action.reason in (Reason.MISSING_IN_LAKE, Reason.CONTENT_CHANGED)


def sends_trashed_name(action: UploadAction) -> bool:
    """Whether an upload takes a name that is in the trash when it sets out."""
    return isinstance(action, ReplaceFile) or sends_used_name(action)


async def upload_collection(collection: CollectionPlan, stages: Stages, options: RunOptions) -> None:
    """Send a collection's new files, then replace what changed."""
    replaces = [action for action in collection.uploads if isinstance(action, ReplaceFile)]
    new = [action for action in collection.uploads if not isinstance(action, ReplaceFile)]
    work = CollectionUpload(collection, stages, options)
    if await work.send(new):
        stages.replacing.learn(TAKEN)
    replacing = stages.replacing
    if replacing.trashed_names == REFUSED and not replacing.probe_is_due:
        # Nothing that has to be sent anyway would show that the lake has changed its mind: one file is tried again.
        replacing.learn(UNKNOWN)
    while replaces and replacing.trashed_names is None:
        # Nobody knows yet whether this lake takes a trashed name again: try it with one file.
        one = replaces.pop(0)
        if await work.send([one]):
            replacing.learn(TAKEN)
        elif work.names_refused:
            replacing.learn(REFUSED)
            replacing.probe_is_due = True
        elif replacing.is_half_done(one):
            replacing.leave(replaces, "the first replacement did not come through")
            return
    if replacing.trashed_names == REFUSED:
        replacing.leave(replaces, "the lake did not take the name of a trashed file again")
    else:
        await work.send(replaces)


@dataclass(frozen=True, slots=True)
class Stages:
    """What a file goes through."""

    uploads: Uploads
    metadata: MetadataStage
    annotations: AnnotationStage
    replacing: Replacing


@dataclass(slots=True)
class CollectionUpload:
    """The batches of one collection. `names_refused`: the lake did not take the name of a file that made room."""

    collection: CollectionPlan
    stages: Stages
    options: RunOptions
    names_refused: bool = False

    async def send(self, actions: Sequence[UploadAction]) -> set[str]:
        """Send batches one after the other: the next one is opened while the last files of one are on the wire, and
        what follows in the lake overlaps, too. Returns which trashed names the lake took again."""
        sets: dict[str, list[Annotate | RemoveAnnotations]] = {}
        for action in self.collection.annotations if actions else ():
            sets.setdefault(action.name, []).append(action)
        in_the_lake = asyncio.Semaphore(BATCHES_UNDER_WAY)
        taken: set[str] = set()

        async def see_through(batch: Sequence[UploadAction], next_one: asyncio.Event) -> None:
            try:
                session = await self._sent(batch, next_one.set)
                next_one.set()
                if session is not None:
                    self.names_refused |= session.names_refused
                    found = await self._finish(session, batch, sets)
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
                        ready = await self.stages.replacing.make_room(self.collection, replaces)
                    if ready:
                        await in_the_lake.acquire()
                        next_one = asyncio.Event()
                        under_way.create_task(see_through(ready, next_one))
                        await next_one.wait()
        return taken

    async def _sent(self, batch: Sequence[UploadAction], last_ones: Callable[[], None]) -> OpenSession | None:
        """Send one batch. Where the lake refuses the session of files that made room, each of them is told with what is
        in the trash for it, and None is returned."""
        try:
            return await self.stages.uploads.send(self.collection, batch, last_ones)
        except LakeRefused as refusal:
            made_room = [
                action
                for action in batch
                if isinstance(action, ReplaceFile) and self.stages.replacing.is_half_done(action)
            ]
            if len(made_room) < len(batch):
                raise
            self.stages.replacing.recorder.fail(batch, refusal, retryable=True)
            return None

    async def _finish(
        self,
        session: OpenSession,
        batch: Sequence[UploadAction],
        sets: Mapping[str, Sequence[Annotate | RemoveAnnotations]],
    ) -> dict[str, RemoteFile]:
        """What follows when the bytes are there: the job, the records, metadata and annotation sets."""
        found = await self.stages.uploads.finish(session, batch)
        here = [action.file for action in batch if action.file.name in found]
        updates = updates_after_upload(
            session.common,
            [(file.name, file.metadata) for file in here],
            self.stages.metadata.tags_of_others(self.collection),
        )
        failed = await self.stages.metadata.write(self.collection, session.wire.collection_id, updates)
        self.stages.metadata.gave_back(self.collection, [file.name for file in here if file.name not in failed])
        await self.stages.annotations.annotate(
            self.collection,
            [action for file in here for action in sets.get(file.name, ())],
            {name: file.unique_name for name, file in found.items()},
        )
        return found


@contextlib.contextmanager
def _first_error_alone() -> Iterator[None]:
    """A task group raises a group; whoever waits wants the error that ended the run."""
    try:
        yield
    except BaseExceptionGroup as group:
        errors: list[BaseException] = [error for error in group.exceptions if isinstance(error, SyncError)]
        raise (errors or list(group.exceptions))[0] from None
