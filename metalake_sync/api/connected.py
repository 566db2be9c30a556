"""A connection to a lake: what every group of methods stands on.

Owns: the lake while it is open (an embedded one runs as long), and the way into the engine that `apply` uses.
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
from metalake_sync.core.actions import ReplaceFile
from metalake_sync.core.events import ActionDone, ActionFailed, Event, PlanMade, Progress, RunFinished, SessionOpened
from metalake_sync.core.guards import MaxDelete
from metalake_sync.core.notes import UNUSABLE, Note
from metalake_sync.core.plan import Plan
from metalake_sync.errors import LakeRefused, UsageError
from metalake_sync.lake_access import EMBEDDED, ReachedLake, open_lake
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest import Credentials, compose_manifest
from metalake_sync.planning.run_options import RunOptions
from metalake_sync.project import Project
from metalake_sync.remote.address import Trust
from metalake_sync.remote.client import NOT_FOUND_STATUSES, LakeClient
from metalake_sync.remote.retry import RetryPolicy
from metalake_sync.remote.selections import find_place
from metalake_sync.sources.naming import names_are_utf8
from metalake_sync.sources.scratch import scratch_folder

ContentType: TypeAlias = Literal["image", "video", "other"]

ProgressCallback: TypeAlias = Callable[[Progress], None]
"""Told a few times a second where a long call stands, in the thread that made the call."""


@contextlib.contextmanager
def must_be_there(what: str, remedy: str) -> Iterator[None]:
    """Where the lake answers that it does not know what was named, say so in a sentence: a UsageError."""
    try:
        yield
    except LakeRefused as refusal:
        if refusal.status not in NOT_FOUND_STATUSES:
            raise
        raise UsageError(f"the lake has no {what}", remedy=remedy) from None


def local_path(path: str | os.PathLike[str]) -> str:
    """An absolute path; `~` is the home folder. Raises UsageError for an empty one."""
    if not os.fspath(path):
        raise UsageError("'' names no file or folder", remedy="Give its path; '.' is the folder one stands in.")
    return os.path.abspath(os.path.expanduser(path))


@dataclass(slots=True)
class EngineRun:
    """What a run of the engine told. `look` may refuse the plan, by an exception, before anything is done."""

    progress: ProgressCallback | None
    look: Callable[[Plan], None] = lambda _: None
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
                self.unchanged = event.plan.summary().unchanged
            case Progress():
                self.bytes_moved = event.bytes_sent
                if self.progress is not None:
                    self.progress(event)
            case _:
                pass

    @property
    def failed(self) -> tuple[FailedItem, ...]:
        """What was not done: actions that failed, and what a source says that can't be used."""
        items = [
            FailedItem(event.action.file_name or event.action.action_name, event.error, event.retryable)
            for event in self.failures
        ]
        return (*items, *unusable_items(self.notes))


def unusable_items(notes: Iterable[Note]) -> list[FailedItem]:
    """What was left out because its source can't be used, as failures."""
    return [FailedItem(note.where, note.message, retryable=False) for note in notes if note.code in UNUSABLE]


class Connected:
    """Opens the lake at once and closes it with `close`, or as a context manager.

    `url`: https://… or embedded:DIR. `ca_file`: CAs to trust besides the usual ones. `allow_insecure`: take http:// to
    another machine. `allow_local_store`: let a lake elsewhere give addresses of stores on this machine or its own link.
    `generation`: the generation of the lake's protocol; auto finds out. `ignore_compatibility`: go on
    where the lake says that it is not compatible. `waiting`: receives a sentence, from any thread, while a lake that is
    away is asked again, and where the lake does not confirm that it is compatible.
    Raises UsageError for an address or credentials that can't be meant, CredentialsRefused, LakeUnreachable.
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
                f"Python reads file names as {sys.getfilesystemencoding()}, in which they would get other names in the"
                " lake",
                remedy="Set LC_ALL=C.UTF-8 or PYTHONUTF8=1 before Python starts.",
            )
        if not url.startswith(EMBEDDED) and not (api_key and secret):
            raise UsageError("the lake needs an API key and a secret", where=url, remedy="Give both.")
        self._stack = contextlib.ExitStack()
        # A caller who asks for a replacement names the files, so that no limit is needed.
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
        """Close the connection; an embedded lake is stopped. Everything is kept."""
        self._open_client = None
        self._stack.close()

    @property
    def _client(self) -> LakeClient:
        if self._open_client is None:
            raise UsageError("the connection is closed", remedy="Make a new MetaLake.")
        return self._open_client

    # The engine.

    @contextlib.contextmanager
    def _engine(
        self, document: Mapping[str, Any], run: EngineRun, *, source: str, state: Path | None = None
    ) -> Iterator[Project]:
        """The engine of `apply`, on a manifest that is made for one call. `state`: None is one that is forgotten."""
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
            file = state if state is not None else scratch / "call.db"
            yield Project(manifest, self._options, run, file, reached=self._reached)

    # Collections.

    def find_collection(self, name: str, content_type: ContentType | None = None) -> CollectionInfo:
        """The collection of that name. Without a type, of whatever type it is.

        Raises UsageError if there is none, or several and no type is given.
        """
        place = find_place(self._client, name, type_of(content_type) if content_type else None)
        if place is None or place.collection_id is None:
            kind = f" of type {content_type}" if content_type else ""
            raise UsageError(f"the lake has no collection '{name}'{kind}", remedy="Check the name.")
        return CollectionInfo(place.collection_id, name, place.type)


def never(_: Plan) -> bool:
    """What is not asked for is not approved."""
    return False


def only_replaces(plan: Plan) -> bool:
    """The caller asked for files to be replaced, and for nothing else to be taken away."""
    return all(isinstance(action, ReplaceFile) for action in plan.actions() if action.needs_approval)
