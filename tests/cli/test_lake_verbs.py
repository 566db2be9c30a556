"""The commands that make single calls: their output, prompts and exit codes."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from typing import Any

import pytest
import requests

from metalake_sync.cli.main import COMMANDS, cli, run
from metalake_sync.errors import ExitCode
from tests.embedded_lake.talk import API_KEY, SECRET, png
from tests.end_to_end.world import PROGRAM, World

VERBS = ("item", "collection", "metadata", "annotations", "trash", "url", "job", "pull")


@pytest.fixture
def stocked(world: World) -> World:
    """A lake with a collection of twelve images, every third of them tagged."""
    world.talk.upload({f"{number:02}.png": png(salt=bytes([number])) for number in range(12)}, "birds")
    entries = [{"file": f"{number:02}.png", "metadata": {"Tags": ["skip"]}} for number in range(0, 12, 3)]
    body = {"metadata": entries, "collectionId": world.collection_id()}
    world.talk.asked("/api/client/metadata/uploadMetadataByJson", body)
    return world


def leaves() -> list[tuple[str, ...]]:
    """Every such command with its subcommands."""
    found: list[tuple[str, ...]] = []
    for verb in VERBS:
        command: Any = cli.get_command(None, verb)  # type: ignore[arg-type]
        below = getattr(command, "commands", None)
        found += [(verb, name) for name in below] if below else [(verb,)]
    return found


@pytest.mark.parametrize("words", leaves())
def test_every_verb_has_json_and_an_example(words: tuple[str, ...]) -> None:
    command: Any = cli.get_command(None, words[0])  # type: ignore[arg-type]
    for word in words[1:]:
        command = command.commands[word]
    assert command.epilog.startswith("Example: ")
    assert f"metalake-sync {' '.join(words)}" in command.epilog
    assert any("--json" in parameter.opts for parameter in command.params)
    assert command.help


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_group_shows_an_example(name: str) -> None:
    command = cli.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None
    assert f"metalake-sync {name}" in (command.epilog or "")


def test_trash_shows_its_items_and_does_nothing_without_approval(stocked: World) -> None:
    done = stocked.run("trash", "collection", "birds", "--query", "metadata.Tags=skip")
    assert done.code == ExitCode.GUARDED
    assert [line for line in done.out.splitlines() if line.startswith("  - ")] == [
        f"  - birds_{number:02}.png" for number in range(0, 12, 3)
    ]
    assert "To trash: 4 items" in done.out
    assert "no terminal can show a prompt" in done.err
    assert len(stocked.names()) == 12
    done = stocked.run("trash", "lake", "image", "--annotated", "raw", "--json")
    assert done.code == ExitCode.GUARDED
    assert (done.document["to_trash"], len(done.document["items"])) == (12, 10)
    assert json.loads(done.err)["exit_code"] == ExitCode.GUARDED


def test_trash_shows_the_first_of_many_and_all_when_asked(stocked: World) -> None:
    some = stocked.run("trash", "lake", "image", "--annotated", "raw").out
    assert some.count("  - ") == 10
    assert "and 2 more" in some
    assert stocked.run("trash", "lake", "image", "--annotated", "raw", "-v").out.count("  - ") == 12


def test_trash_moves_only_approved_items(stocked: World) -> None:
    gone = stocked.good("trash", "lake", "image", "--query", "metadata.Tags=skip", "--auto-approve", "--json").document
    assert (gone["trashed"], gone["failed"]) == (4, 0)
    assert len(stocked.names()) == 8
    assert "nothing to do" in stocked.good("trash", "lake", "image", "--query", "metadata.Tags=skip").out
    whole = stocked.good("trash", "collection", "birds", "--auto-approve")
    assert "the collection birds (image) with 8 items" in whole.out
    assert stocked.talk.count(contentType=2) == 0
    assert stocked.run("trash", "lake", "image").code == ExitCode.USAGE


@pytest.mark.parametrize(("answer", "left"), [("y\n", 8), ("n\n", 12)])
def test_trash_prompts_on_a_terminal(stocked: World, answer: str, left: int) -> None:
    here, there = pty.openpty()
    process = subprocess.Popen(
        [PROGRAM, "trash", "lake", "image", "--query", "metadata.Tags=skip"],
        stdin=there, stdout=there, stderr=there, cwd=stocked.folder, env=stocked.environment(),
    )  # fmt: skip
    os.close(there)
    said = b""
    while b"[y/N]" not in said:
        said += os.read(here, 1024)
    os.write(here, answer.encode())
    code = process.wait(timeout=60)
    os.close(here)
    assert code == (0 if left == 8 else ExitCode.GUARDED)
    assert len(stocked.names()) == left


def test_a_folder_is_uploaded_and_downloaded(world: World) -> None:
    world.images("a.png", "b.png")
    up = world.good(
        "collection", "upload", "images", "birds", "--type", "image", "--set", "Number:=42", "--json"
    ).document
    assert up["uploaded"] == {"a.png": "birds_a.png", "b.png": "birds_b.png"}
    assert world.good("job", "wait", *up["job_ids"]).out == "completed\n"
    assert world.good("item", "get", "birds_a.png", "--field", "Number", "--json").document["Number"] == 42
    again = world.good("collection", "upload", "images", "birds", "--type", "image")
    assert "0 files uploaded (0 B), 2 already in the lake" in again.out
    down = world.good("collection", "download", "birds", "--to", "out", "--json").document
    assert set(down["fetched"]) == {"birds_a.png", "birds_b.png"}
    assert (
        "0 files downloaded, 2 unchanged" in world.good("item", "download", "--collection", "birds", "--to", "out").out
    )
    assert (world.folder / "out" / "birds_a.png").read_bytes() == png(salt=b"a.png")


def test_lists_counts_and_descriptions_as_text_and_as_json(stocked: World) -> None:
    listed = stocked.good(
        "item", "list", "--collection", "birds", "--sort", "name", "--order", "desc", "--limit", "2", "--json"
    )
    assert [item["name"] for item in listed.document] == ["11.png", "10.png"]
    assert "birds_00.png" in stocked.good("item", "list", "--lake", "image", "--query", "metadata.Tags=skip").out
    assert stocked.good("item", "count", "--collection", "birds", "--query", "metadata.Tags=skip").out == "4\n"
    assert stocked.good("item", "count", "--lake", "video", "--json").document == {"count": 0}
    head = stocked.good("collection", "get", "birds", "--field", "frameCount", "--json").document
    assert (head["type"], head["frameCount"]) == ("image", 12)
    assert stocked.run("item", "count").code == ExitCode.USAGE
    assert stocked.run("item", "get", "nobody").code == ExitCode.USAGE
    # What describes an item shows no signed address.
    assert "signature" not in stocked.good("item", "get", "birds_00.png", "--json").out


def test_only_the_url_is_printed_for_use_in_a_shell(stocked: World) -> None:
    url = stocked.good("url", "birds_03.png").out.strip()
    assert requests.get(url, timeout=10).content == png(salt=bytes([3]))
    assert stocked.good("url", "birds_03.png", "--json").document["url"].startswith(stocked.lake.url)


def test_items_that_fail_are_named_and_the_exit_code_says_so(stocked: World) -> None:
    stocked.write("out/birds_05.png/in_the_way", "x")
    done = stocked.run("item", "download", "--collection", "birds", "--to", "out")
    assert done.code == ExitCode.SOME_FAILED
    assert "failed: 05.png: " in done.err
    assert "11 files downloaded" in done.out
    document = stocked.run("item", "download", "--collection", "birds", "--to", "out", "--json").document
    assert [item["name"] for item in document["failed"]] == ["05.png"]
    assert document["result"]["unchanged"] == 11


def test_annotations_are_removed_only_when_approved(stocked: World) -> None:
    boxes = [
        {"image": "00.png", "annotations": [{"type": "rectangle", "bbox": [1, 2, 3, 4], "label": "b"}]},
        {"image": "dodo.png", "annotations": []},
    ]
    stocked.write("boxes.json", {"images": boxes})
    done = stocked.good(
        "annotations", "upload", "boxes.json", "--operation", "op", "--kind", "human", "--collection", "birds"
    )
    assert done.out.splitlines() == ["note: 1 entry without a file: dodo.png", "1 entry written"]
    assert stocked.run("annotations", "remove", "birds", "--operation", "op").code == ExitCode.GUARDED
    assert len(stocked.talk.annotations(stocked.collection_id())["00.png"]) == 1
    stocked.good("annotations", "remove", "birds", "--operation", "op", "--auto-approve")
    assert stocked.talk.annotations(stocked.collection_id())["00.png"] == []


@pytest.mark.parametrize(
    "words",
    [
        ("metadata", "files", "m.json"),
        ("metadata", "files", "m.json", "--job", "1", "--by-unique-name"),
        ("metadata", "files", "m.json", "--by-unique-name", "--bucket", "b"),
        ("metadata", "collection", "birds", "--type", "image"),
        ("metadata", "collection", "birds", "--type", "image", "--set", "nothing"),
        ("metadata", "collection", "birds", "--type", "image", "--set", "n:=nothing"),
        ("metadata", "collection", "birds", "--type", "image", "--set", "Tags=night"),
        ("annotations", "upload", "a.json", "--operation", "op", "--kind", "human"),
        ("collection", "upload", "images", "birds", "--type", "image", "--annotations", "a.json"),
        ("collection", "get", "nobody"),
        ("item", "get", "nobody"),
        ("url", "nobody"),
        ("job", "status", "nobody"),
        ("job", "wait", "nobody"),
        ("item", "count", "--lake", "image", "--query", "Tags:x"),
        ("item", "count", "--lake", "image", "--query", "metadata.Tags=x or metadata.Tags=y"),
        ("item", "list", "--lake", "image", "--from-date", "2026-02-01", "--to-date", "2026-01-01"),
        ("item", "list", "--collection", "birds", "--lake", "image"),
    ],
)
def test_arguments_that_contradict_each_other_are_usage_errors_with_a_remedy(
    world: World, words: tuple[str, ...]
) -> None:
    done = world.run(*words)
    assert done.code == ExitCode.USAGE
    assert done.err.startswith("error: ")
    assert done.out == ""


def test_the_lake_comes_from_flags_files_or_a_manifest(stocked: World) -> None:
    count = ("item", "count", "--lake", "image")
    bare = {"LAYERNEXT_URL": "", "LAYERNEXT_API_KEY": "", "LAYERNEXT_SECRET": ""}
    missing = stocked.run(*count, **bare)
    assert missing.code == ExitCode.USAGE
    assert "LAYERNEXT_URL" in missing.err
    stocked.write("key", API_KEY + "\n")
    stocked.write("secret", SECRET + "\n")
    flags = ("--url", stocked.lake.url, "--api-key-file", "key", "--secret-file", "secret")
    assert stocked.good(*count, *flags, **bare).out == "12\n"
    stocked.manifest()
    assert stocked.good(*count, "--manifest", "manifest.yaml").out == "12\n"
    assert stocked.run(*count, "--manifest", "manifest.yaml", "--url", "x").code == ExitCode.USAGE
    assert stocked.run(*count, LAYERNEXT_SECRET="wrong").code == ExitCode.CREDENTIALS_REJECTED
    assert stocked.good(*count, "--url", "embedded:own", **bare).out == "0\n"


def test_an_unreachable_lake_has_its_own_exit_code(world: World) -> None:
    done = world.run(
        "item", "count", "--lake", "image", LAYERNEXT_URL="http://127.0.0.1:9", METALAKE_SYNC_RETRY_FOR="0"
    )
    assert done.code == ExitCode.LAKE_AWAY


def test_an_empty_folder_name_is_not_the_current_folder(stocked: World) -> None:
    for words in (("item", "download", "--lake", "image"), ("collection", "download", "birds")):
        done = stocked.run(*words, "--to", "")
        assert done.code == ExitCode.USAGE
        assert "is not a folder" in done.err
    assert list(stocked.folder.iterdir()) == []


def test_annotations_that_are_up_to_date_are_mentioned(stocked: World) -> None:
    words = ("collection", "download", "birds", "--to", "out", "--no-media")
    assert "annotations in" in stocked.good(*words).out
    assert stocked.good(*words).out.splitlines()[-1] == "the annotations are up to date"


def test_errors_name_options_of_the_command_line(stocked: World) -> None:
    stocked.write("labels/classes.txt", "bird")
    stocked.write("labels/00.txt", "0 0.5 0.5 0.2 0.2")
    words = ("annotations", "upload", "labels", "--operation", "op", "--kind", "human", "--collection", "birds")
    done = stocked.run(*words)
    assert "'--normalized'" in done.out + done.err
    assert "normalized: true" not in done.out + done.err
    refused = stocked.run("item", "count", "--lake", "image", LAYERNEXT_SECRET="wrong")
    assert "manifest" not in refused.err


def test_downloaded_yolo_files_beside_their_images_can_be_uploaded_again(stocked: World) -> None:
    box = {"type": "rectangle", "bbox": [4, 2, 8, 4], "label": "bird"}
    stocked.write("b.json", {"images": [{"image": "00.png", "annotations": [box]}]})
    to_birds = ("--kind", "human", "--collection", "birds")
    stocked.good("annotations", "upload", "b.json", "--operation", "op", "--format", "metalake", *to_birds)
    stocked.good("collection", "download", "birds", "--to", "out", "--format", "yolo", "--operation", "op")
    words = ("annotations", "upload", "out", "--format", "yolo", "--operation", "again", "--kind", "human")
    done = stocked.good(*words, "--by-unique-name")
    assert "12 entries written" in done.out
    shapes = stocked.talk.annotations(stocked.collection_id(), operationIdList='["again"]')["00.png"]
    assert [shape["bbox"] for shape in shapes] == [[4, 2, 8, 4]]
    # By the names that the lake has, a stem finds its extension, also without its picture.
    stocked.write("labels/classes.txt", "bird")
    stocked.write("labels/00.txt", "0 0.5 0.5 0.2 0.2")
    done = stocked.good("annotations", "upload", "labels", "--operation", "n", "--normalized", *to_birds)
    assert done.out.splitlines()[-1] == "1 entry written"


def test_labels_of_another_split_do_not_match_an_image_with_the_same_stem(stocked: World) -> None:
    stocked.write("set/classes.txt", "bird")
    stocked.write("set/labels/00.txt", "0 0.5 0.5 0.2 0.2")
    stocked.write("set/val/01.txt", "0 0.5 0.5 0.4 0.4")
    words = ("annotations", "upload", "set", "--operation", "op", "--kind", "human", "--normalized")
    done = stocked.good(*words, "--collection", "birds", "--json")
    assert (done.document["written"], done.document["unmatched"]) == (1, ["val/01"])
    written = stocked.talk.annotations(stocked.collection_id(), operationIdList='["op"]')
    assert [name for name, shapes in written.items() if shapes] == ["00.png"]


def test_items_are_downloaded_under_their_names_on_request(stocked: World) -> None:
    stocked.good("item", "download", "--lake", "image", "--to", "out", "--naming", "name")
    assert sorted(path.name for path in (stocked.folder / "out").iterdir())[0] == "00.png"


def test_a_list_has_the_requested_fields(stocked: World) -> None:
    words = ("item", "list", "--collection", "birds", "--limit", "2", "--field", "Tags", "--field", "fileSize")
    size = len(png(salt=bytes([0])))
    listed = stocked.good(*words, "--json").document
    assert [item["details"] for item in listed] == [{"Tags": ["skip"], "fileSize": size}, {"fileSize": size}]
    assert f"fileSize={size}" in stocked.good(*words).out


def test_annotations_of_the_old_form_are_uploaded_with_their_metadata_as_attributes(stocked: World) -> None:
    shape = {"bbox": [1, 1, 4, 4], "label": "bird", "metadata": {"pose": "flying"}, "confidence": 0.5}
    stocked.write("old.json", {"images": [{"image": "01.png", "annotations": [shape]}]})
    upload = ("annotations", "upload", "old.json", "--operation", "m1", "--kind", "machine", "--collection", "birds")

    def found() -> dict[str, object]:
        (there,) = stocked.talk.annotations(stocked.collection_id(), operationIdList='["m1"]')["01.png"]
        return {"metadata": there["metadata"], "attributes": there["attributes"]}

    as_attribute = {"pose": [{"value": "flying", "confidence": 0.5, "metadata": {}}]}
    stocked.good(*upload)
    assert found() == {"metadata": {}, "attributes": as_attribute}
    stocked.good(*upload, "--new-form", "--shape-type", "rectangle")
    assert found() == {"metadata": {"pose": "flying"}, "attributes": {}}
    stocked.write("old.json", {"images": [{"image": "01.png", "annotations": [{**shape, "type": "rectangle"}]}]})
    stocked.good(*upload, "--old-form")
    assert found() == {"metadata": {}, "attributes": as_attribute}


@pytest.mark.parametrize("ids", [("", "yolov5"), ("64f0c2", ""), (" ", "yolov5")])
def test_attaching_with_an_empty_id_is_a_usage_error_before_any_request(ids: tuple[str, str]) -> None:
    assert run(["annotations", "attach", *ids, "--url", "http://127.0.0.1:1"]) == 64
