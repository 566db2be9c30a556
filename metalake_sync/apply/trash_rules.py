"""The stage for trash rules, after all downloads: it trashes exactly what the plan showed.

Owns: that a rule trashes nothing if anything in the run failed, and what is recorded of it.
"""

from __future__ import annotations

import asyncio

from metalake_sync.apply.recorder import Recorder
from metalake_sync.core.actions import TrashCollection, TrashMatched
from metalake_sync.core.plan import TrashRulePlan
from metalake_sync.errors import LakeRejected
from metalake_sync.protocol.wire import PAGE_SIZE_LIMIT
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.selections import object_kind, trash_collection, trash_files


class TrashRuleStage:
    """Carries out trash rules: exactly the items or the collection in the plan.

    `lake`: the identity of the lake in the state.
    """

    def __init__(self, client: LakeClient, recorder: Recorder, lake: str) -> None:
        self._client = client
        self._recorder = recorder
        self._lake = lake

    async def run(self, rule: TrashRulePlan) -> None:
        if rule.items and self._recorder.failures:
            error = LakeRejected(
                "no trash rule is applied, because something in this run failed",
                status=200,
                remedy="Fix the failures first.",
            )
            self._recorder.fail(rule.items, error, retryable=True)
            return
        for collection in rule.items:
            if isinstance(collection, TrashCollection):
                await self._trash_whole(collection)
        kind = object_kind(rule.selection.type)
        items = [item for item in rule.items if isinstance(item, TrashMatched)]
        for start in range(0, len(items), PAGE_SIZE_LIMIT):
            page = items[start : start + PAGE_SIZE_LIMIT]
            await asyncio.to_thread(self._recorder.state.sync)
            try:
                left = await asyncio.to_thread(trash_files, self._client, kind, [item.file for item in page])
            except LakeRejected as rejection:
                self._recorder.fail(page, rejection, retryable=False)
                return
            self._recorder.confirm([item for item in page if item.file.lake_id not in left], lambda: None)
            stay = [item for item in page if item.file.lake_id in left]
            if stay:
                self._recorder.fail(stay, LakeRejected("the lake did not trash it", status=200), retryable=True)

    async def _trash_whole(self, action: TrashCollection) -> None:
        await asyncio.to_thread(self._recorder.state.sync)
        try:
            gone = await asyncio.to_thread(trash_collection, self._client, action.collection, action.lake_id)
        except LakeRejected as rejection:
            self._recorder.fail([action], rejection, retryable=False)
            return
        if gone:
            self._recorder.confirm([action], lambda: self._forget(action))
        else:
            error = LakeRejected("the lake did not trash the collection", status=200, where=str(action.collection))
            self._recorder.fail([action], error, retryable=True)

    def _forget(self, action: TrashCollection) -> None:
        recorded = self._recorder.state.collections.of_lake(self._lake).get(action.collection)
        if recorded is not None and recorded[1].lake_id == action.lake_id:
            self._recorder.forget_collection(action.collection)
