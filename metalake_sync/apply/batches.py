"""A collection's files on their way: batches that overlap, replacements after new files, and what follows each batch.

Owns: the order, and what overlaps. Must not: know how a stage does its work.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

from metalake_sync.apply.annotations import AnnotationStage
from metalake_sync.apply.metadata import MetadataStage, updates_after_upload
from metalake_sync.apply.replace import Replacing
from metalake_sync.apply.uploads import (
    OpenSession,
    UploadAction,
    Uploads,
    cut_batches,
    name_refused,
    refuses_name,
    sends_trashed_name,
    sends_used_name,
)
from metalake_sync.core.actions import Annotate, RemoveAnnotations, ReplaceFile
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.core.snapshots import RemoteFile
from metalake_sync.errors import LakeRefused, SyncError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.open_sessions import SessionDecision
from metalake_sync.planning.replacements import REFUSED, TAKEN
from metalake_sync.planning.run_options import RunOptions

BATCHES_UNDER_WAY = 4
"""How many batches may be under way: one or two on the wire, the others waiting for the lake's jobs."""


async def upload_collection(
    collection: CollectionPlan, stages: Stages, options: RunOptions, left_open: Sequence[SessionDecision] = ()
) -> None:
    """Finish the sessions of interrupted runs, send a collection's new files, then those whose names were trashed
    before, then replace what changed.

    `left_open`: the sessions to finish. What does not come through in them is sent like any other file.
    A lake may refuse the name of a trashed file, and no call takes the file out of the trash. So one file is replaced
    first, and the outcome is remembered for the lake. After a refusal nothing more is trashed for a replacement until
    the lake takes such a name from a file that has to be sent anyway.
    """
    replaces = [action for action in collection.uploads if isinstance(action, ReplaceFile)]
    used_names = [action for action in collection.uploads if sends_used_name(action)]
    new = [action for action in collection.uploads if not sends_trashed_name(action)]
    work = CollectionUpload(collection, stages, options)
    for session in left_open:
        resumed = await work.resume(session, [*new, *used_names])
        if any(action.file.name in resumed for action in used_names):
            stages.replacing.learn(TAKEN)
        new = [action for action in new if action.file.name not in resumed]
        used_names = [action for action in used_names if action.file.name not in resumed]
    replacing = stages.replacing
    await work.send(new)
    if await work.send(used_names):
        replacing.learn(TAKEN)
    elif work.names_refused:
        replacing.learn(REFUSED)
    while replaces and replacing.trashed_names is None:
        lost = replacing.lost_in_trash()
        if lost:
            replacing.leave(replaces, f"an earlier replacement did not come through: {lost}")
            return
        one = replaces.pop(0)
        if await work.send([one]):
            replacing.learn(TAKEN)
        elif replacing.is_half_done(one):
            if work.names_refused:
                replacing.learn(REFUSED)
                break
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
    """The batches of one collection. `names_refused`: the lake did not take the name of a file that is in its trash."""

    collection: CollectionPlan
    stages: Stages
    options: RunOptions
    names_refused: bool = False

    async def send(self, actions: Sequence[UploadAction]) -> set[str]:
        """Send batches one after the other: the next one is opened while the last files of one are on the wire, and
        what follows in the lake overlaps, too. Returns which trashed names the lake took again."""
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
                        ready = await self.stages.replacing.make_room(self.collection, replaces)
                    if ready:
                        await in_the_lake.acquire()
                        next_one = asyncio.Event()
                        under_way.create_task(see_through(ready, next_one))
                        await next_one.wait()
        return taken

    async def _sent(self, batch: Sequence[UploadAction], last_ones: Callable[[], None]) -> OpenSession | None:
        """Send one batch. If the lake refuses the session of files whose names are in its trash, each of them fails
        with the id of what is there, and None is returned."""
        try:
            return await self.stages.uploads.send(self.collection, batch, last_ones)
        except LakeRefused as refusal:
            if not all(map(sends_trashed_name, batch)):
                raise
            if refuses_name(refusal):
                self.names_refused = True
                refusal = name_refused(refusal)
            self.stages.replacing.recorder.fail(batch, refusal, retryable=True)
            return None

    async def resume(self, left_open: SessionDecision, actions: Sequence[UploadAction]) -> set[str]:
        """Finish a session of an earlier run. Returns the names of those files of `actions` that need no upload now."""
        by_name = {action.file.name: action for action in actions}
        try:
            session, found = await self.stages.uploads.resume(self.collection, left_open, by_name)
        except LakeRefused:
            # The lake does not know the session any more, or its job failed.
            self.stages.uploads.forget(left_open)
            return set()
        wanted = {file.name for file in left_open.wanted}
        batch = [by_name[name] for name in found if name in wanted and name in by_name]
        await self._follow_up(session, batch, found, self._sets())
        outdated = [by_name[name] for name in found if name not in wanted and name in by_name]
        if outdated:
            error = LakeRefused(
                "an interrupted run sent earlier bytes of it, and the lake has taken them in only now",
                status=200,
                remedy="Run apply again: it replaces them.",
            )
            self.stages.replacing.recorder.fail(outdated, error, retryable=True)
        return {action.file.name for action in (*batch, *outdated)}

    def _sets(self) -> dict[str, list[Annotate | RemoveAnnotations]]:
        """The annotation actions of the collection, by file name."""
        sets: dict[str, list[Annotate | RemoveAnnotations]] = {}
        for action in self.collection.annotations:
            sets.setdefault(action.name, []).append(action)
        return sets

    async def _follow_up(
        self,
        session: OpenSession,
        batch: Sequence[UploadAction],
        found: Mapping[str, RemoteFile],
        sets: Mapping[str, Sequence[Annotate | RemoveAnnotations]],
    ) -> None:
        """What follows when the files are recorded: their metadata and annotation sets."""
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


@contextlib.contextmanager
def _first_error_alone() -> Iterator[None]:
    """A task group raises a group; whoever waits wants the error that ended the run."""
    try:
        yield
    except BaseExceptionGroup as group:
        errors: list[BaseException] = [error for error in group.exceptions if isinstance(error, SyncError)]
        raise (errors or list(group.exceptions))[0] from None
