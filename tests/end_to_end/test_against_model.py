"""Whatever happens on disk, in the manifest, in the lake and to the state, each run does what the model says.

Files, manifest and lake change at random; runs look closely or not, mean all or a part, are killed, meet faults, or
carry out a plan that was saved before; the state is lost or an older one is put back. The model (`model`) tells from
the manual alone what the lake may and must hold after each run.

METALAKE_SYNC_MODEL_SEED chooses other sequences than those of seed 0. `make sequences` runs the long form, which takes
two processes half an hour or more. It shows the first sequence that the model objects to as it is;
METALAKE_SYNC_MODEL_SHRINK=1 looks for a shorter one.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
import yaml
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from metalake_sync.embedded_lake import EmbeddedLake
from metalake_sync.embedded_lake.faults import FaultPlan
from tests.embedded_lake.talk import API_KEY, SECRET, Talk, box, image_set, png
from tests.embedded_lake.talk import settings as lake_settings
from tests.end_to_end import model
from tests.end_to_end.model import Item, Key, Lake, Objection, Shapes
from tests.faults.hurry import AGED_AFTER_NS, files_age_quickly
from tests.faults.mortal import FORESEEN, Child, WatchedLog, run_in_child
from tests.forked import CONTEXT

KEPT = ("images/kept.png", "more/kept2.png", "cats/kept3.png")
"""They stand always, so that no source is ever empty: an emptied one is stopped by a guard, tested elsewhere."""

CONTENTS = [png(salt=bytes([65 + number]) * length) for number, length in enumerate((1, 1, 2, 2, 3))]
"""Some have the same size."""
PATHS = st.sampled_from([f"images/{name}.png" for name in ("a", "b", "sub/d", "sub/e")] + ["more/a.png", "cats/a.png"])
NAMES = st.sampled_from(["kept.png", "a.png", "b.png", "d.png", "e.png"])
SOME_CONTENT = st.sampled_from(CONTENTS)
BOX_SETS = st.lists(st.tuples(*[st.integers(1, 5)] * 4), max_size=2)
TAGS = st.lists(st.sampled_from(["red", "green", "blue"]), unique=True)
COLLECTIONS = st.sampled_from(["birds", "cats"])
OPERATIONS = ("people", "robots")
TARGETS = st.sampled_from(["birds", "cats", "birds/a*", "birds/sub__*", "birds/*.png"])
REFRESHES = st.sampled_from(["full", "full", "list"])

CALLS = (
    "open_upload", "begin_file", "sign_parts", "put_part", "finalize_file", "complete_upload", "job_status",
    "list_collection_items", "collection_details", "item_details", "metadata_by_json", "update_annotations",
    "download_annotations", "select_items", "trash_items", "*", "lake", "store",
)  # fmt: skip
FAULTS: list[dict[str, Any]] = [
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 503},
    {"kind": "status", "status": 502, "carried_out": True},
    {"kind": "status", "status": 409, "route": "finalize_file"},
    {"kind": "reset", "when": "before"},
    {"kind": "reset", "when": "after"},
    {"kind": "cut"},
    {"kind": "no_json"},
    {"kind": "wrong_etag"},
    {"kind": "expired_url"},
    {"kind": "job_fails"},
]
STORE_AND_JOBS = frozenset({"wrong_etag", "expired_url", "job_fails"})


Step = tuple[str, dict[str, Any]]


def a(name: str, /, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    """A step of a sequence: a method of the machine, and its arguments."""
    return st.tuples(st.just(name), st.fixed_dictionaries(arguments))


@st.composite
def fault_plans(draw: st.DrawFn) -> list[dict[str, Any]]:
    faults = []
    for _ in range(draw(st.integers(1, 3))):
        fault = {**draw(st.sampled_from(FAULTS)), "after": draw(st.integers(0, 3))}
        fault["times"] = draw(st.sampled_from([1, 1, 3, None]))
        if fault["kind"] not in STORE_AND_JOBS and "route" not in fault:
            fault["route"] = draw(st.sampled_from(CALLS))
        if fault["times"] is None:
            fault["chance"] = 0.3
        faults.append(fault)
    return faults


PICKS = st.integers(0, 9)
EDITS_ON_DISK = st.one_of(
    a("write", path=PATHS, content=SOME_CONTENT),
    a("write_some", content=st.lists(SOME_CONTENT, min_size=3, max_size=3)),
    a("delete", path=PATHS, folder_too=st.booleans()),
    a("move", old=PATHS, new=PATHS),
    a("touch", path=PATHS),
    a("draw_here", name=NAMES, drawn=BOX_SETS, operation=st.sampled_from(OPERATIONS)),
    a("lose_entry", name=NAMES, operation=st.sampled_from(OPERATIONS)),
)
MODES = st.sampled_from([None, "replace", "append"])
EDITS_OF_MANIFEST = st.one_of(
    a("edit_metadata", collection=COLLECTIONS, tags=TAGS, city=st.sampled_from(["Rome", "Oslo", 7, True])),
    a("edit_folder_metadata", split=st.sampled_from([None, "train", "val"])),
    a("edit_policy", collection=COLLECTIONS, prune=st.booleans(), tags=st.sampled_from(["own", "exact"])),
    a(
        "edit_adoption",
        adopt=st.sampled_from(["match", "take_over", "never"]),
        on_change=st.sampled_from(["replace", "replace", "keep", "fail"]),
        override=st.booleans(),
    ),
    a("edit_filter", pattern=st.sampled_from([None, None, "a.png", "sub/", "[de].png"])),
    a("edit_naming", naming=st.sampled_from(["name", "path"])),
    a("edit_folders", more=st.booleans()),
    a("edit_operations", people=MODES, robots=MODES),
    a("edit_collections", stay=st.booleans()),
)
OTHER_CLIENTS = st.one_of(
    a("another_client_trashes", pick=PICKS),
    a(
        "another_client_uploads",
        name=st.sampled_from(["a.png", "d.png", "sub__d.png", "theirs.png"]),
        content=SOME_CONTENT,
        tags=TAGS,
        anew=st.booleans(),
    ),
    a("another_client_edits_metadata", pick=PICKS, tags=TAGS, city=st.sampled_from(["Rome", "Paris"])),
    a("another_client_draws", pick=PICKS, drawn=BOX_SETS, operation=st.sampled_from([*OPERATIONS, "strangers"])),
)
STATES = st.one_of(a("lose_state"), a("copy_state"), a("restore_state", pick=PICKS), a("restore_state", pick=PICKS))
WHOLE_RUNS = st.one_of(
    a("apply", refresh=REFRESHES), a("apply", refresh=REFRESHES), a("apply_target", refresh=REFRESHES, part=TARGETS)
)
PARTS = st.sampled_from([None, None, "birds/a*"])
DISTURBED_RUNS = st.one_of(
    a("apply_killed_at_request", refresh=REFRESHES, place=st.integers(1, 60), part=PARTS),
    a("apply_killed_at_commit", refresh=REFRESHES, place=st.integers(1, 16), part=PARTS),
    a("apply_under_faults", refresh=REFRESHES, faults=fault_plans(), number=st.integers(0, 9)),
)


SEEN: Counter[str] = Counter()
"""Sequences, steps and runs of this process."""


@dataclass
class SavedPlan:
    """A plan that `plan --out` saved, and what it was made of. `manifest`: what it says. `due`: the files in it."""

    full: bool
    targets: tuple[str, ...]
    manifest: str
    runs: int
    world: int
    due: frozenset[tuple[str, str | None]]
    sends: dict[str, bytes]


@dataclass
class Done:
    code: int
    out: str
    errors: str


class Machine(RuleBasedStateMachine):
    """A project, its lake, and what the model knows of both. `prepare`: what a child does before its run."""

    prepare: ClassVar[Callable[[], None] | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        self.folder = Path(self.open.enter_context(tempfile.TemporaryDirectory()))
        self.project = self.folder / "project"
        self.project.mkdir()
        lake = EmbeddedLake(lake_settings(self.folder / "lake"))
        self.steps, self.on_step = 0, 0
        self.victim: list[Child] = []
        self.started = threading.Event()
        pick = lake.faults.pick
        log = WatchedLog()
        log.answered = lambda asked: self.request_step()
        lake.requests = log

        def watched_pick(kind: Any) -> Any:
            self.request_step()
            return pick(kind)

        lake.faults.pick = watched_pick  # type: ignore[method-assign]
        self.lake = self.open.enter_context(lake)
        self.talk = Talk(self.lake.url)
        self.open.callback(self.talk.close)
        self.digests: dict[str, str] = {}
        self.sources: dict[str, dict[str, list[list[int]]]] = {
            operation: {Path(path).name: [[1, 1, 2, 2]] for path in KEPT} for operation in OPERATIONS
        }
        self.collections: dict[str, dict[str, Any]] = {}
        self.cats_stay = True
        self.knowledge = model.Knowledge()
        self.saved_states: list[tuple[Path, model.Knowledge]] = []
        self.saved_plan: SavedPlan | None = None
        self.runs = self.changes = 0
        self.in_child: Callable[[], None] | None = None
        SEEN["sequences"] += 1

    def teardown(self) -> None:
        try:
            if self.collections:
                self.finish()
        finally:
            self.open.close()

    @initialize(tags=TAGS, override=st.booleans(), adopt=st.sampled_from(["match", "take_over"]), aged=st.booleans())
    def begin(self, tags: list[str], override: bool, adopt: str, aged: bool) -> None:
        """`aged`: runs tell files by their times, because the files are old enough for that."""
        self.in_child = type(self).prepare or (files_age_quickly if aged else None)
        for number, path in enumerate(KEPT):
            (self.project / path).parent.mkdir()
            (self.project / path).write_bytes(png(salt=b"kept" * (number + 3)))
        blocks = [
            {"operation": "people", "kind": "human", "source": "people.json"},
            {"operation": "robots", "kind": "machine", "source": "robots.json", "mode": "append"},
        ]
        common = {"type": "image", "adopt": adopt, "metadata_override": override, "prune": True}
        common |= {"metadata": {"City": "Rome", "Tags": tags}}
        self.collections = {
            "birds": {"name": "birds", "folders": [{"path": "images"}], "annotations": blocks, **common},
            "cats": {"name": "cats", "folders": [{"path": "cats"}], "annotations": blocks[:1], **common},
        }

    def step(self, kind: str) -> None:
        SEEN["steps"] += 1
        SEEN[kind] += 1
        self.changes += 1

    # The disk.

    def write(self, path: str, content: bytes) -> None:
        self.step("edits on disk")
        self.put(path, content)

    def write_some(self, content: list[bytes]) -> None:
        self.step("edits on disk")
        for path, one in zip(("images/a.png", "images/sub/d.png", "cats/a.png"), content, strict=True):
            self.put(path, one)

    def put(self, path: str, content: bytes) -> None:
        (self.project / path).parent.mkdir(exist_ok=True)
        (self.project / path).write_bytes(content)

    def delete(self, path: str, folder_too: bool) -> None:
        self.step("edits on disk")
        (self.project / path).unlink(missing_ok=True)
        sub = self.project / "images/sub"
        if folder_too and sub.exists() and not any(sub.iterdir()):
            sub.rmdir()

    def move(self, old: str, new: str) -> None:
        self.step("edits on disk")
        if (self.project / old).exists():
            (self.project / new).parent.mkdir(exist_ok=True)
            (self.project / old).rename(self.project / new)

    def touch(self, path: str) -> None:
        self.step("edits on disk")
        if (self.project / path).exists():
            os.utime(self.project / path)

    def draw_here(self, name: str, drawn: list[tuple[int, ...]], operation: str) -> None:
        self.step("edits of annotation sources")
        if name != "kept.png" or drawn:
            self.sources[operation][name] = [list(one) for one in drawn]

    def lose_entry(self, name: str, operation: str) -> None:
        self.step("edits of annotation sources")
        if name != "kept.png":
            self.sources[operation].pop(name, None)

    # The manifest.

    def edit_metadata(self, collection: str, tags: list[str], city: object) -> None:
        self.step("edits of the manifest")
        self.collections[collection]["metadata"] = {"City": city, "Tags": tags}

    def edit_folder_metadata(self, split: str | None) -> None:
        self.step("edits of the manifest")
        folder = self.collections["birds"]["folders"][0]
        folder.pop("metadata", None)
        if split:
            folder["metadata"] = {"Split": split, "Tags": [split]}

    def edit_policy(self, collection: str, prune: bool, tags: str) -> None:
        self.step("edits of the manifest")
        self.collections[collection] |= {"prune": prune, "tags": tags}

    def edit_adoption(self, adopt: str, on_change: str, override: bool) -> None:
        self.step("edits of the manifest")
        self.collections["birds"] |= {"adopt": adopt, "on_change": on_change, "metadata_override": override}

    def edit_filter(self, pattern: str | None) -> None:
        self.step("edits of the manifest")
        folder = self.collections["birds"]["folders"][0]
        folder.pop("exclude", None)
        if pattern:
            folder["exclude"] = [pattern]

    def edit_naming(self, naming: str) -> None:
        self.step("edits of naming")
        self.collections["birds"]["folders"][0]["naming"] = naming

    def edit_folders(self, more: bool) -> None:
        self.step("edits of the manifest")
        folders = self.collections["birds"]["folders"]
        del folders[1:]
        if more:
            folders.append({"path": "more"})

    def edit_operations(self, people: str | None, robots: str | None) -> None:
        self.step("edits of the manifest")
        blocks = (("people", "human", people), ("robots", "machine", robots))
        self.collections["birds"]["annotations"] = [
            {"operation": operation, "kind": kind, "source": f"{operation}.json", "mode": mode}
            for operation, kind, mode in blocks
            if mode
        ]

    def edit_collections(self, stay: bool) -> None:
        self.step("edits of the manifest")
        self.cats_stay = stay

    # Other clients of the lake.

    def picked(self, number: int) -> tuple[Key, Item]:
        """One of the files in the lake."""
        found = sorted(self.look().items(), key=lambda one: one[0])
        return found[number % len(found)]

    def another_client_trashes(self, pick: int) -> None:
        self.step("changes by other clients")
        _, item = self.picked(pick)
        self.talk.trash(objectIdList=[item.id], contentType=2)

    def another_client_uploads(self, name: str, content: bytes, tags: list[str], anew: bool) -> None:
        self.step("changes by other clients")
        there = self.look().get(("birds", name))
        if there is not None and anew:
            self.talk.trash(objectIdList=[there.id], contentType=2)
        if there is None or anew:
            self.talk.upload({name: content}, "birds", metadata={"City": "Paris", "Tags": [*tags, "theirs"]})

    def another_client_edits_metadata(self, pick: int, tags: list[str], city: str) -> None:
        self.step("changes by other clients")
        (collection, name), _ = self.picked(pick)
        entry = {"file": f"{collection}_{name}", "metadata": {"Tags": [*tags, "theirs"], "City": city}}
        self.talk.asked("/api/client/metadata/uploadMetadataByJson", {"metadata": [entry]})

    def another_client_draws(self, pick: int, drawn: list[tuple[int, ...]], operation: str) -> None:
        self.step("changes by other clients")
        (collection, name), _ = self.picked(pick)
        shapes = [box("bird", *one) for one in drawn]
        assert self.talk.annotate(operation, [image_set(f"{collection}_{name}", *shapes)]).status_code == 200

    # The state.

    @property
    def state(self) -> Path:
        return self.project / ".metalake-sync/manifest.db"

    def state_files(self, folder: Path) -> list[Path]:
        return [
            path for path in folder.glob("manifest.db*") if path.suffix != ".lock" and not path.name.endswith("-shm")
        ]

    def lose_state(self) -> None:
        self.step("states lost")
        self.drop_state()
        self.knowledge = model.Knowledge()

    def drop_state(self) -> None:
        for file in self.state.parent.glob("manifest.db*"):
            if file.suffix != ".lock":
                file.unlink()

    def copy_state(self) -> None:
        self.step("states copied")
        copy = self.folder / f"state{len(self.saved_states)}"
        copy.mkdir()
        for file in self.state_files(self.state.parent):
            shutil.copy(file, copy)
        self.saved_states.append((copy, self.knowledge.copy()))

    def restore_state(self, pick: int) -> None:
        """Put an older state back; where there is none, copy this one."""
        if not self.saved_states:
            self.copy_state()
            return
        self.step("states restored")
        copy, knowledge = self.saved_states[pick % len(self.saved_states)]
        self.drop_state()
        for file in self.state_files(copy):
            shutil.copy(file, self.state.parent)
        self.knowledge = knowledge.copy()

    # Runs.

    def apply(self, refresh: str) -> None:
        self.step("applies")
        self.judged(refresh)

    def apply_target(self, refresh: str, part: str) -> None:
        self.step("applies with a target")
        self.judged(refresh, part)

    def apply_killed_at_request(self, refresh: str, place: int, part: str | None) -> None:
        self.step("kills")
        self.judged(refresh, part, die_at_request=place)

    def apply_killed_at_commit(self, refresh: str, place: int, part: str | None) -> None:
        self.step("kills")
        self.judged(refresh, part, die_at_commit=place)

    def apply_under_faults(self, refresh: str, faults: list[dict[str, Any]], number: int) -> None:
        self.step("applies under faults")
        self.lake.faults.use(FaultPlan.model_validate({"seed": number, "faults": faults}))
        try:
            self.judged(refresh)
        finally:
            self.lake.faults.use(FaultPlan())

    def save_plan(self, refresh: str, part: str | None) -> None:
        self.step("plans saved")
        about = self.about(refresh, part)
        before = self.look()
        options = [*self.options(refresh, part), "--out", "saved.plan", "--json"]
        done = self.run("plan", "manifest.yaml", *options)
        model.must_be_same(before, self.look(), "changed by a plan")
        self.saved_plan = None
        if about is None or (done.code == 64 and part):
            assert done.code == 64, done
            return
        assert done.code == 0, done
        actions = json.loads(done.out)["actions"]
        due = frozenset((action["collection"], action.get("file")) for action in actions)
        sends = {
            action["path"]: (self.project / action["path"]).read_bytes()
            for action in actions
            if action["action"] in ("upload", "replace")
        }
        targets = (part,) if part else ()
        self.saved_plan = SavedPlan(refresh == "full", targets, self.meaning(), self.runs, self.changes, due, sends)

    def apply_saved_plan(self) -> None:
        self.step("saved plans applied")
        plan = self.saved_plan
        assert plan is not None
        unmoved = self.changes == plan.world + 1
        about = self.about("full" if plan.full else "list", plan.targets[0] if plan.targets else None)
        before = self.look()
        done = self.run("apply", "saved.plan", "--json")
        after = self.look()
        if about is None:
            assert done.code == 64, done
        elif unmoved:
            assert done.code in (0, 1, 3), done
        stale = self.meaning() != plan.manifest or any(
            not (self.project / path).exists() or (self.project / path).read_bytes() != content
            for path, content in plan.sends.items()
        )
        if stale and done.code == 0:
            raise Objection(f"a stale plan was carried out: {done}")
        waits = about is not None and model.may_wait(self.knowledge, about, before)
        if done.code != 0 and not (done.code == 3 and waits):
            assert done.code in (1, 7, 64), done
            SEEN["stale plans refused"] += done.code == 7
            model.must_be_same(before, after, "changed by a plan that was refused")
            return
        assert about is not None
        self.runs += 1
        if unmoved and done.code == 0:
            model.judge_success(self.knowledge, about, before, after)
        else:
            left_out = {key for key in {*before, *after, *about.wanted} if key not in plan.due}
            model.judge_interruption(self.knowledge, about, before, after, left_out)
        self.saved_plan = None

    # The steps of a sequence. They are few, because each sequence leaves some of them out.

    def do(self, step: Step) -> None:
        name, arguments = step
        getattr(self, name)(**arguments)

    @rule(step=EDITS_ON_DISK)
    def edit_disk(self, step: Step) -> None:
        self.do(step)

    @rule(step=EDITS_OF_MANIFEST)
    def edit_manifest(self, step: Step) -> None:
        self.do(step)

    @rule(step=EDITS_ON_DISK | EDITS_OF_MANIFEST)
    def edit(self, step: Step) -> None:
        self.do(step)

    @rule(step=OTHER_CLIENTS)
    @precondition(lambda self: self.look())
    def another_client(self, step: Step) -> None:
        self.do(step)

    @rule(step=STATES)
    @precondition(lambda self: self.state.exists())
    def touch_state(self, step: Step) -> None:
        self.do(step)

    @rule(step=WHOLE_RUNS)
    def run_to_the_end(self, step: Step) -> None:
        self.do(step)

    @rule(step=DISTURBED_RUNS)
    def run_disturbed(self, step: Step) -> None:
        self.do(step)

    @rule(refresh=REFRESHES, part=st.sampled_from([None, None, "birds", "birds/a*"]), at_once=st.booleans())
    def saved_plans(self, refresh: str, part: str | None, at_once: bool) -> None:
        """Save a plan, or apply the one that was saved before."""
        if self.saved_plan is None:
            self.save_plan(refresh, part)
        else:
            at_once = True
        if self.saved_plan is not None and at_once:
            self.apply_saved_plan()

    # What is made of all this.

    def finish(self) -> None:
        """Whatever happened, a run that looks closely sets everything right, and leaves nothing to do."""
        self.judged("full")
        about = self.about("full", None)
        if about is not None and self.rests:
            for name in about.policies:
                head, wanted = self.head(name), self.collections[name]["metadata"]
                assert head.get("City") == wanted["City"], (name, head)
                assert set(head.get("Tags") or ()) >= set(wanted["Tags"]), (name, head)
            refresh = "full" if self.runs % 3 else "list"
            done = self.run("plan", "manifest.yaml", "--detailed-exitcode", "--refresh", refresh, "--json")
            if done.code != 0:
                raise Objection(f"there is still something to do: {done}")

    def options(self, refresh: str, target: str | None) -> list[str]:
        return ["--refresh", refresh, *(("--target", target) if target else ())]

    def judged(
        self, refresh: str, target: str | None = None, *, die_at_request: int = 0, die_at_commit: int | str = 0
    ) -> None:
        """Run an apply, and let the model judge it."""
        about = self.about(refresh, target)
        before = self.look()
        options = ["--auto-approve", "--json", "--max-delete", "100%", *self.options(refresh, target)]
        done = self.run("apply", "manifest.yaml", *options, die_at_request=die_at_request, die_at_commit=die_at_commit)
        after = self.look()
        self.runs += 1
        SEEN["runs"] += 1
        assert done.code == -signal.SIGKILL or not isinstance(die_at_commit, str), "nothing is called like that"
        self.rests = done.code == 0
        if done.code == -signal.SIGKILL:
            SEEN["killed"] += 1
        if about is None:
            model.must_be_same(before, after, "changed under a manifest that can't be carried out")
            assert done.code in (64, 5, -signal.SIGKILL), done
            assert done.code == 64 or self.lake.faults.active or die_at_commit or die_at_request
            return
        if done.code == 64:
            assert target is not None, done
            assert "matches no file" in done.errors or "does not name a collection" in done.errors, done
            model.must_be_same(before, after, "changed by a run without a part")
            return
        possible, necessary = model.may_be_refused(self.knowledge, about, before)
        if done.code == 1:
            assert possible, done
            model.must_be_same(before, after, "changed by a run that was refused")
            return
        assert done.code != 0 or not necessary, done
        if done.code == 0:
            model.judge_success(self.knowledge, about, before, after)
            return
        if not (done.code == 3 and model.may_wait(self.knowledge, about, before)):
            assert done.code == -signal.SIGKILL or (done.code in FORESEEN and self.lake.faults.active), done
        model.judge_interruption(self.knowledge, about, before, after)

    def in_manifest(self) -> list[dict[str, Any]]:
        """The collections of the manifest."""
        return [self.collections["birds"], *([self.collections["cats"]] if self.cats_stay else [])]

    def meaning(self) -> str:
        """What the manifest says, as a text."""
        return json.dumps(model.meaning(self.in_manifest()), sort_keys=True)

    def about(self, refresh: str, target: str | None) -> model.Run | None:
        """Write the manifest and its sources; what a run of them is about, None where two files have one name."""
        collections = self.in_manifest()
        remote = {"url": self.lake.url, "api_key": API_KEY, "secret": SECRET}
        document = {"version": 1, "remote": remote, "collections": collections}
        _write_if_changed(self.project / "manifest.yaml", yaml.safe_dump(document, sort_keys=False))
        for operation, drawn in self.sources.items():
            images = [
                {
                    "image": name,
                    "annotations": [
                        {"type": "rectangle", "bbox": one, "label": "bird", "metadata": {}} for one in drawn[name]
                    ],
                }
                for name in sorted(drawn)
            ]
            _write_if_changed(self.project / f"{operation}.json", json.dumps({"images": images}))
        disk = {}
        for folder in ("images", "more", "cats"):
            for path in sorted((self.project / folder).rglob("*.png")):
                content = path.read_bytes()
                disk[str(path.relative_to(self.project))] = (_digest(content), len(content))
        sources: dict[str, dict[str, Shapes]] = {
            operation: {name: tuple(tuple(map(float, one)) for one in boxes) for name, boxes in drawn.items()}
            for operation, drawn in self.sources.items()
        }
        wanted: dict[Key, model.Wish] = {}
        for collection in collections:
            try:
                found = model.wishes(collection, disk, sources)
            except model.Collision:
                return None
            wanted |= {(collection["name"], name): wish for name, wish in found.items()}
        policies = {collection["name"]: model.policy_of(collection) for collection in collections}
        roots = {folder["path"] for collection in collections for folder in collection["folders"]}
        hidden = partial(_is_hidden, self.project, roots)
        return model.Run(wanted, policies, (target,) if target else (), refresh == "full", hidden)

    def look(self) -> Lake:
        """What the lake has, straight from its database."""
        found: dict[Key, Item] = {}
        place = self.folder / "lake"
        with contextlib.closing(sqlite3.connect(f"file:{place}/lake.db?mode=ro", uri=True)) as db:
            sets: dict[str, dict[str, Shapes]] = {}
            for item, operation, shapes in db.execute("SELECT item, operation, shapes FROM annotation_sets"):
                boxes = tuple(_box_of(shape) for shape in json.loads(shapes))
                if boxes:
                    sets.setdefault(item, {})[operation] = boxes
            rows = db.execute(
                "SELECT items.id, collections.name, items.name, blob, size_bytes, items.metadata FROM items"
                " JOIN collections ON collections.id = items.collection WHERE NOT items.trashed"
            )
            for lake_id, collection, name, blob, size, metadata in rows:
                if blob not in self.digests:
                    self.digests[blob] = _digest((place / "objects" / blob[-2:] / blob).read_bytes())
                key = (collection, name)
                assert key not in found, f"{key} is twice in the lake"
                found[key] = Item(lake_id, self.digests[blob], size, json.loads(metadata), sets.get(lake_id, {}))
        return found

    def head(self, collection: str) -> dict[str, Any]:
        """The metadata of a collection itself."""
        with contextlib.closing(sqlite3.connect(f"file:{self.folder}/lake/lake.db?mode=ro", uri=True)) as db:
            row = db.execute("SELECT metadata FROM collections WHERE name = ? AND NOT trashed", [collection]).fetchone()
            head: dict[str, Any] = json.loads(row[0])
            return head

    def request_step(self) -> None:
        self.steps += 1
        if self.on_step and self.steps == self.on_step:
            self.started.wait()
            pid = self.victim[0].pid
            assert pid is not None
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.002)

    def run(self, *args: str, die_at_request: int = 0, die_at_commit: int | str = 0) -> Done:
        """Run the command line in a child that may be killed."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.project), "NO_PROXY": "*"}
        self.steps, self.on_step = 0, die_at_request
        self.started.clear()
        child: Child = CONTEXT.Process(
            target=run_in_child,
            args=(
                str(self.project),
                [*args, "--parallelism", "4"],
                environment,
                die_at_commit,
                self.in_child,
                self.lake.faults.active,
            ),
        )
        self.victim[:] = [child]
        child.start()
        self.started.set()
        child.join()
        self.on_step = 0
        assert child.exitcode is not None
        if child.exitcode == -signal.SIGKILL:
            # What is still in the lake's hands is done when it answers this.
            self.talk.items()
        out, errors = ((self.folder / f"output.{number}").read_text() for number in (1, 2))
        assert "Traceback" not in errors, errors
        assert "mistake in metalake-sync" not in errors, errors
        return Done(child.exitcode, out, errors)


def _write_if_changed(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _box_of(shape: dict[str, Any]) -> tuple[float, ...]:
    xs, ys = zip(*shape["points"], strict=True)
    return (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))


def _is_hidden(project: Path, roots: Iterable[str], path: str) -> bool:
    """Whether a file that is gone may be in a folder that is only empty for now, as an unmounted disk is."""
    folder = os.path.dirname(path)
    root = path.split("/")[0]
    if root not in roots or (project / path).exists():
        return False
    while folder not in (root, ""):
        if (project / folder).exists():
            return not any((project / folder).iterdir())
        folder = os.path.dirname(folder)
    return False


@contextlib.contextmanager
def beginning(kind: type[Machine]) -> Iterator[Machine]:
    """A project as most sequences find it."""
    machine = kind()
    try:
        machine.begin(tags=["red"], override=False, adopt="match", aged=True)
        yield machine
    finally:
        machine.open.close()


def run_machine(*, runs: int, steps: int, shard: int) -> None:
    """Run so many sequences of so many steps. `shard`: chooses which."""
    chosen = int(os.environ.get("METALAKE_SYNC_MODEL_SEED", "0"))
    shrinks = os.environ.get("METALAKE_SYNC_MODEL_SHRINK", "0") != "0"
    phases = (Phase.generate, Phase.shrink) if shrinks else (Phase.generate,)
    SEEN.clear()
    try:
        run_state_machine_as_test(
            seed(chosen * 1000 + shard)(Machine),
            settings=settings(
                max_examples=runs,
                stateful_step_count=steps,
                phases=phases,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
                report_multiple_bugs=False,
            ),
        )
    finally:
        counts = ", ".join(f"{count} {what}" for what, count in sorted(SEEN.items()))
        print(f"\nMETALAKE_SYNC_MODEL_SEED={chosen}, shard {shard}: {counts}")


def test_the_model_shares_no_code_with_the_engine() -> None:
    tree = ast.parse(Path(model.__file__).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in imported if name.startswith(("metalake_sync", "tests", "."))}


def test_random_sequences_end_as_the_model_says() -> None:
    run_machine(runs=4, steps=12, shard=999)


SHARDS, RUNS = 40, 50


@pytest.mark.long
@pytest.mark.parametrize("shard", range(SHARDS))
def test_2000_random_sequences_end_as_the_model_says(shard: int) -> None:
    run_machine(runs=RUNS, steps=15, shard=shard)


# Short sequences to which the model objected once.


def killed_then_edited_by_another_client(machine: Machine) -> None:
    machine.judged("list", die_at_commit="before uploads._completed")
    entry = {"file": "birds_kept.png", "metadata": {"Tags": ["theirs"], "City": "Paris"}}
    machine.talk.asked("/api/client/metadata/uploadMetadataByJson", {"metadata": [entry]})
    machine.finish()


def killed_when_it_had_replaced(machine: Machine) -> None:
    machine.write("images/b.png", CONTENTS[0])
    machine.apply("full")
    machine.write("images/b.png", CONTENTS[2])
    machine.judged("list", die_at_commit="before uploads._completed")
    machine.finish()


def trashed_before_the_next_look(machine: Machine) -> None:
    machine.apply("full")
    machine.apply("full")
    machine.write("images/b.png", CONTENTS[0])
    machine.apply("list")
    machine.talk.trash(objectIdList=[machine.look()["birds", "b.png"].id], contentType=2)
    machine.apply("list")


def adopted_with_another_size(machine: Machine) -> None:
    machine.talk.upload({"b.png": CONTENTS[4]}, "birds")
    machine.write("images/b.png", CONTENTS[0])
    time.sleep(2 * AGED_AFTER_NS / 1e9)
    machine.edit_adoption("take_over", "keep", override=True)
    machine.apply("full")
    machine.draw_here("b.png", [(1, 1, 2, 2)], "people")
    machine.edit_metadata("birds", ["blue"], "Oslo")
    machine.apply("full")
    machine.edit_adoption("take_over", "replace", override=True)
    machine.apply("list")


def killed_before_it_trashed_what_is_gone_by_now(machine: Machine) -> None:
    for name in ("images/a.png", "images/b.png"):
        machine.write(name, CONTENTS[0])
    machine.apply("full")
    for name in ("images/a.png", "images/b.png"):
        machine.write(name, CONTENTS[2])
    machine.judged("list", die_at_commit="after recorder.about_to_trash")
    machine.delete("images/a.png", folder_too=False)
    machine.finish()


def killed_between_trash_and_upload_of_another_part(machine: Machine) -> None:
    for name in ("images/a.png", "cats/a.png"):
        machine.write(name, CONTENTS[0])
    machine.apply("full")
    machine.write("cats/a.png", CONTENTS[2])
    machine.judged("list", die_at_commit="before uploads.send")
    assert ("cats", "a.png") not in machine.look()
    machine.write("images/a.png", CONTENTS[2])
    machine.apply_target("list", "birds")
    machine.apply("list")
    assert machine.rests
    machine.finish()


def saved_and_said_in_other_words(machine: Machine) -> None:
    machine.save_plan("list", None)
    machine.edit_metadata("birds", ["red"], "Rome")
    machine.edit_policy("birds", prune=True, tags="own")
    machine.apply_saved_plan()
    assert machine.look()


def killed_twice_with_other_tags_between(machine: Machine) -> None:
    machine.judged("list", die_at_commit="after session_files._journal_sent")
    assert not machine.look()
    machine.edit_metadata("birds", [], "Rome")
    machine.judged("list", die_at_commit="before uploads._completed")
    assert machine.look()["birds", "kept.png"].tags == {"red"}
    machine.finish()


OBJECTED = [
    killed_then_edited_by_another_client,
    killed_when_it_had_replaced,
    trashed_before_the_next_look,
    adopted_with_another_size,
    killed_before_it_trashed_what_is_gone_by_now,
    killed_between_trash_and_upload_of_another_part,
    saved_and_said_in_other_words,
    killed_twice_with_other_tags_between,
]


@pytest.mark.parametrize("steps", OBJECTED, ids=[steps.__name__ for steps in OBJECTED])
def test_the_model_has_no_objection_any_more_to(steps: Callable[[Machine], None]) -> None:
    with beginning(Machine) as machine:
        steps(machine)


# The model finds a broken engine. Each of these breaks one thing in the child, before its run.


def put_into(*modules: ModuleType, **names: object) -> None:
    """Replace names that every one of the modules has."""
    for module in modules:
        assert names.keys() <= vars(module).keys()
        vars(module).update(names)


def blind_to_edited_shapes() -> None:
    from metalake_sync.core import diff_sets

    put_into(diff_sets, has_drifted=lambda *_: False)


def prunes_what_it_adopted() -> None:
    from metalake_sync.core import diff
    from metalake_sync.core.snapshots import Origin

    decide = diff._not_desired

    def greedy(rules: Any, recorded: Any, remote: Any, gone: Any) -> Any:
        return decide(rules, recorded and dataclasses.replace(recorded, origin=Origin.UPLOADED), remote, gone)

    put_into(diff, _not_desired=greedy)


def overwrites_tags() -> None:
    from metalake_sync.apply import metadata as stage
    from metalake_sync.core import metadata as rules

    put_into(rules, stage, merge_tags=lambda *, before, ours, theirs: list(ours))


def ignores_targets() -> None:
    from metalake_sync.core.targets import Target

    Target.takes = lambda self, collection, name: True  # type: ignore[method-assign]


def carries_out_stale_plans() -> None:
    from metalake_sync.apply import run

    put_into(run, find_stale_facts=lambda *_: iter(()))


def disowns_what_a_killed_run_sent() -> None:
    from metalake_sync.planning import collection_planner

    put_into(collection_planner, found_in_lake=lambda *_: {})


def shapes_edited(machine: Machine) -> None:
    machine.apply("full")
    machine.talk.annotate("people", [image_set("birds_kept.png", box("bird", 2, 2, 3, 3))])
    machine.apply("full")


def adopted_file_gone(machine: Machine) -> None:
    machine.talk.upload({"b.png": CONTENTS[0]}, "birds")
    machine.write("images/b.png", CONTENTS[0])
    machine.apply("full")
    machine.delete("images/b.png", folder_too=False)
    machine.apply("full")


def tags_of_others(machine: Machine) -> None:
    machine.apply("full")
    entry = {"file": "birds_kept.png", "metadata": {"Tags": ["red", "theirs"]}}
    machine.talk.asked("/api/client/metadata/uploadMetadataByJson", {"metadata": [entry]})
    machine.edit_metadata("birds", ["red", "blue"], "Oslo")
    machine.apply("full")


def part(machine: Machine) -> None:
    machine.apply("full")
    machine.write("images/b.png", CONTENTS[0])
    machine.write("images/a.png", CONTENTS[1])
    machine.apply_target("list", "birds/a*")


def stale_plan(machine: Machine) -> None:
    machine.write("images/b.png", CONTENTS[0])
    machine.save_plan("list", None)
    machine.write("images/b.png", CONTENTS[2])
    machine.apply_saved_plan()


def killed_and_gone(machine: Machine) -> None:
    machine.apply("full")
    machine.write("images/b.png", CONTENTS[0])
    machine.judged("list", die_at_commit="before uploads._completed")
    assert ("birds", "b.png") in machine.look()
    machine.apply("full")
    machine.delete("images/b.png", folder_too=False)
    machine.apply("full")


BROKEN = [
    (blind_to_edited_shapes, shapes_edited),
    (prunes_what_it_adopted, adopted_file_gone),
    (overwrites_tags, tags_of_others),
    (ignores_targets, part),
    (carries_out_stale_plans, stale_plan),
    (disowns_what_a_killed_run_sent, killed_and_gone),
]


@pytest.mark.parametrize(("defect", "steps"), BROKEN, ids=[defect.__name__ for defect, _ in BROKEN])
def test_the_model_objects_to_an_engine_that(defect: Callable[[], None], steps: Callable[[Machine], None]) -> None:
    with beginning(Machine) as machine:
        steps(machine)
    with beginning(type("Broken", (Machine,), {"prepare": staticmethod(defect)})) as machine, pytest.raises(Objection):
        steps(machine)
