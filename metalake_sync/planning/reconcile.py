"""Reconciles what differs in a collection: brings desired, recorded and remote file together for the decision.

Owns: which three belong together, for which files sets and metadata are read from the lake before (`lake_sets`,
`lake_metadata`), which set actions a run with a scope leaves to the next full run, and the notes on these files. Must
not: decide what becomes of a file. `core.diff.compare` does, and its decisions go into the plan. Longer than 300
lines, because which three belong together is one question for all kinds of files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metalake_sync.core.actions import Action, Annotate, RemoveAnnotations, UploadFile
from metalake_sync.core.changes import Reason
from metalake_sync.core.diff import CollectionRules, FileDecision, Gone, compare
from metalake_sync.core.notes import Note, NoteCode, counted, some_of
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.core.snapshots import DesiredFile, Origin, RecordedFile, RemoteFile
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.change_detection import Candidate, ScanResult
from metalake_sync.planning.desired import DesiredCollection, desired_as_recorded
from metalake_sync.planning.file_inspection import FileInspector
from metalake_sync.planning.lake_listing import LakeView
from metalake_sync.planning.lake_metadata import ChangedMetadata, read_changed_metadata
from metalake_sync.planning.lake_sets import LakeSetComparer, SetReader

if TYPE_CHECKING:
    from metalake_sync.planning.full_refresh import FullRefreshResult


@dataclass(slots=True)
class Reconciler:
    """Reconciles one collection. The decisions go into `plan`."""

    rules: CollectionRules
    plan: CollectionPlan
    desired: DesiredCollection
    view: LakeView
    inspector: FileInspector
    refreshed: FullRefreshResult | None
    """What a full refresh found. None without one."""
    elsewhere: Set[str] = frozenset()
    """Operations that also have sets of unmanaged files."""
    notes: list[Note] = field(default_factory=list)
    matched: int = 0
    """How many of the lake's files are wanted or recorded."""
    recorded: int = 0
    """How many recorded files were reconciled."""
    lake_matches_records: bool = True
    """Whether the lake has every recorded file under its recorded id."""
    _hiding_folders: dict[str, str | None] = field(default_factory=dict)

    def reconcile(self, found: ScanResult) -> None:
        """Compare the candidates, the vanished files, and the files that a full refresh found to differ."""
        self.matched += found.matched
        known_files = {
            name: known for name, known in self.inspector.records_of(found).items() if not self._lost_its_place(known)
        }
        gone = self.inspector.records(found.gone)
        renames = self.inspector.renames(found.candidates, known_files, gone)
        hashes = self.inspector.hashes([file for file in found.candidates if file.name in known_files], known_files)
        remotes = self._adoptable(found.candidates, known_files)
        uploaded_again = self.inspector.uploaded_again(self.view, found.candidates, known_files, hashes)
        differing = dict(self.refreshed.differing) if self.refreshed else {}
        with_sets = self._read_sets(found.candidates, known_files, hashes, remotes)
        with_metadata = self._read_metadata(found.candidates, known_files, hashes, differing)
        for candidate in found.candidates:
            known = known_files.get(candidate.name)
            remote = remotes.get(candidate.name)
            lake_pair = differing.pop(candidate.name, None)
            if known is not None:
                remote = lake_pair[1] if lake_pair is not None else self.view.of_recorded(known)
                if remote is not None and candidate.name in uploaded_again:
                    seen = uploaded_again[candidate.name]
                    remote = seen if lake_pair is None else replace(remote, same_bytes=seen.same_bytes)
            if remote is not None and candidate.name in with_sets:
                seen = with_sets[candidate.name]
                remote = replace(remote, sets=seen.sets, sets_read=seen.sets_read)
            if remote is not None and candidate.name in with_metadata:
                remote = replace(remote, metadata=with_metadata[candidate.name])
            self._count(known, remote)
            content = hashes.get(candidate.name)
            if known is not None and content is None:
                # The file can't be read now: leave it as it is. The inspector has noted it.
                continue
            file = _desired_file(candidate, content)
            decision = compare(self.rules, file, known, remote, renamed_from=renames.get(candidate.name))
            if not any(isinstance(action, UploadFile) for action in decision.actions):
                # The lake already has a file of the new name, so these bytes are not uploaded there.
                renames.pop(candidate.name, None)
            self._take(decision, wanted=True)
        self._reconcile_gone(gone, renames, found.named_now)
        for known in gone:
            differing.pop(known.name, None)
        self._reconcile_drifted(differing.values())
        self.notes += self.inspector.notes

    def _lost_its_place(self, known: RecordedFile) -> bool:
        """Whether another file has taken the place of an adopted one in the lake.

        We wrote nothing to the new file, so it is treated like a file without a record.
        """
        if known.origin is not Origin.ADOPTED:
            return False
        remote = self.view.of_recorded(known)
        replaced = remote is not None and remote.lake_id != known.lake_id
        self.lake_matches_records = self.lake_matches_records and not replaced
        return replaced

    def _adoptable(
        self, candidates: Sequence[Candidate], recorded: Mapping[str, RecordedFile]
    ) -> Mapping[str, RemoteFile]:
        inspector = self.inspector
        policy = self.rules.policy
        remotes = inspector.adoptable(self.view, candidates, recorded, ask=policy.adopt != "never")
        if policy.adopt == "match":
            remotes = inspector.with_proofs(remotes, candidates)
        elif policy.adopt == "take_over" and policy.on_change == "replace":
            remotes = inspector.with_proofs(remotes, candidates, unproven=False)
        return remotes

    def _read_sets(
        self,
        candidates: Sequence[Candidate],
        recorded: Mapping[str, RecordedFile],
        hashes: Mapping[str, str],
        adoptable: Mapping[str, RemoteFile],
    ) -> dict[str, RemoteFile]:
        """Read the sets of files whose sets may be overwritten. Returns the lake's files with these sets, by name.

        A full refresh has read the sets of recorded files already.
        """
        inspector = self.inspector
        if inspector.client is None:
            return {}
        if not self.rules.operations and not any(known.annotations for known in recorded.values()):
            return {}
        files: dict[str, tuple[RecordedFile | None, RemoteFile]] = {
            name: (None, remote) for name, remote in adoptable.items()
        }
        for name, known in recorded.items() if self.refreshed is None else ():
            remote = self.view.of_recorded(known)
            same_bytes = hashes.get(name) == known.content_hash
            if remote is None or remote.lake_id != known.lake_id:
                continue
            if same_bytes or self.rules.policy.on_change != "replace":
                files[name] = (known, remote)
        reader = SetReader(
            inspector.client,
            self.view,
            self.rules,
            LakeSetComparer(self.desired, inspector.state, inspector.handle, inspector.base_dir),
            inspector.emit,
            self.elsewhere,
        )
        read = reader.read(candidates, files)
        self.notes += reader.notes
        return read

    def _read_metadata(
        self,
        candidates: Sequence[Candidate],
        recorded: Mapping[str, RecordedFile],
        hashes: Mapping[str, str],
        differing: Mapping[str, tuple[RecordedFile, RemoteFile]],
    ) -> dict[str, dict[str, Any]]:
        """Return the lake's metadata of recorded files whose metadata is about to change, by name.

        `differing`: files that a full refresh found to differ, by name.
        """
        inspector, policy = self.inspector, self.rules.policy
        if inspector.client is None or policy.metadata_override:
            return {}
        changed: list[ChangedMetadata] = []
        for candidate in candidates:
            known = recorded.get(candidate.name)
            if known is None or known.origin is not Origin.UPLOADED:
                continue
            if candidate.metadata.digest == known.metadata_digest:
                continue
            if hashes.get(candidate.name) != known.content_hash and policy.on_change == "replace":
                continue
            remote = differing[known.name][1] if known.name in differing else self.view.of_recorded(known)
            if remote is not None and remote.lake_id == known.lake_id:
                before = self.rules.written(known.metadata_digest) or {}
                changed.append(ChangedMetadata(remote, before, candidate.metadata))
        if not changed:
            return {}
        threads = inspector.options.calls_at_once
        read, notes = read_changed_metadata(inspector.client, self.rules.key, changed, threads)
        self.notes += notes
        return read

    def _reconcile_gone(
        self, gone: Sequence[RecordedFile], renames: Mapping[str, str], named_now: Mapping[str, str | None]
    ) -> None:
        new_names = {**named_now, **{old: new for new, old in renames.items()}}
        filtered: list[str] = []
        for known in gone:
            remote = self.view.of_recorded(known)
            self._count(known, remote)
            path = os.path.join(self.inspector.base_dir, known.path)
            out = known.name not in named_now and self.desired.covers(known.path) and os.path.lexists(path)
            if out and remote is not None:
                filtered.append(known.name)
            hidden_by = self._hidden_by(known.path) if not out and known.name not in named_now else None
            why = Gone(out, new_names.get(known.name), hidden_by)
            self._take(compare(self.rules, None, known, remote, gone=why), wanted=False)
        if filtered:
            files = counted(len(filtered), "file is", "files are")
            message = f"{files} on disk, but the patterns exclude them now: {some_of(filtered)}"
            self.notes.append(Note(NoteCode.FILTERED_OUT, message, self.desired.key.name))

    def _hidden_by(self, path: str) -> str | None:
        """The folder below a source that may hide a missing file: an empty one, as an unmounted disk leaves it, or an
        unreadable one. None if the file is really gone. `path`: from the manifest's folder."""
        folder = os.path.dirname(path)
        if folder not in self._hiding_folders:
            source = next((one for one in self.desired.folders if one.relative(path) is not None), None)
            self._hiding_folders[folder] = (
                None if source is None else _hiding_folder(self.inspector.base_dir, folder, source.path)
            )
        return self._hiding_folders[folder]

    def _reconcile_drifted(self, differing: Iterable[tuple[RecordedFile, RemoteFile]]) -> None:
        """Reconciler files that are here as they were recorded, and differ in the lake."""
        for known, remote in differing:
            decision = compare(self.rules, desired_as_recorded(self.rules, known), known, remote)
            decision = replace(decision, actions=tuple(filter(self._is_current, decision.actions)))
            if decision.actions or decision.notes:
                # Change detection has counted it as unchanged.
                self.plan.unchanged -= 1
                self._take(decision, wanted=True)

    def _is_current(self, action: Action) -> bool:
        """False for an action on a recorded set that the source has changed since. The candidate's own comparison
        sends the changed set."""
        if not isinstance(action, Annotate | RemoveAnnotations):
            return True
        index = self.desired.annotations.get(action.annotations.operation)
        image = index.images().get(action.at.name) if index is not None else None
        if isinstance(action, Annotate):
            return image is not None and image.digest == action.annotations.digest
        return not image.shape_count if image is not None else index is None or index.mode == "replace"

    def _take(self, decision: FileDecision, *, wanted: bool) -> None:
        if self.inspector.options.scope is not None:
            decision = replace(decision, actions=tuple(filter(self._may_send, decision.actions)))
        self.plan.take(decision, wanted=wanted)
        self.notes += decision.notes

    def _may_send(self, action: Action) -> bool:
        """False for a changed set in a run that covers only some folders. Such a run does not read the lake's sets, so
        the next run over all sources compares the set and sends it."""
        if not isinstance(action, Annotate | RemoveAnnotations) or action.at.unique_name is None:
            return True
        if action.reason is not Reason.ANNOTATIONS_CHANGED:
            return True
        policy = self.rules.operations.get(action.annotations.operation)
        return policy is not None and policy.on_drift == "overwrite"

    def _count(self, known: RecordedFile | None, remote: RemoteFile | None) -> None:
        self.matched += remote is not None
        self.recorded += known is not None
        if known is not None and (remote is None or remote.lake_id != known.lake_id):
            self.lake_matches_records = False


def _hiding_folder(base_dir: Path, folder: str, root: str) -> str | None:
    """The nearest existing folder from `folder` upwards, if it is empty or unreadable.

    `root`: where to stop. A guard has stopped the run before if the source itself is empty.
    """
    while folder not in (root, ""):
        place = os.path.join(base_dir, folder)
        try:
            with os.scandir(place) as entries:
                return None if next(entries, None) is not None else folder
        except FileNotFoundError:
            if os.path.lexists(place):
                return folder  # A broken symbolic link.
        except NotADirectoryError:
            return None
        except OSError:
            return folder
        folder = os.path.dirname(folder)
    return None


def _desired_file(candidate: Candidate, content_hash: str | None) -> DesiredFile:
    return DesiredFile(
        candidate.name,
        candidate.path,
        candidate.fingerprint,
        candidate.metadata,
        content_hash,
        candidate.annotations,
    )
