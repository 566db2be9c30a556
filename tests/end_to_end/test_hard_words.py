"""Names and texts that a terminal or JSON cannot hold unchanged."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.embedded_lake.talk import png
from tests.end_to_end.daemon import names, watching
from tests.end_to_end.world import BIRDS, PROGRAM, World


@pytest.mark.parametrize("command", ["plan", "apply", "validate"])
def test_a_name_that_is_not_utf8_is_escaped_readably_in_json(world: World, command: str) -> None:
    world.images("a.png")
    Path(os.fsdecode(os.fsencode(world.folder / "images") + b"/bad\xff.png")).write_bytes(png())
    world.manifest(BIRDS)
    done = world.run(command, "--json", "manifest.yaml")
    assert done.code == (3 if command == "apply" else 0), done.err
    assert "bad\\\\udcff.png" in done.out


def test_a_line_break_in_a_name_starts_no_line_of_output(world: World) -> None:
    world.images("a.png", "new\nnote: forged.png")
    world.manifest(BIRDS)
    done = world.run("plan", "manifest.yaml")
    assert "new\\nnote: forged.png: has control characters" in done.out
    assert not any(line.startswith("note: forged") for line in done.out.splitlines())


HALF = "\ud800"


@pytest.mark.parametrize("metadata", [{"k": HALF}, {HALF: "x"}, {"k": {"deep": [HALF]}}, {"Tags": [HALF]}])
def test_an_incomplete_character_in_metadata_is_an_error_before_anything_is_sent(
    world: World, metadata: dict[str, object]
) -> None:
    world.images("a.png")
    world.write("metadata.json", {"files": [{"file": "a.png", "metadata": metadata}]})
    world.manifest({**BIRDS, "file_metadata": ["metadata.json"]})
    done = world.run("validate", "manifest.yaml")
    assert done.code == 64
    assert "metadata.json: files[0]: the text contains half a character" in done.err


SOURCES = {
    "sidecar": ({"from": "sidecar"}, "images/bad.json", '{"Depth": -2e308}'),
    "json": ("meta.json", "meta.json", '{"files": [{"file": "bad.png", "metadata": {"Depth": NaN}}]}'),
    "table": ({"source": "meta.csv", "types": {"Depth": "number"}}, "meta.csv", "file,Depth\nbad.png,deep\n"),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_broken_metadata_of_one_file_excludes_only_that_file(world: World, kind: str) -> None:
    entry, path, text = SOURCES[kind]
    world.images("a.png", "bad.png")
    world.manifest({**BIRDS, "metadata": {"Tags": ["sea"]}, "file_metadata": [entry]})
    world.write(path, text)
    for command, code in (("validate", 64), ("plan", 3), ("apply", 3)):
        done = world.run(command, "manifest.yaml")
        assert done.code == code, (command, done.err)
        assert "images/bad.png: is left out" in done.out + done.err
        assert "'Depth' is " in done.out + done.err
    assert world.names() == ["a.png"]

    world.write(path, text.replace("-2e308", "4").replace("NaN", "4").replace("deep", "4"))
    world.good("apply", "manifest.yaml")
    assert world.names() == ["a.png", "bad.png"]

    # What is recorded stays as it is while its metadata is unknown: nothing is sent, and nothing is pruned.
    world.write(path, text)
    world.manifest({**BIRDS, "prune": True, "metadata": {"Tags": ["sea"]}, "file_metadata": [entry]})
    writes = world.lake.requests.writes
    assert world.run("apply", "manifest.yaml", "--auto-approve").code == 3
    assert (world.names(), world.lake.requests.writes) == (["a.png", "bad.png"], writes)
    assert "its metadata is invalid" in world.run("plan", "manifest.yaml", "--explain", "images/bad.png").out


def test_a_watch_continues_despite_a_broken_sidecar_file(world: World) -> None:
    world.images("a.png")
    world.manifest({**BIRDS, "file_metadata": [{"from": "sidecar"}]})
    with watching(world) as daemon:
        world.write("images/bad.json", '{"Depth": 2e308}')
        world.images("bad.png")
        daemon.wait(lambda: "images/bad.json: 'Depth'" in daemon.log)
        world.images("c.png")
        daemon.wait(lambda: names(world) == ["a.png", "c.png"])
        world.write("images/bad.json", '{"Depth": 2}')
        daemon.wait(lambda: names(world) == ["a.png", "bad.png", "c.png"])
        assert daemon.stop() == 0


def test_an_incomplete_character_in_a_label_is_an_error_before_anything_is_sent(world: World) -> None:
    world.images("a.png")
    shape = {"type": "rectangle", "bbox": [1, 1, 2, 2], "label": HALF, "metadata": {}}
    world.write("people.json", json.dumps({"images": [{"image": "a.png", "annotations": [shape]}]}))
    world.manifest({**BIRDS, "annotations": [{"operation": "people", "kind": "human", "source": "people.json"}]})
    done = world.run("validate", "manifest.yaml")
    assert done.code == 64
    assert "people.json: images[0]: the text contains half a character" in done.err


def test_a_run_that_finishes_an_earlier_one_reports_what_it_sent(world: World) -> None:
    for number in range(40):
        world.write(f"images/{number:02}.png", png(salt=b"%d" % number) + b"\0" * 40_000)
    world.manifest(BIRDS)
    stopped = World(world.folder, world.lake, world.talk, ["timeout", "-s", "KILL", "3"])
    assert stopped.run("apply", "manifest.yaml", "--bwlimit", "300k").code != 0
    summary = world.good("apply", "--json", "manifest.yaml").summary
    assert summary["done"]["upload"] == 40
    assert summary["seconds"] > 0
    assert "40 files uploaded" not in world.good("apply", "manifest.yaml").out
    assert "40 files uploaded" in world.good("status", "manifest.yaml").out


def test_a_full_output_device_is_not_an_internal_error(world: World) -> None:
    world.manifest(BIRDS)
    with open("/dev/full", "w") as full:
        done = subprocess.run([PROGRAM, "schema"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "error: cannot write the output (No space left on device). Free some disk space.\n",
    )


def test_a_command_without_arguments_prints_its_help(world: World) -> None:
    done = world.run()
    assert done.code == 64
    assert done.err.startswith("Usage: metalake-sync")
    assert "error:" not in done.err


def test_missing_folders_are_reported_with_the_other_errors(world: World) -> None:
    world.manifest({**BIRDS, "folders": [{"path": "nowhere"}], "file_metadata": ["nofile.json"]})
    done = world.run("validate", "manifest.yaml")
    assert done.code == 64
    assert "'nowhere' does not exist" in done.err
    assert "nofile.json" in done.err


@pytest.mark.parametrize("folder", ["tab\there", "line\nbreak", "c1\u0085"])
def test_a_folder_name_that_the_lake_rejects_excludes_only_its_files(world: World, folder: str) -> None:
    world.images("a.png")
    world.images("b.png", "c.png", folder=f"images/{folder}/deep")
    world.manifest({**BIRDS, "folders": [{"path": "images", "naming": "path"}]})
    done = world.run("apply", "manifest.yaml")
    assert done.code == 3
    assert done.out.count("has a folder in its path whose name the lake does not accept") == 2
    assert world.names() == ["a.png"]
    world.manifest(BIRDS)
    world.good("apply", "manifest.yaml")
    assert world.names() == ["a.png", "b.png", "c.png"]


VOC = "<annotation><filename>{0}.png</filename>{1}</annotation>"
BOX = "<object><name>bird</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>{}</xmax><ymax>4</ymax></bndbox></object>"
LABELS = {
    "yolo": (".txt", "0 0.5 0.5 0.2 0.2\n", "0 0.5 0.5 0.4 0.4\n", "0 0.5 0.5 0.2 wide\n"),
    "voc": (".xml", VOC.format("{0}", BOX.format(4)), VOC.format("{0}", BOX.format(9)), "<annotation><object>"),
}


@pytest.mark.parametrize("kind", LABELS)
def test_one_broken_label_file_excludes_only_its_image(world: World, kind: str) -> None:
    ending, first, second, broken = LABELS[kind]
    world.images("a.png", "bad.png", "gone.png")
    world.write("labels/classes.txt", "bird\n")
    for stem in ("a", "bad", "gone"):
        world.write(f"labels/{stem}{ending}", first.format(stem))
    annotation = {"operation": "op", "kind": "human", "source": "labels", "format": kind}
    world.manifest({**BIRDS, "annotations": [annotation]})
    world.good("apply", "manifest.yaml")
    before = world.talk.annotations(world.collection_id())
    assert [len(before[f"{stem}.png"]) for stem in ("a", "bad", "gone")] == [1, 1, 1]

    world.write(f"labels/a{ending}", second.format("a"))
    world.write(f"labels/bad{ending}", broken)
    (world.folder / f"labels/gone{ending}").unlink()
    for command, code in (("validate", 64), ("plan", 3), ("apply", 3)):
        done = world.run(command, "manifest.yaml")
        assert done.code == code, (command, done.out, done.err)
        assert f"labels/bad{ending}" in done.out + done.err
    after = world.talk.annotations(world.collection_id())
    assert after["a.png"] != before["a.png"]
    # What the broken file would have said is not known, so nothing is cleared.
    assert (after["bad.png"], after["gone.png"]) == (before["bad.png"], before["gone.png"])
    world.write(f"labels/bad{ending}", second.format("bad"))
    assert world.good("apply", "--json", "--auto-approve", "manifest.yaml").summary["done"]["remove_annotations"] == 1


@pytest.mark.parametrize(
    "shape",
    [
        {"type": "cube", "bbox": [1, 1, 2, 2], "label": "bird"},
        {"type": "rectangle", "bbox": [1, 1, 2, 2], "label": 7},
        {"type": "rectangle", "bbox": [1, 1, 2, 2], "label": HALF},
        "no shape",
    ],
    ids=["type", "label", "text", "word"],
)
def test_one_broken_entry_excludes_only_its_image(world: World, shape: object) -> None:
    good = {"type": "rectangle", "bbox": [1, 1, 2, 2], "label": "bird"}
    world.images("a.png", "bad.png")

    def say(a: object, bad: object) -> None:
        entries = [{"image": "bad.png", "annotations": [bad]}, {"image": "a.png", "annotations": [a]}]
        world.write("people.json", json.dumps({"images": entries}))

    say(good, good)
    annotation = {"operation": "people", "kind": "human", "source": "people.json"}
    world.manifest({**BIRDS, "annotations": [annotation]})
    world.good("apply", "manifest.yaml")
    before = world.talk.annotations(world.collection_id())
    say({**good, "bbox": [2, 2, 3, 3]}, shape)
    done = world.run("apply", "manifest.yaml")
    assert done.code == 3
    assert "people.json: images[0]" in done.out
    after = world.talk.annotations(world.collection_id())
    assert after["bad.png"] == before["bad.png"] != []
    assert after["a.png"] != before["a.png"]
    world.manifest({**BIRDS, "annotations": [{**annotation, "strict": True}]})
    assert world.run("apply", "manifest.yaml").code == 64
