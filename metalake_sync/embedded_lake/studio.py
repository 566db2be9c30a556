"""The part of the annotation studio that the lake serves: model runs attached to projects.

Owns: the attached runs. Projects are not checked: every id counts as one.
"""

from __future__ import annotations

from metalake_sync.embedded_lake.rejections import Rejection
from metalake_sync.embedded_lake.store import LakeStore
from metalake_sync.protocol.annotation_sets import AttachModelRuns
from metalake_sync.protocol.wire import OperationMode


class Studio:
    def __init__(self, store: LakeStore) -> None:
        self._store = store
        self._db = store.db

    def attach(self, request: AttachModelRuns) -> int:
        """Attach model runs to a project, and return how many were not attached before.

        Rejects operations without machine annotations with 422, and then attaches none.
        """
        if not request.project_id.strip():
            raise unprocessable("The project has no id")
        if not request.operation_id_array:
            raise unprocessable("The list of operations is empty")
        for operation in request.operation_id_array:
            if not self._is_model_run(operation):
                raise unprocessable(f"No model run has the id {operation!r}")
        rows = [(request.project_id, operation) for operation in dict.fromkeys(request.operation_id_array)]
        with self._store.write() as db:
            return db.executemany(
                "INSERT INTO attached_runs (project, operation) VALUES (?, ?) ON CONFLICT DO NOTHING", rows
            ).rowcount

    def attached(self, project: str) -> list[str]:
        """Return the operations that are attached to a project, sorted."""
        rows = self._db.execute("SELECT operation FROM attached_runs WHERE project = ? ORDER BY operation", (project,))
        return [operation for (operation,) in rows]

    def _is_model_run(self, operation: str) -> bool:
        row = self._db.execute(
            "SELECT 1 FROM annotation_sets WHERE operation = ? AND mode = ? LIMIT 1", (operation, OperationMode.MACHINE)
        ).fetchone()
        return row is not None


def unprocessable(message: str) -> Rejection:
    """Return a rejection with the reason in `error.details`, where the vendor's client reads it."""
    return Rejection(422, "UnprocessableEntityError", "The request is not valid. See 'details'.", details=message)
