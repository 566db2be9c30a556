"""The environment of the process: closed and full standard streams, pipes, and locales that are not UTF-8."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.world import BIRDS, PROGRAM, World, boxes

FOREIGN = ("grün.png", "鳥.png")


@pytest.fixture(scope="session")
def latin_1(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a machine whose locale is ISO-8859-1."""
    if shutil.which("localedef") is None:
        pytest.skip("this machine has no localedef")
    folder = tmp_path_factory.mktemp("locales")
    made = ["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(folder / "en_US.ISO-8859-1")]
    subprocess.run(made, check=False, capture_output=True)
    environment = {"LOCPATH": str(folder), "LC_ALL": "en_US.ISO-8859-1"}
    told = subprocess.run(
        [sys.executable, "-c", "import locale; print(locale.getencoding())"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if "8859" not in told.stdout:
        pytest.skip("no ISO-8859-1 locale can be made here")
    return environment


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def run_bytes(world: World, *args: str | bytes, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [PROGRAM, *args],
        cwd=world.folder,
        env=world.environment(**environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=False,
    )


def shell(world: World, words: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash; `$0` is the program."""
    return subprocess.run(
        ["bash", "-c", words, PROGRAM],
        cwd=world.folder,
        env=world.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_replaced_by_the_null_device(world: World, closed: str) -> None:
    images = [f"p{number}.png" for number in range(4)]
    world.images(*images)
    world.manifest(BIRDS)
    done = shell(world, f'"$0" apply manifest.yaml {closed}')
    assert (done.returncode, done.stderr) == (0, "")
    assert world.names() == images
    assert world.run("check", "manifest.yaml", "--download").code == 0
    assert world.run("plan", "manifest.yaml", "--detailed-exitcode").code == 0


def test_a_full_standard_error_does_not_end_a_run(world: World) -> None:
    world.images("a.png")
    world.manifest(BIRDS)
    assert shell(world, '"$0" apply manifest.yaml -v 2>/dev/full').returncode == 0
    assert world.names() == ["a.png"]
    assert shell(world, '"$0" validate nothing.yaml 2>/dev/full').returncode == 64


def test_names_are_the_same_in_a_latin_1_locale(world: World, latin_1: dict[str, str]) -> None:
    world.images(*FOREIGN)
    world.manifest(BIRDS, downloads=[{"collection": "birds", "type": "image", "to": "out", "naming": "name"}])
    assert run_bytes(world, "apply", "manifest.yaml", **latin_1).returncode == 0
    assert world.names() == sorted(FOREIGN)
    assert {os.fsencode(path.name) for path in (world.folder / "out").glob("*.png")} == {
        name.encode() for name in FOREIGN
    }
    assert world.run("plan", "manifest.yaml", "--detailed-exitcode").code == 0


def test_a_utf_8_variable_is_read_correctly_in_a_latin_1_locale(world: World, latin_1: dict[str, str]) -> None:
    world.images("a.png")
    world.manifest({**BIRDS, "metadata": {"City": "${CITY}"}})
    plan = run_bytes(world, "plan", "manifest.yaml", "--json", "--explain", "a.png", "--var", "CITY=Zürich", **latin_1)
    assert plan.returncode == 0, plan.stderr
    assert "Zürich" in json.dumps(json.loads(plan.stdout), ensure_ascii=False)
    refused = run_bytes(world, "plan", "manifest.yaml", "--var", "CITY=Zürich".encode("latin-1"), **latin_1)
    assert refused.returncode == 64
    assert b"UTF-8" in refused.stderr


def test_a_latin_1_terminal_gets_latin_1_and_replacements(world: World, latin_1: dict[str, str]) -> None:
    world.images(*FOREIGN, *(f"p{number:02}.png" for number in range(14)))
    world.manifest(BIRDS)
    done = run_bytes(world, "plan", "manifest.yaml", **latin_1)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode("latin-1")
    assert "grün.png" in text
    assert "... and" in text
    every = run_bytes(world, "plan", "-v", "manifest.yaml", **latin_1).stdout.decode("latin-1")
    assert "\\u9ce5.png" in every


@pytest.mark.parametrize("environment", [ASCII, {"PYTHONIOENCODING": "ascii"}])
def test_an_ascii_terminal_gets_ascii(world: World, environment: dict[str, str]) -> None:
    world.images(*FOREIGN, *(f"p{number:02}.png" for number in range(14)))
    world.manifest(BIRDS)
    done = run_bytes(world, "plan", "-v", "manifest.yaml", **environment)
    assert done.returncode == 0, done.stderr
    assert "gr\\u00fcn.png" in done.stdout.decode("ascii")
    world.good("apply", "manifest.yaml", **environment)
    assert sorted(FOREIGN) == [name for name in world.names() if not name.startswith("p")]


def test_json_is_valid_on_any_terminal(world: World, latin_1: dict[str, str]) -> None:
    world.images(*FOREIGN, "🐦.png")
    world.manifest(BIRDS)
    for environment in (latin_1, ASCII):
        document = json.loads(run_bytes(world, "plan", "manifest.yaml", "--json", **environment).stdout.decode("utf-8"))
        files = {action.get("file") for action in document["actions"]}
        assert {*FOREIGN, "🐦.png"} <= files


def test_the_python_api_rejects_an_encoding_of_names_that_is_not_utf_8(tmp_path: Path) -> None:
    code = "from metalake_sync import MetaLake; MetaLake('embedded:lake')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], **ASCII},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "UsageError: Python decodes file names as ascii" in done.stderr
    assert list(tmp_path.iterdir()) == []


# Pipes in place of files.


def test_a_manifest_by_process_substitution_is_planned_and_applied(world: World) -> None:
    world.images("a.png")
    world.manifest(BIRDS)
    for command in ("plan", "apply"):
        done = shell(world, f'"$0" {command} <(cat manifest.yaml) --state piped.db')
        assert (done.returncode, done.stderr) == (0, ""), command
    assert world.names() == ["a.png"]
    unnamed = shell(world, '"$0" plan <(cat manifest.yaml)')
    assert unnamed.returncode == 64
    assert "'name' is missing. A pipe has no name: add 'name', or give --state FILE." in unnamed.stderr


def test_a_plan_can_be_written_to_and_read_from_a_pipe(world: World) -> None:
    world.images("a.png")
    world.manifest(BIRDS)
    assert shell(world, '"$0" plan manifest.yaml -q --out >(cat > copied.plan); wait').returncode == 0
    done = shell(world, '"$0" apply <(cat copied.plan)')
    assert (done.returncode, done.stderr) == (0, "")
    assert world.names() == ["a.png"]
    refused = shell(world, '"$0" plan <(cat manifest.yaml) --state piped.db --out saved.plan')
    assert refused.returncode == 64
    assert "cannot save a plan of a pipe" in refused.stderr


def test_a_saved_plan_does_not_replace_a_device(world: World) -> None:
    world.images("a.png")
    world.manifest(BIRDS)
    done = world.run("plan", "manifest.yaml", "--out", "/dev/full")
    assert done.code == 64
    assert "/dev/full: cannot write the plan: No space left on device" in done.err
    assert Path("/dev/full").is_char_device()


def test_a_manifest_that_mentions_a_saved_plan_is_a_manifest(world: World) -> None:
    world.images("a.png")
    world.manifest(BIRDS)
    manifest = world.folder / "manifest.yaml"
    manifest.write_text('# {"kind": "metalake-sync plan"} is how a saved plan begins\n' + manifest.read_text())
    world.good("apply", "manifest.yaml")
    assert world.names() == ["a.png"]


def test_a_manifest_in_a_pipe_cannot_be_watched(world: World) -> None:
    world.manifest(BIRDS)
    done = shell(world, '"$0" watch <(cat manifest.yaml) --state piped.db')
    assert done.returncode == 64
    assert "is a pipe, which cannot be watched" in done.stderr


# No place for temporary files.


def test_validate_works_in_a_container_without_a_temporary_folder(world: World) -> None:
    """Python uses the first of several folders that it can write to. In this test, it can write to none."""
    world.images("a.png")
    world.write("people.json", boxes(a_png=[[1, 1, 2, 2]]))
    world.manifest({**BIRDS, "annotations": [{"operation": "people", "kind": "human", "source": "people.json"}]})
    world.write(
        "nowhere/sitecustomize.py",
        "import tempfile\n\ndef missing():\n    raise FileNotFoundError(2, 'No usable temporary directory found')\n\n"
        "tempfile._get_default_tempdir = missing\n",
    )
    nowhere = {"PYTHONPATH": str(world.folder / "nowhere")}
    assert "is valid" in world.good("validate", "manifest.yaml", **nowhere).out
    world.good("apply", "manifest.yaml", **nowhere)
    world.manifest(BIRDS, downloads=[{"collection": "birds", "type": "image", "to": "out", "annotations": {}}])
    done = world.run("plan", "manifest.yaml", **nowhere)
    assert done.code == 1
    assert "no temporary folder is writable" in done.err
    assert "Set TMPDIR" in done.err


@pytest.mark.parametrize("format", ["coco", "metalake"])
def test_a_full_temporary_folder_is_an_error_with_a_remedy(world: World, format: str) -> None:
    """The process cannot write files larger than one megabyte, which has the effect of a full disk."""
    world.images("a.png")
    shape = {"type": "rectangle", "bbox": [1, 1, 2, 2], "label": "bird", "metadata": {"note": "x" * 900}}
    image = {"image": "a.png", "annotations": [shape] * 9_000}
    box = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2], "note": "x" * 900}
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 20}],
        "categories": [{"id": 1, "name": "bird"}],
        "annotations": [{**box, "id": number} for number in range(9_000)],
    }
    world.write("people.json", coco if format == "coco" else {"images": [image]})
    annotation = {"operation": "people", "kind": "human", "source": "people.json", "format": format}
    world.manifest({**BIRDS, "annotations": [annotation]})
    done = shell(world, 'ulimit -f 1024; "$0" validate manifest.yaml')
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "the temporary folder" in done.stderr
    assert "set TMPDIR" in done.stderr
    assert shell(world, '"$0" validate manifest.yaml').returncode == 0
