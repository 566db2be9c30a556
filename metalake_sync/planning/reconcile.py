"""Everything of a collection that the march left open, held against the truth table.

Owns: which rows meet. Must not: decide (`core.diff`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from metalake_sync.core.actions import Action, Annotate, RemoveAnnotations, UploadFile
from metalake_sync.core.diff import CollectionRules, Gone, Verdict, compare
from metalake_sync.core.drift import desired_as_recorded
from metalake_sync.core.notes import Note, NoteCode, counted, some_of
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.core.snapshots import DesiredFile, Origin, RecordedFile, RemoteFile
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.desired import DesiredCollection
from metalake_sync.planning.inspect_files import CloseLook
from metalake_sync.planning.lake_listing import LakeView
from metalake_sync.planning.march import Candidate, MarchResult
from metalake_sync.planning.sets_of_others import recognise_sets

if TYPE_CHECKING:
    from metalake_sync.planning.full_refresh import FullLook


@dataclass(slots=True)
class Judge:
    """Judges one collection; verdicts go into `plan`. `look`: what a full refresh found, None without one.

    `matched`: how many of the lake's files are wanted or recorded, `recorded` those of them that were met in the
    records. `in_step`: the lake has every recorded file, as the one that was recorded.
    """

    rules: CollectionRules
    plan: CollectionPlan
    desired: DesiredCollection
    view: LakeView
    closely: CloseLook
    look: FullLook | None
    notes: list[Note] = field(default_factory=list)
    matched: int = 0
    recorded: int = 0
    in_step: bool = True
    _hiding: dict[str, str | None] = field(default_factory=dict)

    def judge(self, found: MarchResult) -> None:
        """Compare candidates, what is gone, and what a full refresh found to differ."""
        self.matched += found.matched
        known_files = {
            name: known for name, known in self.closely.records_of(found).items() if not self._gave_way(known)
        }
        gone = self.closely.records(found.gone)
        renames = self.closely.renames(found.candidates, known_files, gone)
        hashes = self.closely.hashes([file for file in found.candidates if file.name in known_files], known_files)
        remotes = self._adoptable(found.candidates, known_files)
        anew = self.closely.uploaded_anew(self.view, found.candidates, known_files, hashes)
        suspects = dict(self.look.suspects) if self.look else {}
        for candidate in found.candidates:
            known = known_files.get(candidate.name)
            remote = remotes.get(candidate.name)
            suspect = suspects.pop(candidate.name, None)
            if known is not None:
                remote = suspect[1] if suspect is not None else self.view.of_recorded(known)
                if remote is not None and candidate.name in anew:
                    seen = anew[candidate.name]
                    remote = seen if suspect is None else replace(remote, same_bytes=seen.same_bytes)
            self._meet(known, remote)
            content = hashes.get(candidate.name)
            if known is not None and content is None:
                # It can't be read now, so it is unknown: left as it is, and noted.
                continue
            file = _desired_file(candidate, content)
            verdict = compare(self.rules, file, known, remote, renamed_from=renames.get(candidate.name))
            if not any(isinstance(action, UploadFile) for action in verdict.actions):
                # The lake has a file of the new name already: nothing brings these bytes there.
                renames.pop(candidate.name, None)
            self._take(verdict, wanted=True)
        self._judge_gone(gone, renames, found.named_now)
        for known in gone:
            suspects.pop(known.name, None)
        self._judge_drifted(suspects.values())
        self.notes += self.closely.notes

    def _gave_way(self, known: RecordedFile) -> bool:
        """Whether an adopted file has another one in its place: nothing of that is ours, so it is met anew."""
        if known.origin is not Origin.ADOPTED:
            return False
        remote = self.view.of_recorded(known)
        gave_way = remote is not None and remote.lake_id != known.lake_id
        self.in_step = self.in_step and not gave_way
        return gave_way

    def _adoptable(
        self, candidates: Sequence[Candidate], recorded: Mapping[str, RecordedFile]
    ) -> Mapping[str, RemoteFile]:
        closely = self.closely
        policy = self.rules.policy
        remotes = closely.adoptable(self.view, candidates, recorded, ask=policy.adopt != "never")
        if policy.adopt == "match":
            remotes = closely.proven(remotes, candidates)
        elif policy.adopt == "take_over" and policy.on_change == "replace":
            remotes = closely.proven(remotes, candidates, unproven=False)
        if not remotes or closely.options.refresh != "full" or closely.client is None:
            return remotes
        return recognise_sets(closely.client, self.desired, self.view, remotes, candidates, closely.base_dir)

    def _judge_gone(
        self, gone: Sequence[RecordedFile], renames: Mapping[str, str], named_now: Mapping[str, str | None]
    ) -> None:
        new_names = {**named_now, **{old: new for new, old in renames.items()}}
        filtered: list[str] = []
        for known in gone:
            remote = self.view.of_recorded(known)
            self._meet(known, remote)
            path = os.path.join(self.closely.base_dir, known.path)
            out = known.name not in named_now and self.desired.covers(known.path) and os.path.lexists(path)
            if out and remote is not None:
                filtered.append(known.name)
            hidden_by = self._hidden_by(known.path) if not out and known.name not in named_now else None
            why = Gone(out, new_names.get(known.name), hidden_by)
            self._take(compare(self.rules, None, known, remote, gone=why), wanted=False)
        if filtered:
            stand = counted(len(filtered), "file stands", "files stand")
            message = f"{stand} on disk and no pattern takes them any more: {some_of(filtered)}"
            self.notes.append(Note(NoteCode.FILTERED_OUT, message, self.desired.key.name))

    def _hidden_by(self, path: str) -> str | None:
        """The folder below a source that may hide a file which is not there: an empty one, as an unmounted disk leaves
        it, or one that can't be read. None where the file is gone. `path`: from the manifest's folder."""
        folder = os.path.dirname(path)
        if folder not in self._hiding:
            source = next((one for one in self.desired.folders if one.relative(path) is not None), None)
            self._hiding[folder] = (
                None if source is None else _hiding_folder(self.closely.base_dir, folder, source.path)
            )
        return self._hiding[folder]

    def _judge_drifted(self, suspects: Iterable[tuple[RecordedFile, RemoteFile]]) -> None:
        """Judge files that are here as they were recorded, and differ in the lake."""
        for known, remote in suspects:
            verdict = compare(self.rules, desired_as_recorded(self.rules, known), known, remote)
            verdict = replace(verdict, actions=tuple(filter(self._is_mendable, verdict.actions)))
            if verdict.actions or verdict.notes:
                # The march has counted it as unchanged.
                self.plan.unchanged -= 1
                self._take(verdict, wanted=True)

    def _is_mendable(self, action: Action) -> bool:
        """False for a set as it was recorded, where the source has another one by now: that one is sent when the file
        itself is looked at."""
        if not isinstance(action, Annotate | RemoveAnnotations):
            return True
        index = self.desired.annotations.get(action.annotations.operation)
        image = index.images().get(action.name) if index is not None else None
        if isinstance(action, Annotate):
            return image is not None and image.digest == action.annotations.digest
        return not image.shape_count if image is not None else index is None or index.mode == "replace"

    def _take(self, verdict: Verdict, *, wanted: bool) -> None:
        self.plan.take(verdict, wanted=wanted)
        self.notes += verdict.notes

    def _meet(self, known: RecordedFile | None, remote: RemoteFile | None) -> None:
        self.matched += remote is not None
        self.recorded += known is not None
        if known is not None and (remote is None or remote.lake_id != known.lake_id):
            self.in_step = False


def _hiding_folder(base_dir: Path, folder: str, root: str) -> str | None:
    """The nearest folder from `folder` upwards that exists, if it is empty or can't be read. `root`: where to stop; a
    source that is empty itself has stopped the run before."""
    while folder not in (root, ""):
        place = os.path.join(base_dir, folder)
        try:
            with os.scandir(place) as entries:
                return None if next(entries, None) is not None else folder
        except FileNotFoundError:
            if os.path.lexists(place):
                return folder  # A link that leads nowhere.
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
