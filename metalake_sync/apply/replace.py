"""Replacing: the old file goes to the trash, the new one is sent under its name.

Owns: what is made sure of before anything is trashed, and the one file by which a lake is tried. The lake's upload
keeps the old bytes of a name that it has, and no call takes anything out of the trash: so the new bytes are read first,
the ids that go are written down first, and a lake that does not take a trashed name again is found out with one file.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from metalake_sync.apply.recorder import Recorder
from metalake_sync.apply.trash import TrashStage
from metalake_sync.core.actions import ReplaceFile
from metalake_sync.core.metadata import TAGS, as_the_lake_has_them
from metalake_sync.core.notes import some_of
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.core.snapshots import CollectionKey
from metalake_sync.errors import LakeRefused
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.replacements import TRY_AGAIN, UNKNOWN, answer_key
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.item_details import remote_tags
from metalake_sync.sources.hashing import HashRequest, hash_files


@dataclass(slots=True)
class Replacing:
    """`lake`: what the state calls it. `not_lost`: files that the plan found in the lake, or wants no more, as
    collection and name."""

    client: LakeClient
    recorder: Recorder
    trash: TrashStage
    base_dir: Path
    lake: str
    threads: int
    hash_threads: int
    not_lost: frozenset[tuple[CollectionKey, str]] = frozenset()

    # Whether the lake takes a trashed name again.

    @property
    def trashed_names(self) -> str | None:
        """`TAKEN` or `REFUSED`, or None while it is not known."""
        learned = self.recorder.state.learned(answer_key(self.lake))
        return None if learned == UNKNOWN else learned

    def learn(self, answer: str) -> None:
        if answer != self.trashed_names:
            with self.recorder.state.write():
                self.recorder.state.learn(answer_key(self.lake), answer)

    def is_half_done(self, action: ReplaceFile) -> bool:
        """Whether the old file was trashed in this run. Ask it of one whose upload failed."""
        return self.recorder.trashed_for(action) is not None

    def lost_in_trash(self) -> str:
        """Name the files that are in the lake's trash without a new one in the lake; empty where there are none."""
        lost = [
            f"{key}/{file.name} (id {file.lake_id})"
            for key, handle in self.recorder.handles.items()
            for file in self.recorder.state.pending_replacements.lost(handle)
            if (key, file.name) not in self.not_lost
        ]
        return some_of(lost)

    def leave(self, actions: Sequence[ReplaceFile], why: str) -> None:
        """Replace no more in this run. `why` is a clause."""
        if actions:
            error = LakeRefused(
                f"it was not replaced and not trashed, because {why}",
                status=200,
                remedy="Give the local file another name, or set 'on_change: keep'. If the lake takes such names by now"
                f" (its trash was emptied), run '{TRY_AGAIN}', and one file is tried again.",
            )
            self.recorder.fail(actions, error, retryable=True)

    # Making room.

    async def make_room(self, collection: CollectionPlan, actions: Sequence[ReplaceFile]) -> list[ReplaceFile]:
        """Trash what is replaced, where the new bytes can be read. Returns what may be sent now."""
        readable = await self._readable(actions)
        if not readable:
            return []
        tags = await self._tags_of_others(collection, readable) if collection.policy.tags == "own" else {}
        self.recorder.about_to_trash(readable, tags)
        left, refusal = await self.trash.trash(collection, [action.replaced for action in readable])
        refused = [action for action in readable if action.replaced.lake_id in left]
        if refused:
            self.recorder.not_trashed(refused)
            error = LakeRefused("the lake did not trash the file that is to be replaced", status=200)
            self.recorder.fail(refused, refusal or error, retryable=True)
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

    # Tags that others set.

    async def _tags_of_others(
        self, collection: CollectionPlan, actions: Sequence[ReplaceFile]
    ) -> Mapping[str, Sequence[str]]:
        """By file name. They go with the old file, and belong to the new one."""
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
