"""Names, labels, values and errors may contain anything: terminals get no control sequence, and JSON stays valid."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from tests.embedded_lake.talk import png
from tests.end_to_end.daemon import names, watching
from tests.end_to_end.world import World
from tests.security.repeating_lake import repeating_lake

ESCAPES = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202e\u2066\x08"
"""A title, a cleared screen, an overwritten line, an 8-bit sequence, reversed text, and a deleted letter."""

TURNED = "gpj\u202egnp.png"

ALLOWED = {"\n", "\t"}


def control_characters(text: str) -> set[str]:
    """Characters that a terminal interprets, or that change the order of the text."""
    return {repr(char) for char in text if unicodedata.category(char) in ("Cc", "Cf") and char not in ALLOWED}


@pytest.fixture
def hostile(world: World) -> World:
    world.images("plain.png", TURNED)
    # The lake does not accept control characters in names: this file is reported and left out.
    (world.folder / "images" / f"a{ESCAPES}.png").write_bytes(png())
    shapes = [
        {"type": "rectangle", "bbox": [1, 1, 5, 5], "label": f"bird{ESCAPES}", "metadata": {}},
        {"type": "rectangle", "bbox": [1, 1, 0, 5], "label": f"bird{ESCAPES}", "metadata": {}},
        {"type": "rectangle", "bbox": [1, 1, 2, 5], "label": "bird", "metadata": {ESCAPES: ESCAPES}},
    ]
    named = [{"image": "plain.png", "annotations": shapes}, {"image": f"nobody{ESCAPES}.png", "annotations": []}]
    world.write("boxes.json", {"images": named})
    world.manifest(
        {
            "name": "birds",
            "type": "image",
            "folders": [{"path": "images"}],
            "metadata": {"City": f"Rome{ESCAPES}", "Tags": ["a"]},
            "annotations": [{"operation": "op", "kind": "human", "source": "boxes.json"}],
        },
        downloads=[{"collection": "birds", "type": "image", "to": "out"}],
    )
    return world


COMMANDS = [
    ("plan", "-v", "manifest.yaml"),
    ("plan", "--markdown", "manifest.yaml"),
    ("plan", "--out", "saved.plan", "manifest.yaml"),
    ("show", "saved.plan"),
    ("validate", "-v", "--online", "manifest.yaml"),
    ("apply", "-v", "manifest.yaml"),
    ("plan", "--explain", "plain.png", "manifest.yaml"),
    ("status", "-v", "manifest.yaml"),
    ("history", "-v", "manifest.yaml"),
    ("check", "-v", "manifest.yaml"),
    ("drift", "-v", "manifest.yaml"),
    ("state", "show", "--target", "birds", "manifest.yaml"),
    ("item", "list", "--collection", "birds", "--field", "City", "--field", "Tags"),
    ("annotations", "labels"),
    ("pull", "-v", "manifest.yaml"),
]


def test_no_command_prints_control_sequences(hostile: World) -> None:
    for command in COMMANDS:
        done = hostile.run(*command)
        assert done.code in (0, 1, 3), (command, done.err)
        assert control_characters(done.out + done.err) == set(), command
    assert len(hostile.names()) == 2


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_log_of_watch_escapes_control_characters(hostile: World, log_format: str) -> None:
    with watching(hostile, "--log-format", log_format) as daemon:
        daemon.wait(lambda: names(hostile) == sorted(["plain.png", TURNED]) and "control characters" in daemon.log)
        assert daemon.stop() == 0
    assert control_characters(daemon.log) == set()


def test_json_output_is_valid_and_has_the_names_unchanged(hostile: World) -> None:
    plan = hostile.good("plan", "--json", "manifest.yaml").document
    assert f"a{ESCAPES}.png" in str(plan["warnings"][0]["where"]) + "".join(one["message"] for one in plan["warnings"])
    assert TURNED in [action.get("file") for action in plan["actions"]]
    for line in hostile.run("apply", "--json", "manifest.yaml").out.splitlines():
        json.loads(line)
    for command in (("status",), ("history",), ("state", "show"), ("check",), ("drift",)):
        done = hostile.run(*command, "--json", "manifest.yaml")
        json.loads(done.out)
        assert control_characters(done.out) == set(), command


@pytest.mark.parametrize("status", [500, 400, 401, 200])
def test_control_sequences_in_answers_of_the_lake_are_escaped(hostile: World, status: int) -> None:
    with repeating_lake(status, words=ESCAPES) as url:
        for command in (("apply", "manifest.yaml"), ("doctor", "manifest.yaml"), ("item", "list", "--lake", "image")):
            done = hostile.run(*command, "--retry-for", "0", LAYERNEXT_URL=url)
            assert done.code not in (0, 70), command
            assert control_characters(done.out + done.err) == set(), command


def test_errors_about_a_manifest_with_control_sequences_are_escaped(hostile: World) -> None:
    Path(hostile.folder / "manifest.yaml").write_text(f'version: 1\n"key\\e]0;x\\a": "{chr(0x202E)}"\n')
    done = hostile.run("apply", "manifest.yaml")
    assert done.code == 64
    assert control_characters(done.out + done.err) == set()
