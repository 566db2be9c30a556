"""The connection to a lake that all groups of methods share.

Owns: opening and closing the lake (an embedded lake runs in between), and running a `Project` for one call.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

from metalake_sync.api.arguments import type_of
from metalake_sync.api.results import CollectionInfo, FailedItem
from metalake_sync.core.actions import Action
from metalake_sync.core.events import ActionDone, ActionFailed, Event, PlanMade, Progress, RunFinished, SessionOpened
from metalake_sync.core.guards import MaxDelete
from metalake_sync.core.notes import UNUSABLE, Note, NoteCode
from metalake_sync.core.plan import Plan
from metalake_sync.engine import Engine
from metalake_sync.errors import LakeRejected, UsageError
from metalake_sync.lake_access import EMBEDDED, ReachedLake, open_lake
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest import Credentials, compose_manifest
from metalake_sync.planning.run_options import RunOptions
from metalake_sync.remote.address import Trust
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.item_calls import NOT_FOUND_STATUSES
from metalake_sync.remote.retry import RetryPolicy
from metalake_sync.remote.selections import find_place
from metalake_sync.sources.names import names_are_utf8
from metalake_sync.sources.scratch import scratch_folder

ContentType: TypeAlias = Literal["image", "video", "other"]

ProgressCallback: TypeAlias = Callable[[Progress], None]
"""Receives the progress of a long call a few times a second, in the thread of the call."""


@contextlib.contextmanager
def must_be_there(what: str, remedy: str) -> Iterator[None]:
    """Raise UsageError if the lake answers that it does not have an object. `what`: the object."""
    try:
        yield
    except LakeRejected as rejection:
        if rejection.status not in NOT_FOUND_STATUSES:
            raise
        raise UsageError(f"the lake has no {what}", remedy=remedy) from None


def local_path(path: str | os.PathLike[str]) -> str:
    """Return an absolute path; `~` is the home folder. Raises UsageError for an empty path."""
    if not os.fspath(path):
        raise UsageError("'' is not the path of a file or folder", remedy="Pass a path; '.' is the current folder.")
    return os.path.abspath(os.path.expanduser(path))


@dataclass(slots=True)
class EngineRun:
    """Collects the events of one run."""

    progress: ProgressCallback | None
    look: Callable[[Plan], None] = lambda _: None
    """Receives the plan before it is carried out, and may stop the run with an exception."""
    events: list[ActionDone] = field(default_factory=list)
    failures: list[ActionFailed] = field(default_factory=list)
    job_ids: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    unchanged: int = 0
    finished: RunFinished | None = None
    bytes_moved: int = 0

    def __call__(self, event: Event) -> None:
        match event:
            case ActionDone():
                self.events.append(event)
            case ActionFailed():
                self.failures.append(event)
            case SessionOpened():
                self.job_ids.append(event.job_id)
            case PlanMade():
                self.look(event.plan)
                self.notes += event.plan.notes
                for note in event.plan.notes:
                    if note.code is NoteCode.LABEL_UNKNOWN:
                        raise UsageError.of_clause(note.message)
                self.unchanged = event.plan.summary().unchanged
            case Progress():
                self.bytes_moved = event.bytes_sent
                if self.progress is not None:
                    self.progress(event)
            case _:
                pass

    @property
    def failed(self) -> tuple[FailedItem, ...]:
        """Return what was not done: actions that failed, and unusable parts of sources."""
        items = [
            FailedItem(event.action.file_name or event.action.action_name, event.error, event.retryable)
            for event in self.failures
        ]
        return (*items, *unusable_items(self.notes))


def unusable_items(notes: Iterable[Note]) -> list[FailedItem]:
    """Return notes on unusable parts of sources as failures."""
    return [FailedItem(note.where, note.message, retryable=False) for note in notes if note.code in UNUSABLE]


class Connected:
    """Opens the lake at once and closes it with `close`, or as a context manager.

    `url`: https://… or embedded:DIR. `ca_file`: CAs to trust in addition to the default ones. `allow_insecure`: accept
    http:// to another machine. `allow_local_store`: accept addresses of stores on this machine or its link from a lake
    on another machine. `generation`: the generation of the lake's protocol; auto detects it. `ignore_compatibility`:
    continue if the lake reports that it is not compatible. `waiting`: receives a message, from any thread, while calls
    to an unreachable lake are retried, and if the lake does not confirm that it is compatible.

    Raises UsageError for an unusable address or missing credentials, CredentialsRejected, and LakeUnreachable.
    """

    def __init__(
        self,
        url: str,
        api_key: str = "",
        secret: str = "",
        *,
        parallelism: int | None = None,
        bytes_per_second: float | None = None,
        retry_for_s: float = 60.0,
        ca_file: str | os.PathLike[str] | None = None,
        allow_insecure: bool = False,
        allow_local_store: bool = False,
        generation: Literal["auto", 2, 3] = "auto",
        ignore_compatibility: bool = False,
        waiting: Callable[[str], None] | None = None,
    ) -> None:
        if not names_are_utf8():
            raise UsageError(
                f"Python decodes file names as {sys.getfilesystemencoding()}, so they would be wrong in the lake",
                remedy="Set LC_ALL=C.UTF-8 or PYTHONUTF8=1 before Python starts.",
            )
        if not url.startswith(EMBEDDED) and not (api_key and secret):
            raise UsageError("the lake needs an API key and a secret", where=url, remedy="Pass both.")
        self._stack = contextlib.ExitStack()
        # A caller who requests a replacement names the files, so no limit is needed.
        self._options = RunOptions(
            parallelism=parallelism,
            bytes_per_second=bytes_per_second,
            retry_for_s=retry_for_s,
            ignore_compatibility=ignore_compatibility,
            max_delete=MaxDelete(percent=None, files=None),
        )
        base = Path.cwd()
        self._url = EMBEDDED + local_path(url.removeprefix(EMBEDDED)) if url.startswith(EMBEDDED) else url
        credentials = Credentials(api_key, secret) if api_key and secret else None
        try:
            trust = Trust(local_path(ca_file) if ca_file is not None else None, allow_insecure, allow_local_store)
            address = self._stack.enter_context(open_lake(self._url, credentials, base, trust))
            lake = ReachedLake.at(address, self._url, generation)
            policy = RetryPolicy(give_up_after_s=retry_for_s, waiting=waiting)
            self._open_client: LakeClient | None = self._stack.enter_context(LakeClient(lake.address, retry=policy))
            greeting = self._client.greet(pinned=lake.pinned, ignore_compatibility=ignore_compatibility)
            if waiting is not None:
                for note in greeting.notes:
                    waiting(str(note))
            self._reached = replace(lake, address=self._client.address)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, and stop an embedded lake. Its data stays."""
        self._open_client = None
        self._stack.close()

    @property
    def _client(self) -> LakeClient:
        if self._open_client is None:
            raise UsageError("the connection is closed", remedy="Make a new MetaLake.")
        return self._open_client

    # Runs.

    @contextlib.contextmanager
    def _engine(
        self, document: Mapping[str, Any], run: EngineRun, *, source: str, state: Path | None = None
    ) -> Iterator[Engine]:
        """Return an engine with a manifest made for one call. `state`: None for a temporary state."""
        address = self._client.address
        remote = {
            "url": self._url,
            "api_key": address.api_key,
            "secret": address.secret,
            "allow_insecure": address.trust.allow_insecure,
            "allow_local_store": address.trust.allow_local_store,
        }
        with scratch_folder() as scratch:
            manifest = compose_manifest(
                {"version": 1, "remote": remote, **document}, name="call", base_dir=Path.cwd(), source=source
            )
            file = str(state if state is not None else scratch / "call.db")
            yield Engine(manifest, self._options, run, file, reached=self._reached)

    # Collections.

    def find_collection(self, name: str, content_type: ContentType | None = None) -> CollectionInfo:
        """Return the collection of a name and, if given, of a type.

        Raises UsageError if no collection matches, or several do.
        """
        place = find_place(self._client, name, type_of(content_type) if content_type else None)
        if place is None or place.collection_id is None:
            kind = f" of type {content_type}" if content_type else ""
            raise UsageError(f"the lake has no collection '{name}'{kind}", remedy="Check the name.")
        return CollectionInfo(place.collection_id, name, place.type)


def only(*kinds: type[Action]) -> Callable[[Plan], bool]:
    """Return a function that approves a plan whose actions that need approval are of these kinds."""
    return lambda plan: all(isinstance(action, kinds) for action in plan.actions() if action.needs_approval)
