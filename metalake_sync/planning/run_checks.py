"""Runs every check of the manifest on one plan, or on all sources.

Owns: the translation of `checks` into the checks that run, and the order of findings. Must not: know how a check finds
something (`source_checks`, `duplicate_checks`, `label_checks`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Literal

from metalake_sync.core.actions import Annotate, RemoveAnnotations
from metalake_sync.core.addresses import Place
from metalake_sync.core.checks import Finding, Level
from metalake_sync.core.events import EventSink
from metalake_sync.core.plan import AddressedPlan, CollectionPlan
from metalake_sync.core.snapshots import CollectionKey
from metalake_sync.errors import ManifestError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest import LoadedManifest
from metalake_sync.manifest.check_models import Checks
from metalake_sync.planning.desired import key_of
from metalake_sync.planning.label_checks import (
    CheckedSets,
    changed_sets,
    moved_shares,
    shapes_outside,
    unknown_labels,
)
from metalake_sync.planning.source_checks import ByteChecks, FileToCheck, files_to_send
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.annotations.index import AnnotationIndex


@dataclass(frozen=True, slots=True)
class CheckRun:
    """The checks of one manifest."""

    manifest: LoadedManifest
    checks: Checks
    state: StateStore
    handles: Mapping[CollectionKey, CollectionHandle]
    """The recorded collections."""
    threads: int
    emit: EventSink
    started_at_ns: int
    """When the sources were scanned, in nanoseconds since the epoch."""

    def of_plan(
        self,
        plans: Sequence[CollectionPlan],
        addressed: Sequence[AddressedPlan],
        indexes: Mapping[tuple[Place, str], AnnotationIndex],
    ) -> tuple[Finding, ...]:
        """Check what plans send. `indexes`: the annotation sources by place and operation. Raises ManifestError."""
        leaving = {plan.key: {action.recorded.name for action in plan.trash} for plan in plans}
        actions = [action for plan in plans for action in plan.annotations]
        elsewhere = (action for part in addressed for action in part.actions)
        actions += [action for action in elsewhere if isinstance(action, Annotate | RemoveAnnotations)]
        sets = changed_sets(actions, indexes, self.handles) if self._checks_sets else []
        return (*self.of_files(files_to_send(plans), leaving), *self.of_sets(sets))

    def of_files(
        self, files: Sequence[FileToCheck], leaving: Mapping[CollectionKey, Set[str]] | None = None
    ) -> Iterator[Finding]:
        """Yield findings about files.

        `leaving`: recorded files that the plan trashes, by collection. None: all files of the manifest are among
        `files`, so that records do not count.
        """
        base_dir = str(self.manifest.base_dir)
        yield from ByteChecks(self.checks.images, base_dir, self.state.readings, self.threads, self.emit).run(files)
        duplicates, leak = _on(self.checks.duplicates), _on(self.checks.split_leak.level)
        if duplicates is None and leak is None:
            return
        # Imported here, because most plans do not compare the bytes of files: saves start-up time.
        from metalake_sync.planning.duplicate_checks import DuplicateChecks

        yield from DuplicateChecks(
            duplicates,
            leak,
            self._lists() if leak is not None else (),
            base_dir,
            self.state,
            self.handles if leaving is not None else {},
            self.threads,
            self.emit,
            self.started_at_ns,
        ).run(files, leaving or {})

    def of_sets(self, changed: Sequence[CheckedSets]) -> Iterator[Finding]:
        """Yield findings about annotation sets."""
        labels = self.checks.labels
        level, boxes = _on(labels.level), _on(self.checks.boxes)
        for sets in changed:
            if level is not None and labels.allow is not None:
                yield from unknown_labels(sets, frozenset(labels.allow), level)
            if boxes is not None:
                yield from shapes_outside(sets, boxes)
            if level is not None and labels.max_share_change is not None:
                yield from moved_shares(sets, self.state, labels.max_share_change, level)

    @property
    def _checks_sets(self) -> bool:
        labels = self.checks.labels
        of_labels = labels.allow is not None or labels.max_share_change is not None
        return self.checks.boxes != "off" or (labels.level != "off" and of_labels)

    def _lists(self) -> list[list[CollectionKey]]:
        """The lists of collections that must not share an image. Raises ManifestError for an unknown name."""
        keys = list(map(key_of, self.manifest.collections))
        lists: list[list[CollectionKey]] = []
        for number, names in enumerate(self.checks.split_leak.collections):
            for position, name in enumerate(names):
                if all(key.name != name for key in keys):
                    raise ManifestError(
                        f"'{name}' is not a collection of the manifest",
                        where=self.manifest.where("checks", "split_leak", "collections", number, position),
                        remedy="Correct the name, or remove it.",
                    )
            lists.append([key for key in keys if key.name in names])
        return lists or [[key for key in keys if key.type is one] for one in dict.fromkeys(key.type for key in keys)]


def _on(level: Literal["off", "warn", "error"]) -> Level | None:
    return None if level == "off" else level
