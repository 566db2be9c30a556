"""The calls and SQL statements of an upload: four calls per file, and a fixed number per batch."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from metalake_sync.apply.progress import ProgressMeter
from metalake_sync.apply.session_files import WRITE_AT_ONCE, WRITE_WITHIN_S, SessionJournal
from metalake_sync.core.actions import UploadFile
from metalake_sync.core.events import ActionDone, Event
from metalake_sync.core.metadata import NO_METADATA
from metalake_sync.core.snapshots import CollectionKey, Fingerprint, MediaType
from metalake_sync.embedded_lake.request_log import RequestKind, RequestLog
from metalake_sync.engine import Engine
from metalake_sync.errors import StateError
from metalake_sync.manifest import load_manifest
from metalake_sync.planning.run_options import RunOptions
from metalake_sync.remote.transfers.upload_files import FileToSend, ResumePoint
from metalake_sync.state.journal import JournalledFile, JournalledSession
from metalake_sync.state.store import StateStore
from tests.end_to_end.world import BIRDS, World

FOR_EACH_FILE = ("begin_file", "sign_parts", "put_part", "finalize_file")
BATCH = 50


def requests_of_an_upload(world: World, files: int, parallelism: int | None = None) -> Counter[str]:
    """Apply a manifest of new files in batches of 50. Returns the number of calls by route."""
    for number in range(files):
        world.write(f"images/f{number:04d}.jpg", number.to_bytes(4, "big"))
    world.manifest(BIRDS)
    world.lake.requests.clear()
    environment = world.environment()
    manifest = load_manifest(str(world.folder / "manifest.yaml"), variables={}, environment=environment, stdin=None)
    events: list[Event] = []
    Engine(manifest, RunOptions(batch_files=BATCH, parallelism=parallelism), events.append).apply(lambda _plan: True)
    assert sum(isinstance(event, ActionDone) and isinstance(event.action, UploadFile) for event in events) == files
    asked: Counter[str] = Counter()
    for request, count in world.lake.requests.counts.items():
        asked[request.route] += count
    return asked


def traced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the SQL statements of every state that is opened from now on."""
    statements: list[str] = []
    opened = StateStore.__init__

    def watched(self: StateStore, path: Path) -> None:
        opened(self, path)
        self._connection.set_trace_callback(statements.append)

    monkeypatch.setattr(StateStore, "__init__", watched)
    return statements


@pytest.mark.parametrize("files", [BATCH, 4 * BATCH])
def test_a_file_takes_four_requests_and_a_batch_takes_a_fixed_number(world: World, files: int) -> None:
    asked = requests_of_an_upload(world, files)
    assert {route: asked.pop(route) for route in FOR_EACH_FILE} == dict.fromkeys(FOR_EACH_FILE, files)
    # A job is asked about until it is done: how often depends on the lake.
    assert asked.pop("job_status") >= 1
    batches = files // BATCH
    for_each_batch = ("open_upload", "complete_upload", "list_collection_items")
    assert {route: asked.pop(route) for route in for_each_batch} == dict.fromkeys(for_each_batch, batches)
    # The rest is asked once a run.
    assert max(asked.values()) == 1
    assert len(asked) <= 4, asked


def test_the_next_batch_is_opened_while_the_last_files_of_one_are_in_transfer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    note = RequestLog.note

    def noted(self: RequestLog, asked: RequestKind, status: int, bytes_in: int) -> None:
        order.append(asked.route)
        note(self, asked, status, bytes_in)

    monkeypatch.setattr(RequestLog, "note", noted)
    requests_of_an_upload(world, 2 * BATCH, parallelism=4)
    opened = [place for place, route in enumerate(order) if route == "open_upload"]
    finalized = [place for place, route in enumerate(order) if route == "finalize_file"]
    assert len(opened) == 2
    assert opened[1] < finalized[BATCH - 1]
    # It is not opened long before: what it is for could change meanwhile.
    assert opened[1] > finalized[BATCH // 2]


def test_bytes_sent_in_addition_to_the_files(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[int] = []
    note = RequestLog.note

    def noted(self: RequestLog, asked: RequestKind, status: int, bytes_in: int) -> None:
        bodies.append(bytes_in)
        note(self, asked, status, bytes_in)

    monkeypatch.setattr(RequestLog, "note", noted)
    files = 2 * BATCH
    requests_of_an_upload(world, files)
    contents = 4 * files
    assert sum(bodies) - contents <= 600 * files + 4000
    bodies.clear()
    world.good("apply", "manifest.yaml")
    assert len(bodies) <= 4
    assert sum(bodies) <= 1000


def test_the_state_is_written_in_groups(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    files = 4 * BATCH
    statements = traced(monkeypatch)
    requests_of_an_upload(world, files)
    rows = [statement for statement in statements if statement.startswith(("INSERT", "UPDATE", "DELETE"))]
    # Journalled, ready with its part, sent; recorded in the place of an older record; told in the history.
    batches = files // BATCH
    assert len(rows) <= 7 * files + 12 * batches + 10
    # Nothing is looked up for a file alone.
    assert sum(statement.startswith("SELECT") for statement in statements) <= 4 * batches + 11


class _OpenSession:
    """A journal over a state in which one session is open."""

    def __init__(self, state: StateStore, names: list[str]) -> None:
        files = tuple(JournalledFile(name, name, Fingerprint(1, 2, 3, 4)) for name in names)
        with state.write():
            row = state.collections.record("lake", CollectionKey(MediaType.IMAGE, "birds"), "id", "birds")
            state.metadata_sets.remember([NO_METADATA])
            state.journal.open_session(
                JournalledSession("session", row, "job", "AWS_S3", NO_METADATA.digest, False, files)
            )
        self.row = row
        self.journal = SessionJournal(state, "session", ProgressMeter(lambda _event: None))

    async def ready(self, name: str) -> None:
        file = FileToSend(name, name, Fingerprint(1, 2, 3, 4), "image/png")
        await self.journal.about_to_finalize(file, ResumePoint(f"id of {name}", name, 16, {1: "etag"}), "hash")


def test_files_that_are_ready_together_share_a_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"f{number}.png" for number in range(3 * WRITE_AT_ONCE + 1)]
    statements = traced(monkeypatch)
    with StateStore(tmp_path / "state.db") as state:
        session_open = _OpenSession(state, names)
        statements.clear()

        async def all_at_once() -> None:
            await asyncio.gather(*map(session_open.ready, names))

        asyncio.run(all_at_once())
        assert statements.count("COMMIT") == 4
        (session,) = state.journal.sessions([session_open.row])
        assert {(file.name, file.content_hash) for file in session.files} == {(name, "hash") for name in names}


def test_a_file_is_journalled_before_it_is_finalized_alone_if_necessary(tmp_path: Path) -> None:
    with StateStore(tmp_path / "state.db") as state:
        session_open = _OpenSession(state, ["a.png", "b.png"])

        async def one_after_the_other() -> None:
            for name in ("a.png", "b.png"):
                await session_open.ready(name)
                (session,) = state.journal.sessions([session_open.row])
                assert {file.name: file.content_hash for file in session.files}[name] == "hash"

        asyncio.run(one_after_the_other())


def test_cancelling_one_file_does_not_cancel_the_others(tmp_path: Path) -> None:
    with StateStore(tmp_path / "state.db") as state:
        session_open = _OpenSession(state, ["a.png", "b.png"])

        async def one_gives_up() -> None:
            tasks = [asyncio.create_task(session_open.ready(name)) for name in ("a.png", "b.png")]
            await asyncio.sleep(0)
            tasks[0].cancel()
            await tasks[1]

        asyncio.run(one_gives_up())
        (session,) = state.journal.sessions([session_open.row])
        assert [file.content_hash for file in session.files] == ["hash", "hash"]


def test_a_state_that_cannot_be_written_fails_every_waiting_file(tmp_path: Path) -> None:
    with StateStore(tmp_path / "state.db") as state:
        session_open = _OpenSession(state, ["a.png", "b.png"])
        state._connection.execute("DROP TABLE upload_parts")

        async def both() -> list[BaseException | None]:
            return await asyncio.gather(*map(session_open.ready, ("a.png", "b.png")), return_exceptions=True)

        assert [type(outcome) for outcome in asyncio.run(both())] == [StateError, StateError]


def test_a_closed_journal_writes_nothing_when_its_time_comes(tmp_path: Path) -> None:
    with StateStore(tmp_path / "state.db") as state:
        session_open = _OpenSession(state, ["a.png"])
        problems: list[object] = []

        async def the_run_fails() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: problems.append(context))
            waiting = asyncio.create_task(session_open.ready("a.png"))
            await asyncio.sleep(0)
            waiting.cancel()
            session_open.journal.close()
            # As at the end of `asyncio.run`, before the timer of the journal is due.
            await loop.shutdown_default_executor()
            await asyncio.sleep(2 * WRITE_WITHIN_S)

        asyncio.run(the_run_fails())
        assert problems == []
        (session,) = state.journal.sessions([session_open.row])
        assert [file.content_hash for file in session.files] == [None]
