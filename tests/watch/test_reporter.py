"""The log lines of runs, and the latency of files."""

from __future__ import annotations

import logging

import pytest

from metalake_sync.core.actions import Annotate
from metalake_sync.core.addresses import FileAt
from metalake_sync.core.changes import Reason
from metalake_sync.core.events import RunFinished
from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.core.snapshots import AnnotationKind, CollectionKey, DesiredSet, Fingerprint, MediaType
from metalake_sync.core.summary import Summary
from metalake_sync.watch.reported import SHOWN, HeldLog, NoteLog
from metalake_sync.watch.reporter import Arrivals
from metalake_sync.watch.runner import RunResult

PIPE = Note(NoteCode.FILE_LEFT_OUT, "is no regular file", "images/pipe.png")


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    messages = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return messages


def test_a_note_is_logged_once_and_again_after_it_disappeared(caplog: pytest.LogCaptureFixture) -> None:
    notes = NoteLog()
    notes.log([PIPE], of_everything=True)
    assert lines(caplog) == ["note: images/pipe.png: is no regular file"]
    notes.log([PIPE], of_everything=True)
    notes.log([], of_everything=False)
    notes.log([PIPE], of_everything=True)
    assert lines(caplog) == []
    notes.log([], of_everything=True)
    notes.log([PIPE], of_everything=False)
    assert lines(caplog) == ["note: images/pipe.png: is no regular file"]


def test_a_note_whose_count_grows_is_the_same_note(caplog: pytest.LogCaptureFixture) -> None:
    notes = NoteLog()
    for number in range(1, 4):
        names = [f"{index}.png" for index in range(number)]
        notes.log([Note.naming(NoteCode.ANNOTATION_WITHOUT_FILE, "no file", names, "people.json")], of_everything=True)
    assert lines(caplog) == ["note: people.json: no file: 0.png"]


def test_many_notes_are_counted_and_notes_that_are_logged_elsewhere_are_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    many = [Note(NoteCode.FILE_LEFT_OUT, "is a link", f"{number}.png") for number in range(SHOWN + 5)]
    with caplog.at_level(logging.WARNING):
        NoteLog().log(
            [Note(NoteCode.MANIFEST, "is odd"), Note(NoteCode.TOO_MANY_DELETES, "stops"), *many], of_everything=True
        )
    logged = lines(caplog)
    assert len(logged) == SHOWN + 1
    assert logged[-1] == "note: and 5 more; 'plan' shows all of them"


def conflict(name: str) -> Annotate:
    at = FileAt(CollectionKey(MediaType.IMAGE, "birds"), name, f"birds_{name}")
    wanted = DesiredSet("people", AnnotationKind.HUMAN, "digest", 1)
    return Annotate(at, wanted, Reason.ANNOTATIONS_CHANGED, overwrites=True)


def held(*names: str) -> RunResult:
    finished = RunFinished("run", Summary(*[0] * 12), (), 0, 0, 0, 0.0)
    return RunResult(finished, 0, [conflict(name) for name in names])


def test_a_held_action_is_reported_once_and_again_after_a_full_run_without_it(caplog: pytest.LogCaptureFixture) -> None:
    reported = HeldLog()
    assert reported.log(held("a.png"), of_everything=True) == ["annotate birds/a.png of people"]
    assert [line.split(" needs")[0] for line in lines(caplog)] == ["held: annotate a.png"]
    assert reported.log(held("a.png"), of_everything=True) == []
    assert reported.log(held("b.png"), of_everything=False) == ["annotate birds/b.png of people"]
    assert reported.log(held("a.png", "b.png"), of_everything=True) == []
    assert reported.log(held(), of_everything=True) == []
    assert reported.log(held("a.png"), of_everything=False) == ["annotate birds/a.png of people"]


def at(seconds: float) -> Fingerprint:
    return Fingerprint(1, int(seconds * 1e9), 1, int(seconds * 1e9))


def test_latency_counts_from_the_last_change_or_from_the_arrival_of_the_folder() -> None:
    arrivals = Arrivals(int(1000e9))
    now_ns = int(2000e9)
    assert arrivals.latency_s("/camera/day/a.png", at(900), now_ns) is None, "it existed before the watch"
    assert arrivals.latency_s("/camera/day/a.png", at(1998), now_ns) == 2
    arrivals.folder_appeared("/camera/day", int(1999e9))
    assert arrivals.latency_s("/camera/day/deep/a.png", at(900), now_ns) == 1, "its folder arrived after it was closed"
    assert arrivals.latency_s("/camera/daytime/a.png", at(900), now_ns) is None
    assert arrivals.latency_s("/camera/day/a.png", at(1999.5), now_ns) == 0.5
    assert arrivals.latency_s("/camera/day/a.png", at(3000), now_ns) == 0, "the clock was set back"
    arrivals.forget()
    assert arrivals.latency_s("/camera/day/deep/a.png", at(900), now_ns) is None
