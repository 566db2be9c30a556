"""The tables of past runs and of what they did.

Owns: `runs`, `run_actions` and `run_sets`. Must not: hold a credential or a signed URL. Longer than 300 lines, because
the rows of a run and the values behind them are written and read together.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from metalake_sync.core.metadata import MetadataValues
from metalake_sync.core.shapes import ImageRecord
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.state.annotation_bases import AnnotationBases
from metalake_sync.state.metadata_sets import MetadataSets
from metalake_sync.state.names import name_from_db, name_to_db


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who started a run, where, and with which command line. None: it is not known."""

    user: str | None = None
    host: str | None = None
    command_line: str | None = None
    """Without credentials. None for a run that was not started from the command line."""
    commit: str | None = None
    """The Git commit that was checked out in the repository of the manifest."""
    ci_url: str | None = None
    """The page of the CI job."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """A past run. Times are ISO 8601 in UTC."""

    id: str
    command: str
    started_at: str
    ended_at: str | None
    outcome: str | None
    """None if the run was killed."""
    summary: Mapping[str, Any] | None
    provenance: Provenance | None = None
    """None if an earlier version recorded the run."""


@dataclass(frozen=True, slots=True)
class ActionRow:
    """One action that a run carried out. `before` and `after` are digests or ids; `Runs.values` returns the values."""

    action: str
    collection: str
    file: str | None
    reason: str
    before: str | None = None
    after: str | None = None
    type: str | None = None
    """The media type of the collection. None if an earlier version recorded the action."""
    address: str | None = None
    """The key of the address of an unmanaged file. None for a managed file."""
    confirmed: str | None = None
    """The digest of the metadata that the lake confirmed to us last, if another client had changed it before the
    action. Otherwise None: `before` is that digest. Equal to `before`: the lake's metadata was not read."""


@dataclass(frozen=True, slots=True)
class SentSet:
    """The ids of a set's bases before and after an action. None: not known."""

    operation: str
    before: int | None
    after: int | None
    kind: str | None = None
    confirmed: int | None = None
    """The base that the state had before, if another client had changed the set. None: it is `before`, or not known.
    Equal to `before`: the lake's set was not read."""


@dataclass(frozen=True, slots=True)
class Values:
    """What an action changed: the values before and after, as `revert` and `history` need them."""

    metadata_before: MetadataValues | None = None
    """The metadata that the lake confirmed before. None: not known, or the action does not update metadata."""
    metadata_after: MetadataValues | None = None
    operation: str | None = None
    """The operation of the annotation set that the action sent. None: it sent none, or the shapes were not kept."""
    set_before: ImageRecord | None = None
    """The set before; without shapes, if there was none. None: not known."""
    set_after: ImageRecord | None = None
    kind: str | None = None
    """The kind of the operation. None: not known."""
    set_confirmed: ImageRecord | None = None
    """The set that the lake had confirmed to us, if `set_before` is another client's. None: it is `set_before`, or not
    known."""
    metadata_confirmed: MetadataValues | None = None
    """The metadata that we had written, if another client had changed it before the action. None: it is
    `metadata_before`."""
    compared: bool = True
    """Whether the lake's values were read before the action. False: the values before are those that the lake had
    confirmed last."""


@dataclass(frozen=True, slots=True)
class RunChange:
    """An action of a run, and where its values are."""

    number: int
    """For `Runs.values_of`."""
    row: ActionRow
    operation: str | None
    """The operation of the annotation set that the action sent. None: it sent none, or the shapes were not kept."""


@dataclass(frozen=True, slots=True)
class LaterAction:
    """An action of a later run, as far as it tells what the run changed."""

    run_id: str
    action: str
    type: str | None
    collection: str
    address: str | None
    file: str | None
    operation: str | None
    before: str | None
    after: str | None
    """The digests of its metadata before and after, if it wrote metadata."""


class Runs:
    def __init__(self, connection: sqlite3.Connection, metadata_sets: MetadataSets, bases: AnnotationBases) -> None:
        self._connection = connection
        self._metadata_sets = metadata_sets
        self._bases = bases

    def begin(
        self,
        run_id: str,
        command: str,
        started_at: str,
        provenance: Provenance | None = None,
        lake: str | None = None,
    ) -> None:
        """Record that a run starts. `lake`: the identity of the lake in the state."""
        known = json.dumps(asdict(provenance)) if provenance is not None else None
        self._connection.execute(
            "INSERT INTO runs (id, command, started_at, provenance, lake) VALUES (?, ?, ?, ?, ?)",
            (run_id, command, started_at, known, lake),
        )

    def finish(self, run_id: str, ended_at: str, outcome: str, summary: Mapping[str, Any]) -> None:
        self._connection.execute(
            "UPDATE runs SET ended_at = ?, outcome = ?, summary = ? WHERE id = ?",
            (ended_at, outcome, json.dumps(dict(summary)), run_id),
        )

    def record_actions(
        self, run_id: str, actions: Iterable[ActionRow], sets: Mapping[int, SentSet] | None = None
    ) -> None:
        """Record actions. `sets`: the annotation sets that they sent, by the number of the action, from 0."""
        last = 0
        if sets:
            (last,) = self._connection.execute("SELECT coalesce(max(id), 0) FROM run_actions").fetchone()
        self._connection.executemany(
            "INSERT INTO run_actions (id, run_id, action, collection, file, reason, before, after, type, address,"
            " confirmed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    last + 1 + number if sets else None,
                    run_id,
                    row.action,
                    row.collection,
                    None if row.file is None else name_to_db(row.file),
                    row.reason,
                    row.before,
                    row.after,
                    row.type,
                    row.address,
                    row.confirmed,
                )
                for number, row in enumerate(actions)
            ],
        )
        self._connection.executemany(
            "INSERT INTO run_sets (action, operation, before, after, kind, confirmed) VALUES (?, ?, ?, ?, ?, ?)",
            [
                (last + 1 + number, one.operation, one.before, one.after, one.kind, one.confirmed)
                for number, one in (sets or {}).items()
            ],
        )

    def forget_actions(self, run_id: str, action: str, lake_ids: Iterable[str]) -> None:
        """Delete actions that were recorded ahead and did not happen. Found by lake id, because names repeat."""
        self._connection.executemany(
            "DELETE FROM run_actions WHERE run_id = ? AND action = ? AND before = ?",
            [(run_id, action, lake_id) for lake_id in lake_ids],
        )

    def actions(self, run_id: str) -> list[ActionRow]:
        """Return the actions of a run in the order in which they were recorded."""
        rows = self._connection.execute(
            f"SELECT {_ACTION_COLUMNS} FROM run_actions a WHERE a.run_id = ? ORDER BY a.id",  # noqa: S608
            (run_id,),
        )
        return [_action_row(*row) for row in rows]

    def action_counts(self, run_id: str) -> dict[str, int]:
        """Return action → how many of them a run carried out. A run that was killed has no other summary."""
        rows = self._connection.execute(
            "SELECT action, count(*) FROM run_actions WHERE run_id = ? GROUP BY action ORDER BY action", (run_id,)
        )
        return dict(rows.fetchall())

    def values(self, run_id: str) -> Iterator[Values]:
        """Yield the values before and after each action of a run, in the order of `actions`."""
        for change in self.changes(run_id):
            yield self.values_of(change)

    def changes(self, run_id: str) -> Iterator[RunChange]:
        """Yield the actions of a run in the order in which they were recorded."""
        rows = self._connection.execute(
            f"SELECT {_ACTION_COLUMNS}, a.id, s.operation FROM run_actions a"  # noqa: S608
            " LEFT JOIN run_sets s ON s.action = a.id WHERE a.run_id = ? ORDER BY a.id",
            (run_id,),
        )
        for row in rows:
            yield RunChange(row[9], _action_row(*row[:9]), row[10])

    def values_of(self, change: RunChange) -> Values:
        """Return the values before and after an action."""
        row = change.row
        if change.operation is not None:
            before, after, kind, confirmed = self._connection.execute(
                "SELECT before, after, kind, confirmed FROM run_sets WHERE action = ?", (change.number,)
            ).fetchone()
            name, of_history = row.file or "", self._bases.of_history
            return Values(
                operation=change.operation,
                set_before=of_history(name, before),
                set_after=of_history(name, after),
                kind=kind,
                set_confirmed=of_history(name, confirmed if confirmed != before else None),
                compared=confirmed is None or confirmed != before,
            )
        if row.action != "update_metadata":
            return Values()
        written = self._metadata_sets.values
        compared = row.before is not None and row.confirmed != row.before
        digests = (row.before, row.after, row.confirmed if compared else None)
        metadata_before, metadata_after, metadata_confirmed = (written(one) if one else None for one in digests)
        return Values(metadata_before, metadata_after, metadata_confirmed=metadata_confirmed, compared=compared)

    def later(self, run_id: str) -> Iterator[LaterAction]:
        """Yield the actions of later runs, in the order in which they were recorded."""
        rows = self._connection.execute(
            "SELECT a.run_id, a.action, a.type, a.collection, a.address, a.file, s.operation, a.before, a.after"
            " FROM run_actions a LEFT JOIN run_sets s ON s.action = a.id"
            " WHERE a.id > (SELECT max(id) FROM run_actions WHERE run_id = ?) ORDER BY a.id",
            (run_id,),
        )
        for run, action, media_type, collection, address, file, *rest in rows:
            name = None if file is None else name_from_db(file)
            yield LaterAction(run, action, media_type, collection, address, name, *rest)

    def lake_of(self, run_id: str) -> str | None:
        """Return the identity of the lake that a run changed. None if an earlier version recorded the run. Raises
        KeyError for an unknown run."""
        row = self._connection.execute("SELECT lake FROM runs WHERE id = ?", (run_id,)).fetchone()
        if row is None:
            raise KeyError(run_id)
        lake: str | None = row[0]
        return lake

    def last(self, limit: int = 10) -> list[RunRow]:
        """Return the last runs, newest first."""
        rows = self._connection.execute(
            "SELECT id, command, started_at, ended_at, outcome, summary, provenance FROM runs"
            " ORDER BY started_at DESC LIMIT ?",
            (limit,),
        )
        return [
            RunRow(
                *(run_id, command, started_at, ended_at, outcome),
                json.loads(summary) if summary else None,
                Provenance(**json.loads(provenance)) if provenance else None,
            )
            for run_id, command, started_at, ended_at, outcome, summary, provenance in rows
        ]


_ACTION_COLUMNS = "a.action, a.collection, a.file, a.reason, a.before, a.after, a.type, a.address, a.confirmed"


def _action_row(action: str, collection: str, file: str | None, *rest: Any) -> ActionRow:
    return ActionRow(action, collection, None if file is None else name_from_db(file), *rest)
