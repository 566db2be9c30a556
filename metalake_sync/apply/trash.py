"""Trashes files: those that the manifest no longer has, and old files whose replacement is uploaded under their name.

Owns: the checks before anything is trashed, and whether a lake accepts the name of a trashed file again. Must not:
upload anything. Files are trashed only by the ids in their records, and pruned last in a collection.

An upload under an existing name keeps the old bytes, and no call restores a file from the trash. So the new bytes are
read first, the ids of trashed files are recorded first, and a single file tests whether the lake accepts a trashed name
again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from metalake_sync.apply.recorder import Recorder
from metalake_sync.core.actions import Reason, ReplaceFile, TrashFile, UploadFile
from metalake_sync.core.metadata import TAGS, as_the_lake_has_them
from metalake_sync.core.notes import some_of
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.core.snapshots import CollectionKey, RemoteFile
from metalake_sync.errors import LakeRejected, SyncError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.interrupted_runs import UNKNOWN, answer_key
from metalake_sync.planning.lake_listing import view_lake
from metalake_sync.protocol.wire import PAGE_SIZE_LIMIT
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.item_details import remote_tags
from metalake_sync.remote.selections import object_kind, trash_files
from metalake_sync.sources.hashing import HashRequest, hash_files


class TrashStage:
    def __init__(self, client: LakeClient, recorder: Recorder) -> None:
        self._client = client
        self._recorder = recorder

    async def trash_pruned(self, collection: CollectionPlan) -> None:
        """Trash files that the manifest no longer has, unless anything in the collection failed in this run."""
        if not collection.trash:
            return
        if collection.key in self._recorder.failed_collections:
            error = LakeRejected(
                "no file of the collection is trashed, because something in it failed",
                status=200,
                where=str(collection.key),
                remedy="Fix the failures first.",
            )
            self._recorder.fail(collection.trash, error, retryable=True)
            return
        for start in range(0, len(collection.trash), PAGE_SIZE_LIMIT):
            page = collection.trash[start : start + PAGE_SIZE_LIMIT]
            files = [
                RemoteFile(action.recorded.name, action.recorded.lake_id, action.recorded.unique_name)
                for action in page
            ]
            left, rejection = await self.trash(collection, files)
            gone = [action for action in page if action.recorded.lake_id not in left]
            self._recorder.confirm(gone, lambda gone=gone: self._forget(collection, gone))  # type: ignore[misc]
            stay = [action for action in page if action.recorded.lake_id in left]
            if stay:
                error = LakeRejected("the lake did not trash it", status=200, where=str(collection.key))
                self._recorder.fail(stay, rejection or error, retryable=True)

    async def trash(
        self, collection: CollectionPlan, files: Sequence[RemoteFile]
    ) -> tuple[set[str], LakeRejected | None]:
        """Trash files. Returns the ids of files that are still in the lake, and the error if it rejects the call."""
        await asyncio.to_thread(self._recorder.state.sync)
        try:
            left = await asyncio.to_thread(trash_files, self._client, object_kind(collection.key.type), files)
        except LakeRejected as rejection:
            return {file.lake_id for file in files}, rejection
        return left, None

    def _forget(self, collection: CollectionPlan, actions: Sequence[TrashFile]) -> None:
        handle = self._recorder.handle(collection.key)
        names = [action.recorded.name for action in actions]
        self._recorder.state.files.forget(handle, names)
        self._recorder.state.pending_replacements.forget(handle, names)


UploadAction = UploadFile | ReplaceFile


class NameTaken(LakeRejected):
    """The lake has a file of this name, possibly in its trash, and rejects another one."""


NAME_REFUSED = frozenset({406, 409})
"""The statuses with which a lake may reject a name that is in its trash."""


def sends_used_name(action: UploadAction) -> bool:
    """Whether an upload uses a name that was trashed before this run."""
    return isinstance(action, UploadFile) and action.reason in (Reason.MISSING_IN_LAKE, Reason.CONTENT_CHANGED)


def sends_trashed_name(action: UploadAction) -> bool:
    """Whether an upload uses a name that is in the trash when the upload starts."""
    return isinstance(action, ReplaceFile) or sends_used_name(action)


def refuses_name(error: SyncError) -> bool:
    """Whether the lake's answer to the upload of a trashed name may mean that it rejects the name."""
    return isinstance(error, NameTaken) or (isinstance(error, LakeRejected) and error.status in NAME_REFUSED)


def rejected_name_error(error: SyncError) -> LakeRejected:
    """The error for a file whose trashed name the lake rejects. It quotes the message of the lake."""
    message = "" if isinstance(error, NameTaken) else f" ({error.message})"
    return LakeRejected(
        f"the lake rejects the name of a trashed file{message}",
        status=error.status if isinstance(error, LakeRejected) else 200,
        remedy="Give the local file another name, or empty the lake's trash in the web page and apply again.",
    )


@dataclass(slots=True)
class ReplaceStage:
    client: LakeClient
    recorder: Recorder
    trash: TrashStage
    base_dir: Path
    lake: str
    """The identity of the lake in the state."""
    threads: int
    hash_threads: int
    in_manifest: Set[CollectionKey]
    """The collections of the manifest. A later run completes replacements only in these."""
    given_up: Set[tuple[CollectionKey, str]]
    """Files that neither the lake nor the manifest has any more: collection and name."""

    # Whether the lake accepts a trashed name again.

    @property
    def trashed_names(self) -> str | None:
        """`TAKEN` or `REFUSED`. None if it is not known."""
        learned = self.recorder.state.learned(answer_key(self.lake))
        return None if learned == UNKNOWN else learned

    def learn(self, answer: str) -> None:
        if answer != self.trashed_names:
            with self.recorder.state.write():
                self.recorder.state.learn(answer_key(self.lake), answer)

    def is_half_done(self, action: ReplaceFile) -> bool:
        """Whether the old file was trashed in this run. Call it for an action whose upload failed."""
        return self.recorder.trashed_for(action) is not None

    async def lost_in_trash(self) -> str:
        """Names of files that are in the lake's trash and that a later upload brings back. Empty without such files.

        A run that was killed before it trashed a file leaves the same record as one that was killed after it. Only the
        lake can tell them apart.
        """
        lost: list[str] = []
        for key, handle in self.recorder.handles.items():
            begun = [
                file
                for file in self.recorder.state.pending_replacements.lost(handle)
                if key in self.in_manifest and (key, file.name) not in self.given_up
            ]
            if begun:
                listing = (await asyncio.to_thread(view_lake, self.client, key, None, True)).listing
                assert listing is not None
                lost += [f"{key}/{file.name} (id {file.lake_id})" for file in begun if listing.id_of(file.name) is None]
        return some_of(lost)

    def leave(self, actions: Sequence[ReplaceFile], why: str, remedy: str) -> None:
        """Report that files are not replaced in this run. `why` is a clause, `remedy` a sentence."""
        if actions:
            error = LakeRejected(f"it was not replaced and not trashed, because {why}", status=200, remedy=remedy)
            self.recorder.fail(actions, error, retryable=True)

    # Trashing.

    async def trash_replaced(self, collection: CollectionPlan, actions: Sequence[ReplaceFile]) -> list[ReplaceFile]:
        """Trash the old files whose new bytes can be read. Returns the actions that can be uploaded now."""
        readable = await self._readable(actions)
        if not readable:
            return []
        tags = await self._tags_of_others(collection, readable) if collection.policy.tags == "own" else {}
        self.recorder.about_to_trash(readable, tags)
        left, rejection = await self.trash.trash(collection, [action.replaced for action in readable])
        refused = [action for action in readable if action.replaced.lake_id in left]
        if refused:
            self.recorder.not_trashed(refused)
            error = LakeRejected("the lake did not trash the old file", status=200)
            self.recorder.fail(refused, rejection or error, retryable=True)
        return [action for action in readable if action.replaced.lake_id not in left]

    async def _readable(self, actions: Sequence[ReplaceFile]) -> list[ReplaceFile]:
        requests = [
            HashRequest(os.path.join(self.base_dir, action.file.path), action.file.fingerprint) for action in actions
        ]
        outcomes = await asyncio.to_thread(lambda: list(hash_files(requests, self.hash_threads)))
        readable: list[ReplaceFile] = []
        for action, outcome in zip(actions, outcomes, strict=True):
            if outcome.error is None:
                readable.append(action)
            else:
                self.recorder.fail([action], outcome.error, retryable=True)
        return readable

    # Tags that other clients set.

    async def _tags_of_others(
        self, collection: CollectionPlan, actions: Sequence[ReplaceFile]
    ) -> Mapping[str, Sequence[str]]:
        """Tags of other clients by file name. They disappear with the old file, and are written to the new one."""
        handle = self.recorder.handles.get(collection.key)
        state = self.recorder.state
        names = [action.file.name for action in actions]
        recorded = state.files.named(handle, names) if handle is not None else {}
        unique_names = [action.replaced.unique_name for action in actions]
        there = await asyncio.to_thread(remote_tags, self.client, unique_names, self.threads)
        tags: dict[str, Sequence[str]] = {}
        for action in actions:
            known = recorded.get(action.file.name)
            written = state.metadata_sets.values(known.metadata_digest) if known else None
            tags_there = there[action.replaced.unique_name]
            ours = [*(written or {}).get(TAGS, ()), *action.file.metadata.values.get(TAGS, ())]
            kept_as = as_the_lake_has_them(ours, ours, tags_there)
            theirs = [tag for tag in tags_there if tag not in kept_as]
            if theirs:
                tags[action.file.name] = theirs
        return tags
