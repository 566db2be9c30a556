"""The attachment stage: attaches model runs to projects of the annotation studio. It runs last.

The studio is another service, which a deployment may not have. If it rejects a model run, only the attachment fails:
the annotations are sent already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from metalake_sync.apply.recorder import Recorder
from metalake_sync.core.actions import Annotate, AttachModelRun
from metalake_sync.errors import LakeError, LakeRejected, SyncError
from metalake_sync.remote.client import LakeClient


class AttachmentStage:
    """`lake`: the identity of the lake in the state."""

    def __init__(self, client: LakeClient, recorder: Recorder, lake: str) -> None:
        self._client = client
        self._recorder = recorder
        self._lake = lake

    async def run(self, actions: Sequence[AttachModelRun]) -> None:
        incomplete = {
            failure.action.annotations.operation
            for failure in self._recorder.failures
            if isinstance(failure.action, Annotate)
        }
        for action in actions:
            if action.operation in incomplete:
                error = SyncError(
                    "some of its annotations were not sent", remedy="Fix these failures, then run apply again."
                )
                self._recorder.fail([action], _describe(action, error), retryable=True)
                continue
            try:
                await asyncio.to_thread(self._client.attach_model_runs, action.project, [action.operation])
            except LakeError as rejection:
                self._recorder.fail(
                    [action], _describe(action, rejection), retryable=not isinstance(rejection, LakeRejected)
                )
                continue
            self._recorder.confirm([action], lambda action=action: self._record(action))  # type: ignore[misc]

    def _record(self, action: AttachModelRun) -> None:
        self._recorder.state.attached.put(self._lake, action.operation, action.project)


def _describe(action: AttachModelRun, error: SyncError) -> SyncError:
    """Return the error with the attachment that failed."""
    message = f"model run '{action.operation}' is not attached to project '{action.project}': {error.message}"
    return SyncError(message, remedy=error.remedy, where=error.where)
