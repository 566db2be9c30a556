"""`Project`: a manifest with its state and its lake, for orchestrators, notebooks and other programs.

Owns: the arguments of these calls, and how a program approves and cancels a run. Must not: print, end the process, or
decide what becomes of a file. Longer than 300 lines, because each method states its arguments and errors for users.
"""

from __future__ import annotations

import os
import queue
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import SecretStr

from metalake_sync.api.connected import local_path
from metalake_sync.api.objects import with_files
from metalake_sync.api.project_values import (
    Approve,
    OnEvent,
    ProjectEvent,
    ProjectListener,
    ProjectPlan,
    apply_result,
    approval_of,
    given_plan,
    plan_of,
)
from metalake_sync.api.results import ApplyResult, SomeFailed
from metalake_sync.core.approved_plan import ApprovedPlan
from metalake_sync.core.diff_sets import ConflictDecision, OnDrift, SetKey
from metalake_sync.core.events import (
    Event,
)
from metalake_sync.core.guards import MaxDelete
from metalake_sync.core.plan import Plan
from metalake_sync.documents.saved_plan_files import load_plan, manifest_of
from metalake_sync.engine import Engine
from metalake_sync.errors import UsageError
from metalake_sync.manifest import Manifest, compose_manifest, load_manifest
from metalake_sync.planning.run_options import Refresh, RunOptions
from metalake_sync.sources.scratch import explained

if TYPE_CHECKING:
    from metalake_sync.operations.drift import Checked
    from metalake_sync.operations.state import Status
    from metalake_sync.state.runs import RunRow


class Project:
    """A manifest with its state and its lake: what the command line does with a manifest, as methods.

    Make one with `Project.load("birds.yaml")`, or from a manifest that the program builds, as a `Manifest` or a
    dictionary: `Project({"version": 1, "name": "birds", "remote": {...}, "collections": [...]}, base_dir="data")`. In a
    dictionary, the `source` of annotations and metadata may also be objects (`api.objects`).

    `base_dir`: the folder where relative paths start, the state among them. `state`: a file or a URL, in place of the
    manifest's. `on_event`: called with each event of a run, in the thread of the call (calls that are retried: in any
    thread). `parallelism`: the number of files in transfer; None adapts it. `bytes_per_second`: None for no limit.
    `retry_for_s`: seconds to keep retrying a lake that is unreachable at the start.

    Each method opens the lake and the state and closes them again, so a Project needs no closing. All methods may be
    called from several threads. Runs that change the lake exclude each other by the state's lock, in this process and
    others: StateLocked.

    Every method raises LakeUnreachable, CredentialsRejected, ManifestErrors and StateError in addition to the errors in
    its own documentation. All of them are SyncErrors (`metalake_sync.errors`).
    """

    _folder: Path | None = None

    def __init__(
        self,
        manifest: Manifest | Mapping[str, Any],
        *,
        base_dir: str | os.PathLike[str] = ".",
        state: str | os.PathLike[str] | None = None,
        on_event: OnEvent | None = None,
        parallelism: int | None = None,
        bytes_per_second: float | None = None,
        retry_for_s: float | None = None,
    ) -> None:
        document = _as_written(manifest) if isinstance(manifest, Manifest) else with_files(manifest, self._made_files)
        name = document.get("name")
        if not name:
            raise UsageError("the manifest has no 'name'", remedy="Add one: it names the state.")
        loaded = compose_manifest(document, name=str(name), base_dir=Path(local_path(base_dir)), source=str(name))
        loaded = replace(loaded, values_in=self._folder)
        options = RunOptions(parallelism=parallelism, bytes_per_second=bytes_per_second, retry_for_s=retry_for_s)
        self._set_up(Engine(loaded, options, _ignore, _state_given(state)), on_event)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        variables: Mapping[str, str] | None = None,
        state: str | os.PathLike[str] | None = None,
        on_event: OnEvent | None = None,
        parallelism: int | None = None,
        bytes_per_second: float | None = None,
        retry_for_s: float | None = None,
    ) -> Self:
        """Read a manifest: a file, or a folder of `*.yaml`. `variables` override the environment.

        Raises ManifestErrors with every error and its place.
        """
        loaded = load_manifest(local_path(path), variables=variables, environment=os.environ)
        options = RunOptions(parallelism=parallelism, bytes_per_second=bytes_per_second, retry_for_s=retry_for_s)
        made = cls.__new__(cls)
        made._set_up(Engine(loaded, options, _ignore, _state_given(state)), on_event)
        return made

    def _made_files(self) -> Path:
        """Return the folder for sources that are objects. It is deleted together with the Project."""
        if self._folder is None:
            with explained():
                self._folder = Path(tempfile.mkdtemp(prefix="metalake-sync-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder

    def _set_up(self, engine: Engine, on_event: OnEvent | None) -> None:
        self._engine = engine
        self._on_event = on_event

    def __repr__(self) -> str:
        return f"Project({self.manifest_path!r})"

    @property
    def name(self) -> str:
        """The manifest's name, which names the state."""
        return self._engine.manifest.name

    @property
    def manifest_path(self) -> str:
        """The manifest's path, or its name if a program built it."""
        return self._engine.manifest.source

    @property
    def manifest(self) -> Manifest:
        """The manifest, with variables replaced. It may contain credentials."""
        return self._engine.manifest.model

    def validate(self, *, online: bool = False) -> ProjectPlan:
        """Check the manifest, its files, patterns and sources. `online`: also ask the lake about tags and fields.

        Returns the plan of a first apply, for its counts and warnings. Raises ManifestErrors.
        """
        engine = self._observed(RunOptions())
        return plan_of(engine.validate(online=online), engine)

    def plan(
        self,
        *,
        refresh: Refresh = "list",
        checksum: bool = False,
        targets: tuple[str, ...] | list[str] = (),
        excludes: tuple[str, ...] | list[str] = (),
        max_delete: int | str | None = None,
        decisions: Mapping[tuple[str, str, str], OnDrift] | None = None,
    ) -> ProjectPlan:
        """Make a plan. Changes nothing in the lake and the sources.

        `refresh`: what to read from the lake; `none`: nothing, `list`: names and ids, `full`: also sizes, metadata and
        shapes. `checksum`: hash every file. `targets`: `COLLECTION` or `COLLECTION/GLOB`; empty: everything.
        `excludes`: in the same form, what is left out. `max_delete`: how many files the plan may trash or replace, as a
        number or a share such as "10%". `decisions`: what to do about a conflict with another client, in place of the
        manifest's `on_drift`. A key has the collection (of an unmanaged file: the address, as the plan has it), the
        file and the operation; a value is "ask", "keep", "merge" or "overwrite".
        """
        return self._plan(self._observed(self._options(refresh, checksum, targets, excludes, max_delete, decisions)))

    def plan_revert(self, run_id: str) -> ProjectPlan:
        """Make the plan that brings back the metadata and annotation sets that the lake had before a run.

        `run_id`: as `history` returns it. Raises UsageError for an unknown run.
        """
        from metalake_sync.operations.revert import reverting

        return self._plan(reverting(self._observed(RunOptions()), run_id), revert=run_id)

    def _plan(self, engine: Engine, *, revert: str | None = None) -> ProjectPlan:
        with engine.plan() as planned:
            return plan_of(planned.plan, engine, revert)

    def apply(
        self,
        plan: ProjectPlan | str | os.PathLike[str] | None = None,
        *,
        approve: Approve = False,
        check: bool = True,
        cancelled: Callable[[], bool] | None = None,
        on_event: OnEvent | None = None,
        lock_timeout_s: float = 0.0,
        refresh: Refresh = "list",
        checksum: bool = False,
        targets: tuple[str, ...] | list[str] = (),
        excludes: tuple[str, ...] | list[str] = (),
        max_delete: int | str | None = None,
        decisions: Mapping[tuple[str, str, str], OnDrift] | None = None,
    ) -> ApplyResult:
        """Make the lake match the manifest.

        `plan`: of `plan` or `plan_revert`, or the file of a saved plan. It counts as approved. It is carried out
        unchanged, or not at all if anything that it depends on has changed (GuardStopped). Without it, a new plan is
        made with the last six arguments, which are those of `plan`.

        `approve`: whether a new plan that trashes, replaces, removes or overwrites anything may be carried out, or a
        function that decides. `check`: raise SomeFailed if items failed; the others are done. `cancelled`: asked a few
        times a second, from any thread; the run ends with Interrupted when it returns True. What was finished is
        recorded. `on_event`: in place of the project's. `lock_timeout_s`: seconds to wait for another run's lock.

        Raises GuardStopped, StateLocked, SomeFailed and Interrupted.
        """
        engine = self._observed(
            self._options(refresh, checksum, targets, excludes, max_delete, decisions), on_event, cancelled
        )
        allow: Callable[[Plan], bool]
        if plan is None:
            if callable(approve):
                decide = approve
                allow = lambda made: approval_of(decide(plan_of(made, engine)))  # noqa: E731
            else:
                given = approval_of(approve)
                allow = lambda _: given  # noqa: E731
            return self._apply(engine, allow, None, "apply", lock_timeout_s, check)
        engine, approved, destructive, revert = self._given(plan, engine)
        command = f"revert {revert}" if revert is not None else "apply"
        return self._apply(engine, lambda _: destructive, approved, command, lock_timeout_s, check)

    def _given(
        self, plan: ProjectPlan | str | os.PathLike[str], engine: Engine
    ) -> tuple[Engine, ApprovedPlan, bool, str | None]:
        """Return the engine that makes the same plan again, and what was approved."""
        from metalake_sync.operations.revert import reverting

        options = engine.options
        if isinstance(plan, ProjectPlan):
            made_with, approved, revert = given_plan(plan)
            options = replace(made_with, is_cancelled=options.is_cancelled)
            destructive = plan.destructive
        else:
            path = local_path(plan)
            saved = load_plan(path)
            found = manifest_of(saved, path)
            if not _same_file(found, self.manifest_path):
                raise UsageError(
                    f"the plan was made of {found}, not of {self.manifest_path}",
                    where=path,
                    remedy="Load the plan's manifest.",
                )
            options = saved.with_options(options)
            approved, destructive, revert = saved.approved(), saved.destructive, saved.revert
        engine = replace(engine, options=replace(options, targets_may_miss=True))
        return (engine if revert is None else reverting(engine, revert)), approved, destructive, revert

    def apply_events(
        self, plan: ProjectPlan | str | os.PathLike[str] | None = None, **arguments: Any
    ) -> Generator[ProjectEvent, None, ApplyResult]:
        """Like `apply`, as an iterator over the events of the run, which happens in a thread.

        Closing the iterator, such as by leaving its `for` loop, cancels the run and waits for its end.
        """
        events: queue.SimpleQueue[ProjectEvent | None] = queue.SimpleQueue()
        closed = threading.Event()
        asked = arguments.pop("cancelled", None)

        def cancelled() -> bool:
            return closed.is_set() or (asked is not None and asked())

        with ThreadPoolExecutor(1, thread_name_prefix="metalake-sync apply") as pool:
            run = pool.submit(self.apply, plan, cancelled=cancelled, on_event=events.put, **arguments)
            run.add_done_callback(lambda _: events.put(None))
            try:
                while (event := events.get()) is not None:
                    yield event
            except GeneratorExit:
                closed.set()
                raise
            return run.result()

    def pull(
        self,
        *,
        check: bool = True,
        cancelled: Callable[[], bool] | None = None,
        on_event: OnEvent | None = None,
        lock_timeout_s: float = 0.0,
    ) -> ApplyResult:
        """Carry out the manifest's downloads only. Arguments and errors are those of `apply`."""
        engine = replace(self._observed(self._engine.options, on_event, cancelled), downloads_only=True)
        return self._apply(engine, lambda _: False, None, "pull", lock_timeout_s, check)

    def status(self) -> Status:
        """Return what is synced, pending and failed, and the last runs. Makes no call to the lake."""
        from metalake_sync.operations.state import read_status

        return read_status(self._observed(replace(self._engine.options, refresh="none")))

    def history(self, limit: int = 20) -> list[RunRow]:
        """Return the last runs, newest first."""
        from metalake_sync.operations.state import require_state
        from metalake_sync.state.store import StateStore

        require_state(self._engine)
        with StateStore(self._engine.state_backend) as state:
            return list(state.runs.last(limit))

    def drift(self, *, targets: tuple[str, ...] | list[str] = ()) -> ProjectPlan:
        """Compare the lake with what was last applied, in full. Returns the plan that would undo the differences."""
        from metalake_sync.operations.drift import find_drift

        engine = self._observed(self._options("full", False, targets, (), None))
        return plan_of(find_drift(engine), engine)

    def check(self, *, download: bool = False, targets: tuple[str, ...] | list[str] = ()) -> Checked:
        """Verify that the lake has each synced file with the right size. `download`: also compare the bytes."""
        from metalake_sync.operations.drift import check

        return check(self._observed(self._options("list", False, targets, (), None)), download=download)

    def _options(
        self,
        refresh: Refresh,
        checksum: bool,
        targets: tuple[str, ...] | list[str],
        excludes: tuple[str, ...] | list[str],
        max_delete: int | str | None,
        decisions: Mapping[tuple[str, str, str], OnDrift] | None = None,
    ) -> RunOptions:
        limit = MaxDelete() if max_delete is None else MaxDelete.parse(str(max_delete))
        if limit is None:
            raise UsageError(f"max_delete={max_delete!r} is not a limit", remedy="Pass a number of files, or '10%'.")
        return replace(
            self._engine.options,
            refresh=refresh,
            checksum=checksum,
            targets=tuple(targets),
            excludes=tuple(excludes),
            max_delete=limit,
            decisions={SetKey(*key): ConflictDecision(on_drift) for key, on_drift in (decisions or {}).items()},
        )

    def _observed(
        self, options: RunOptions, on_event: OnEvent | None = None, cancelled: Callable[[], bool] | None = None
    ) -> Engine:
        """Return the engine with the listener and the options of one call."""
        emit = ProjectListener(on_event or self._on_event, cancelled)
        return replace(self._engine, options=replace(options, is_cancelled=cancelled), emit=emit)

    def _apply(
        self,
        engine: Engine,
        approve: Callable[[Plan], bool],
        approved: ApprovedPlan | None,
        command: str,
        lock_timeout_s: float,
        check: bool,
    ) -> ApplyResult:
        command = f"{command} {engine.manifest.source}"
        if engine.downloads_only:
            applied = engine.pull(lock_timeout_s=lock_timeout_s, command=command)
        else:
            applied = engine.apply(approve, lock_timeout_s=lock_timeout_s, command=command, approved=approved)
        engine.emit(applied.finished)
        result = apply_result(applied)
        if check and result.failed:
            raise SomeFailed(result.failed, result)
        return result


def project_of(engine: Engine) -> Project:
    """Return the project of a manifest that another package of metalake-sync opened."""
    project = Project.__new__(Project)
    project._set_up(engine, None)
    return project


def _as_written(manifest: Manifest) -> dict[str, Any]:
    """Return the values that a manifest was made of, without defaults."""
    written: dict[str, Any] = _plain(manifest.model_dump(by_alias=True, exclude_unset=True))
    return written


def _plain(value: Any) -> Any:
    """Return a value of a model as YAML would give it."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _ignore(_: Event) -> None:
    pass


def _state_given(state: str | os.PathLike[str] | None) -> str | None:
    return None if state is None else os.fspath(state)


def _same_file(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
