"""Findings: how they are grouped and worded, and what a plan leaves out because of them."""

from __future__ import annotations

from metalake_sync.core.actions import Annotate, UploadFile
from metalake_sync.core.addresses import FileAt
from metalake_sync.core.changes import Reason
from metalake_sync.core.checks import REMEDIES, Check, Finding, failed, grouped, headline, notes_on
from metalake_sync.core.metadata import NO_METADATA
from metalake_sync.core.notes import NoteCode
from metalake_sync.core.plan import CollectionPlan, Plan
from metalake_sync.core.snapshots import (
    AnnotationKind,
    CollectionKey,
    CollectionPolicy,
    DesiredFile,
    DesiredSet,
    Fingerprint,
    MediaType,
)

BIRDS = CollectionKey(MediaType.IMAGE, "birds")


def pointer(name: str) -> Finding:
    return Finding(Check.POINTER, "error", BIRDS, name, f"images/{name}", "is a Git LFS pointer, not the file itself")


def test_every_check_has_its_words() -> None:
    assert set(REMEDIES) == set(Check)
    for check in Check:
        two = [Finding(check, "error", BIRDS, name, name, "is wrong") for name in ("a", "b")]
        assert headline(two).startswith("2 ")
        assert headline(two).endswith(REMEDIES[check])


def test_findings_of_one_kind_are_one_note_with_all_names() -> None:
    names = [f"{number}.jpg" for number in range(60)]
    empty = Finding(Check.EMPTY, "warn", BIRDS, "empty.jpg", "images/empty.jpg", "is empty (0 bytes)")
    one, many = sorted(notes_on([empty, *map(pointer, names)]), key=lambda note: len(note.names))
    assert (one.code, str(one)) == (
        NoteCode.CHECK_WARNED,
        "birds/empty.jpg: is empty (0 bytes); restore the file, or exclude it",
    )
    assert (many.code, many.where, many.names) == (NoteCode.CHECK_FAILED, "birds", tuple(names))
    assert many.message.startswith("60 files are placeholders")
    assert many.message.endswith("0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg, …")


def test_errors_come_first_and_labels_are_kept_apart() -> None:
    warned = Finding(Check.EMPTY, "warn", BIRDS, "a", "a", "is empty")
    labels = [Finding(Check.UNKNOWN_LABEL, "error", BIRDS, "a", "a", "has", about=label) for label in ("x", "y", "x")]
    assert grouped([warned, *labels]) == [[labels[0], labels[2]], [labels[1]], [warned]]
    assert failed([warned, *labels]) == labels


def planned(*findings: Finding) -> Plan:
    """A plan of two new files with one set each."""
    plan = CollectionPlan(BIRDS, CollectionPolicy())
    for name in ("a.jpg", "b.jpg"):
        file = DesiredFile(name, f"images/{name}", Fingerprint(1, 1, 1, 1), NO_METADATA)
        plan.take_action(UploadFile(BIRDS, file, Reason.NEW))
        wanted = DesiredSet("people", AnnotationKind.HUMAN, "digest", 1)
        plan.take_action(Annotate(FileAt(BIRDS, name), wanted, Reason.NEW))
    return Plan("m.yaml", 1, (plan,), tuple(notes_on(findings)), findings=findings)


def kept(plan: Plan) -> list[str]:
    return [str(action.key) for action in plan.actions()]


def test_a_file_that_failed_is_left_out_with_its_sets() -> None:
    plan = planned(pointer("a.jpg"))
    assert kept(plan.without_failed_checks()) == ["upload birds/b.jpg", "annotate birds/b.jpg of people"]
    assert len(kept(plan)) == 4


def test_a_share_that_moved_leaves_out_the_sets_of_its_operation() -> None:
    moved = Finding(Check.LABEL_SHARE, "error", BIRDS, "bird", "boxes.json", "is 90 %", "'bird'", "people")
    plan = planned(moved, pointer("a.jpg")).without_failed_checks()
    assert kept(plan) == ["upload birds/b.jpg"]
    assert [note.where for note in plan.blocking_notes] == ["birds/bird", "birds/a.jpg"]


def test_warnings_leave_nothing_out() -> None:
    warned = Finding(Check.EMPTY, "warn", BIRDS, "a.jpg", "images/a.jpg", "is empty")
    plan = planned(warned)
    assert plan.without_failed_checks() is plan
    assert not plan.blocking_notes
