"""The command line in daily use: what it refuses, asks, warns of and shows."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args

import pytest

from metalake_sync.apply.recorder import Recorder
from metalake_sync.cli import approval
from metalake_sync.cli.approval import approval_question
from metalake_sync.cli.terminal import wrapped
from metalake_sync.core.actions import Action
from metalake_sync.core.base_action import BaseAction
from metalake_sync.core.plan import Plan
from metalake_sync.core.snapshots import Fingerprint
from metalake_sync.embedded_lake.faults import FaultPlan
from metalake_sync.errors import ExitCode
from metalake_sync.planning.interrupted_runs import bytes_sent_of
from metalake_sync.remote.request_counter import RequestCounter
from metalake_sync.state.journal import JournalledFile
from metalake_sync.state.store import StateStore
from tests.embedded_lake.talk import SECRET, png
from tests.end_to_end.world import BIRDS, PROGRAM, World, boxes, with_pruned


@pytest.fixture
def labeled(world: World) -> World:
    """Two images in the lake; one has a shape of the label bird."""
    world.images("a.png", "b.png")
    world.write("boxes.json", boxes(a_png=[[1, 2, 3, 4]]))
    human = {"operation": "human", "kind": "human", "source": "boxes.json"}
    world.manifest({**BIRDS, "annotations": [human]})
    world.good("apply", "manifest.yaml")
    return world


def in_terminal(world: World, *words: str, answers: Sequence[str] = ()) -> tuple[int, str]:
    """Run a command on a terminal of 80 columns, answer its prompts, and return its exit code and output."""
    here, there = pty.openpty()
    process = subprocess.Popen(
        [PROGRAM, *words], stdin=there, stdout=there, stderr=there, cwd=world.folder,
        env={**world.environment(), "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "80"},
    )  # fmt: skip
    os.close(there)
    said, waiting = b"", list(answers)
    while True:
        try:
            read = os.read(here, 4096)
        except OSError:
            break
        if not read:
            break
        said += read
        if waiting and said.rstrip().endswith(b"[y/N]:"):
            os.write(here, waiting.pop(0).encode() + b"\n")
    code = process.wait(timeout=60)
    os.close(here)
    return code, said.decode().replace("\r", "")


# One collection, downloaded by its name.


def test_pull_of_a_collection_takes_a_query_and_names_files(labeled: World) -> None:
    words = ("pull", "manifest.yaml", "--collection", "birds", "--to", "out", "--annotations", "none")
    labeled.good(*words, "--query", "annotation.label=bird", "--naming", "name")
    assert [path.name for path in (labeled.folder / "out").iterdir()] == ["a.png"]


@pytest.mark.parametrize("name", ["", "a\x01b"])
def test_pull_of_a_name_that_no_collection_can_have_is_an_error(labeled: World, name: str) -> None:
    done = labeled.run("pull", "manifest.yaml", "--collection", name, "--to", "out")
    assert done.code == 64
    assert "error: '--collection'" in done.err


def test_a_dry_run_of_pull_shows_the_files_and_writes_none(labeled: World) -> None:
    words = ("pull", "manifest.yaml", "--collection", "birds", "--to", "out")
    done = labeled.good(*words, "--dry-run")
    assert "<= b.png" in done.out
    assert not (labeled.folder / "out").exists()
    (event,) = labeled.good(*words, "--dry-run", "--json").events
    assert (event["message_type"], event["plan"]["summary"]["download"]) == ("plan", 3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--collection", "brids"), "the lake does not have a collection 'brids'"),
        (("--collection", "birds", "--type", "video"), "the lake does not have a collection 'birds'"),
        (("--collection", "birds", "--query", "annotation.label=brid"), "Did you mean 'bird'?"),
    ],
)
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_pull_of_what_the_lake_does_not_have_is_an_error(
    labeled: World, words: tuple[str, ...], said: str, dry: tuple[str, ...]
) -> None:
    done = labeled.run("pull", "manifest.yaml", "--to", "out", *words, *dry)
    assert done.code == ExitCode.USAGE
    assert said in done.err
    assert done.out == ""
    assert not (labeled.folder / "out").exists()


def test_a_label_of_the_lake_that_no_image_has_is_not_an_error(labeled: World) -> None:
    query = "annotation.label=BIRD and metadata.Tags=night"
    labeled.good("pull", "manifest.yaml", "--collection", "birds", "--to", "out", "--query", query)


@pytest.mark.parametrize("command", ["pull", "apply", "plan"])
def test_a_download_of_a_collection_or_label_that_does_not_exist_leaves_the_rest_to_run(
    labeled: World, command: str
) -> None:
    labeled.manifest(
        downloads=[
            {"collection": "brids", "to": "one"},
            {"collection": "birds", "to": "two", "query": "annotation.label=brid"},
            {"collection": "birds", "to": "three"},
        ]
    )
    done = labeled.run(command, "manifest.yaml")
    assert done.code == ExitCode.SOME_FAILED
    assert re.search(r"error: manifest.yaml:\d+:\d+: the lake does not have a collection 'brids'", done.out)
    assert re.search(r"error: manifest.yaml:\d+:\d+: the lake does not have the label 'brid'", done.out)
    assert (labeled.folder / "three").exists() is (command != "plan")


def test_a_download_of_labels_that_the_same_run_sends_is_not_an_error(world: World) -> None:
    world.talk.upload({"old.png": png()}, "birds")
    world.images("a.png")
    world.write("boxes.json", boxes(a_png=[[1, 2, 3, 4]]))
    human = {"operation": "human", "kind": "human", "source": "boxes.json"}
    download = {"collection": "birds", "to": "out", "query": "annotation.label=bird"}
    world.manifest({**BIRDS, "annotations": [human]}, downloads=[download])
    world.good("apply", "manifest.yaml")
    assert [path.name for path in (world.folder / "out").iterdir()] == ["birds_a.png"]


@pytest.mark.parametrize(
    "words",
    [
        ("item", "list", "--collection", "birds"),
        ("item", "count", "--lake", "image"),
        ("item", "download", "--lake", "image", "--to", "out"),
        ("trash", "collection", "birds"),
        ("trash", "lake", "image"),
    ],
)
def test_single_calls_refuse_a_label_that_does_not_exist(labeled: World, words: tuple[str, ...]) -> None:
    done = labeled.run(*words, "--query", "metadata.Tags=a and annotation.label=brid")
    assert done.code == ExitCode.USAGE
    assert "the lake does not have the label 'brid'" in done.err


# Options that a command would ignore.


@pytest.mark.parametrize("command", ["drift", "check"])
@pytest.mark.parametrize("option", [("--refresh", "none"), ("--checksum",), ("--bwlimit", "10k")])
def test_comparisons_refuse_options_that_they_would_ignore(
    labeled: World, command: str, option: tuple[str, ...]
) -> None:
    done = labeled.run(command, "manifest.yaml", *option)
    assert done.code == ExitCode.USAGE
    assert f"No such option '{option[0]}'" in done.err
    # An environment variable is for every command that has the option.
    labeled.good(command, "manifest.yaml", METALAKE_SYNC_REFRESH="none", METALAKE_SYNC_CHECKSUM="1")


def test_a_check_of_the_sources_refuses_options_that_concern_the_lake(labeled: World) -> None:
    for option in (("--retry-for", "5"), ("--parallelism", "2"), ("--detailed-exitcode",)):
        done = labeled.run("check", "manifest.yaml", "--sources", *option)
        assert done.code == ExitCode.USAGE
        assert option[0] in done.err
    labeled.good("check", "manifest.yaml", "--sources", METALAKE_SYNC_RETRY_FOR="5")


@pytest.mark.parametrize("option", [("--refresh", "full"), ("--target", "birds"), ("--checksum",)])
def test_pull_refuses_options_that_it_would_ignore(labeled: World, option: tuple[str, ...]) -> None:
    labeled.manifest(downloads=[{"collection": "birds", "to": "out"}])
    assert labeled.run("pull", "manifest.yaml", *option).code == ExitCode.USAGE


# What the lake was asked.


def test_validate_online_says_what_it_asked(world: World) -> None:
    world.images("a.png")
    world.manifest({**BIRDS, "metadata": {"Camera": "A", "Tags": ["day", "dry"]}})
    url = world.lake.url
    done = world.good("validate", "--online", "manifest.yaml")
    assert f"{url} accepts the manifest's 2 tags and 1 metadata field." in done.out
    world.manifest(BIRDS)
    assert f"{url} answers." in world.good("validate", "--online", "manifest.yaml").out
    assert url not in world.good("validate", "manifest.yaml").out


# Approval.


def test_the_question_states_what_is_destroyed_in_numbers(world: World) -> None:
    with_pruned(world, "a.png", "b.png", "c.png", "d.png")
    for name in ("a.png", "b.png"):
        (world.folder / "images" / name).unlink()
    world.write("images/c.png", png(50, 20, salt=b"new"))
    code, said = in_terminal(world, "apply", "manifest.yaml", answers=["y"])
    assert "This will trash 2 files and replace 1 file. Continue? [y/N]:" in said
    assert code == 0
    assert world.names() == ["c.png", "d.png"]
    (world.folder / "images" / "d.png").unlink()
    code, said = in_terminal(world, "apply", "manifest.yaml", answers=["n"])
    assert "This will trash 1 file. Continue?" in said
    assert (code, world.names()) == (ExitCode.GUARDED, ["c.png", "d.png"])


def test_the_question_counts_what_another_client_wrote() -> None:
    def some(number: int, name: str, overwrites: bool) -> list[SimpleNamespace]:
        one = SimpleNamespace(action_name=name, items_counted=1, needs_approval=True, overwrites=overwrites)
        return [one] * number

    harmless = SimpleNamespace(action_name="upload", items_counted=1, needs_approval=False)
    actions = [
        harmless,
        *some(3, "annotate", overwrites=True),
        *some(1, "update_metadata", overwrites=True),
        *some(1, "remove_annotations", overwrites=True),
        *some(1, "remove_annotations", overwrites=False),
    ]
    assert approval_question(cast(Plan, SimpleNamespace(actions=lambda: iter(actions)))) == (
        "This will clear 2 annotation sets (1 of them that another client wrote), overwrite 3 annotation sets that"
        " another client wrote and overwrite the metadata of 1 file or collection that another client wrote. Continue?"
    )


def test_the_time_of_a_run_excludes_waiting_for_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    recorder = Recorder(
        cast(StateStore, None), "run", "lake", {}, lambda _event: None, RequestCounter(), 0, _started=100.0
    )
    clock[0] += 2
    with recorder.paused():
        clock[0] += 3600
    clock[0] += 1
    assert recorder.finish().seconds == 3


# Notes.


def test_an_include_that_matches_nothing_is_noted_on_the_first_run_and_stops_a_later_one(world: World) -> None:
    world.images("a.png")
    folder = {"path": "images", "include": ["*.jpg", "*.JPG"]}
    world.manifest({**BIRDS, "folders": [folder]})
    done = world.good("plan", "manifest.yaml")
    assert re.search(
        r"note: manifest.yaml:\d+:\d+: no file in 'images' matches 'include' \('\*.jpg', '\*.JPG'\)", done.out
    )
    world.good("apply", "manifest.yaml")
    world.manifest(BIRDS)
    assert "no file in" not in world.good("apply", "manifest.yaml").out
    world.manifest({**BIRDS, "folders": [folder]})
    assert world.run("plan", "manifest.yaml").code == ExitCode.GUARDED


def test_a_folder_without_files_of_the_type_is_noted(world: World) -> None:
    world.write("images/notes.txt", "none")
    world.manifest(BIRDS)
    assert "no file in 'images' has the type of the collection" in world.good("validate", "manifest.yaml").out


def test_many_adopted_files_with_other_metadata_are_one_note(world: World) -> None:
    names = [f"{number}.png" for number in range(8)]
    world.images(*names)
    session = world.talk.upload({name: png(salt=name.encode()) for name in names}, "birds")
    entries = [{"file": name, "metadata": {"Camera": "B" if name < "6" else "C"}} for name in names]
    body = {"metadata": entries, "collectionId": session.collection_id}
    world.talk.asked("/api/client/metadata/uploadMetadataByJson", body)
    world.manifest({**BIRDS, "metadata_scope": "files", "metadata": {"Camera": "A"}})
    notes = [
        note
        for note in world.good("plan", "manifest.yaml", "--json", "-v").document["warnings"]
        if note["code"] == "metadata_differs"
    ]
    (note,) = notes
    listed = ", ".join(f"birds/{name}" for name in names)
    assert note["message"] == (
        "8 files have different metadata in the lake ('Camera'); 'metadata_override: true' writes the manifest's:"
        f" {listed}"
    )


def test_acknowledged_notes_are_silent_and_others_are_not(world: World) -> None:
    world.images("a.png")
    world.write("images/b.txt", "none")
    world.talk.upload({"a.png": png(salt=b"a.png")}, "birds")
    world.manifest({**BIRDS, "adopt": "never"}, downloads=[{"collection": "brids", "to": "out"}])
    assert "'adopt: never' leaves it unmanaged" in world.run("plan", "manifest.yaml").out
    world.manifest(
        {**BIRDS, "adopt": "never"},
        downloads=[{"collection": "brids", "to": "out"}],
        notes={"ignore": ["not_adopted"]},
    )
    for command in ("plan", "apply"):
        done = world.run(command, "manifest.yaml")
        assert "adopt" not in done.out
        assert "does not have a collection 'brids'" in done.out
        assert done.code == ExitCode.SOME_FAILED
    codes = {note["code"] for note in world.run("plan", "manifest.yaml", "--json").document["warnings"]}
    assert "not_adopted" not in codes
    assert "collection_unknown" in codes


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("not_adoptd", "Did you mean 'not_adopted'?"),
        ("too_many_deletes", "cannot be ignored"),
        ("collection_unknown", "cannot be ignored"),
        ("xyz", "'plan --json' prints the code of each note."),
    ],
)
def test_a_note_that_cannot_be_ignored_is_an_error_of_the_manifest(world: World, code: str, said: str) -> None:
    world.manifest(BIRDS, notes={"ignore": [code]})
    done = world.run("validate", "manifest.yaml")
    assert done.code == ExitCode.USAGE
    assert said in done.err


def test_a_secret_file_that_everyone_can_read_draws_a_warning(world: World) -> None:
    folder = Path(tempfile.mkdtemp(prefix="metalake-"))
    try:
        folder.chmod(0o755)
        secret = folder / "secret"
        secret.write_text(SECRET)
        secret.chmod(0o644)
        world.images("a.png")
        remote = {"url": world.lake.url, "api_key": "${LAYERNEXT_API_KEY}", "secret_file": str(secret)}
        world.manifest(BIRDS, remote=remote)
        done = world.good("validate", "manifest.yaml")
        assert f"'secret_file' names the file '{secret}', which every user of this machine can read" in done.out
        lists = world.good("item", "stats", "--secret-file", str(secret))
        assert f"warning: every user of this machine can read '{secret}'; run: chmod o-r {secret}" in lists.err
        world.manifest(BIRDS, remote=remote, notes={"ignore": ["secret_readable"]})
        assert "can read" not in world.good("validate", "manifest.yaml").out
        world.manifest(BIRDS, remote=remote)
        secret.chmod(0o640)
        assert "can read" not in world.good("validate", "manifest.yaml").out
        secret.chmod(0o644)
        folder.chmod(0o700)
        assert "can read" not in world.good("validate", "manifest.yaml").out
    finally:
        shutil.rmtree(folder)


# Text for people.


def test_status_and_history_use_words_and_units(world: World) -> None:
    with_pruned(world, "a.png", "b.png")
    last = world.good("status", "manifest.yaml").out.splitlines()[-1]
    assert re.search(
        r"^  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC  done +1 collection created, 2 files uploaded"
        r" \(\d+ B sent, \d+\.\d s\)$",
        last,
    )
    (world.folder / "images" / "b.png").unlink()
    world.good("apply", "manifest.yaml", "--auto-approve")
    told = world.good("history", "manifest.yaml").out
    assert "  1 file trashed (" in told
    assert re.search(
        r"^  trashed    birds/b.png  removed from manifest, id in the lake's trash: [0-9a-f]{24}$", told, re.M
    )
    assert re.search(r"^  uploaded   birds/a.png  new$", told, re.M)
    assert not re.search(r"none →|[0-9a-f]{12}…|bytes_sent|create_collection|\bupload \d", told)


def test_lines_break_at_words_on_a_terminal_and_nowhere_else(world: World) -> None:
    names = [f"{number}-with-a-rather-long-name.png" for number in range(4)]
    world.images(*names)
    world.manifest({**BIRDS, "folders": [{"path": "images", "include": ["*.jpg"]}]})
    code, said = in_terminal(world, "plan", "manifest.yaml")
    assert code == 0
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in said.splitlines()]
    assert max(map(len, lines)) <= 80
    (plain,) = [line for line in world.good("plan", "manifest.yaml").out.splitlines() if line.startswith("note: ")]
    assert len(plain) > 80
    start = next(number for number, line in enumerate(lines) if line.startswith("note: "))
    assert lines[start + 1].startswith("    ")
    assert " ".join(" ".join(lines[start:]).split()).startswith(plain)
    code, said = in_terminal(world, "plan", "no-such-manifest-with-a-rather-long-name-for-a-line.yaml")
    assert code == ExitCode.USAGE
    assert max(map(len, said.splitlines())) <= 80


@pytest.mark.parametrize(
    ("line", "width", "parts"),
    [
        ("one two three", 80, ["one two three"]),
        ("one two three", 9, ["one two", "    three"]),
        ("  + a.png  new, and more", 14, ["  + a.png", "      new, and", "      more"]),
        ("a-word-that-is-wider-than-it-may-be then", 10, ["a-word-that-is-wider-than-it-may-be", "    then"]),
        ("\x1b[31mred word\x1b[0m here", 13, ["\x1b[31mred word\x1b[0m here"]),
        ("日本語 日本語 日本語", 13, ["日本語 日本語", "    日本語"]),
    ],
)
def test_a_line_is_wrapped_by_the_columns_that_it_needs(line: str, width: int, parts: list[str]) -> None:
    assert wrapped(line, width).split("\n") == parts


# After an interruption.


def spoil(world: World, **fault: Any) -> None:
    world.lake.faults.use(FaultPlan.model_validate({"faults": [fault]}))


def left_behind(world: World) -> None:
    """Send three files, and have the lake reject the call that completes their session."""
    world.images("a.png", "b.png", "c.png")
    world.manifest(BIRDS)
    spoil(world, kind="status", status=400, route="complete_upload", times=1)
    assert world.run("apply", "manifest.yaml").code == ExitCode.SOME_FAILED


def test_plan_apply_and_progress_agree_on_what_an_interrupted_run_left(world: World) -> None:
    left_behind(world)
    world.images("d.png")
    size = (world.folder / "images" / "d.png").stat().st_size
    plan = world.good("plan", "manifest.yaml", "--json").document
    assert (plan["summary"]["upload"], plan["summary"]["bytes_to_send"]) == (4, size)
    assert [(one["file"], one["bytes"], "sent_before" in one) for one in plan["actions"]] == [
        ("a.png", 0, True), ("b.png", 0, True), ("c.png", 0, True), ("d.png", size, False)
    ]  # fmt: skip
    shown = world.good("plan", "manifest.yaml").out
    assert re.search(r"\+ a.png  new, \d+ B, all of it sent by an interrupted run", shown)
    assert f"({size} B to send)" in shown
    events = world.good("apply", "manifest.yaml", "--json").events
    last = [event for event in events if event["message_type"] == "progress"][-1]
    assert (last["files_done"], last["files_total"], last["bytes_sent"], last["bytes_total"]) == (4, 4, size, size)
    assert (events[-1]["done"]["upload"], events[-1]["bytes_sent"]) == (4, size)
    assert world.names() == ["a.png", "b.png", "c.png", "d.png"]


def test_files_of_a_session_that_the_lake_forgot_are_sent_again_and_counted(world: World) -> None:
    left_behind(world)
    sizes = sum(path.stat().st_size for path in (world.folder / "images").iterdir())
    spoil(world, kind="status", status=400, route="complete_upload", times=1)
    events = world.good("apply", "manifest.yaml", "--json").events
    last = [event for event in events if event["message_type"] == "progress"][-1]
    assert (last["files_done"], last["files_total"], last["bytes_total"]) == (3, 3, sizes)
    assert world.names() == ["a.png", "b.png", "c.png"]


@pytest.mark.parametrize(
    ("hashed", "parts", "sent"),
    [("h", {}, 25), (None, {}, 0), (None, {1: "e"}, 10), (None, {1: "e", 2: "e"}, 20), (None, {3: "e"}, 5)],
)
def test_the_sent_bytes_of_a_file_are_those_of_its_confirmed_parts(
    hashed: str | None, parts: dict[int, str], sent: int
) -> None:
    file = JournalledFile("a", "a", Fingerprint(25, 0, 0, 0), part_size=10, content_hash=hashed, finished_parts=parts)
    assert bytes_sent_of(file) == sent


def test_the_question_has_words_for_every_action_that_may_need_approval() -> None:
    may_need = {
        action.action_name
        for action in get_args(Action)
        if action.destroys or action.needs_approval is not BaseAction.needs_approval
    }
    assert may_need == {name for name, _, _ in approval._WORDS}


def test_no_color_is_honored_on_standard_output(world: World) -> None:
    world.images("a.png")
    world.manifest(BIRDS)
    code, said = in_terminal(world, "plan", "manifest.yaml")
    assert (code, re.findall(r"\x1b\[[0-9;]*m", said)) == (0, [])


def test_pull_of_a_collection_blames_no_line_of_the_manifest(labeled: World) -> None:
    words = ("pull", "manifest.yaml", "--collection", "birds", "--to", "out")
    done = labeled.run(*words, "--query", "nonsense")
    assert (done.code, "manifest.yaml:" in done.err) == (ExitCode.USAGE, False)
    labeled.good(*words, "--format", "yolo")
    assert "manifest.yaml:" not in labeled.good(*words, "--format", "yolo").out
    assert "Nothing was downloaded: the local files match the lake." in labeled.good(*words, "--format", "yolo").out
    (run,) = labeled.good("history", "--json", "--limit", "1", "manifest.yaml").document
    assert "--collection birds" in run["provenance"]["command_line"]
