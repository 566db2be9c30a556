"""Names, labels, values and errors can hold anything: a terminal never obeys them, and JSON stays JSON."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from tests.embedded_lake.talk import png
from tests.end_to_end.daemon import names, watching
from tests.end_to_end.world import World
from tests.security.telling import telling_lake

ESCAPES = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202e\u2066\x08"
"""A title, a cleared screen, an overwritten line, an 8-bit sequence, turned-round text, an eaten letter."""

TURNED = "gpj\u202egnp.png"

ALLOWED = {"\n", "\t"}


def obeyed(text: str) -> set[str]:
    """Characters that a terminal or a reader's eye would follow instead of showing them."""
    return {repr(char) for char in text if unicodedata.category(char) in ("Cc", "Cf") and char not in ALLOWED}


@pytest.fixture
def hostile(world: World) -> World:
    world.images("plain.png", TURNED)
    # The lake takes no control characters in names: this one is told of, and left out.
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


def test_no_command_prints_what_a_terminal_would_obey(hostile: World) -> None:
    for command in COMMANDS:
        done = hostile.run(*command)
        assert done.code in (0, 1, 3), (command, done.err)
        assert obeyed(done.out + done.err) == set(), command
    assert len(hostile.names()) == 2


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_log_of_watch_shows_escapes_and_does_not_pass_them_on(hostile: World, log_format: str) -> None:
    with watching(hostile, "--log-format", log_format) as daemon:
        daemon.wait(lambda: names(hostile) == sorted(["plain.png", TURNED]) and "control characters" in daemon.log)
        assert daemon.stop() == 0
    assert obeyed(daemon.log) == set()


def test_what_machines_read_is_json_and_holds_the_names_as_they_are(hostile: World) -> None:
    plan = hostile.good("plan", "--json", "manifest.yaml").document
    assert f"a{ESCAPES}.png" in str(plan["warnings"][0]["where"]) + "".join(one["message"] for one in plan["warnings"])
    assert TURNED in [action.get("file") for action in plan["actions"]]
    for line in hostile.run("apply", "--json", "manifest.yaml").out.splitlines():
        json.loads(line)
    for command in (("status",), ("history",), ("state", "show"), ("check",), ("drift",)):
        done = hostile.run(*command, "--json", "manifest.yaml")
        json.loads(done.out)
        assert obeyed(done.out) == set(), command


@pytest.mark.parametrize("status", [500, 400, 401, 200])
def test_a_lake_that_answers_in_escapes_is_shown_and_not_obeyed(hostile: World, status: int) -> None:
    with telling_lake(status, words=ESCAPES) as url:
        for command in (("apply", "manifest.yaml"), ("doctor", "manifest.yaml"), ("item", "list", "--lake", "image")):
            done = hostile.run(*command, "--retry-for", "0", LAYERNEXT_URL=url)
            assert done.code not in (0, 70), command
            assert obeyed(done.out + done.err) == set(), command


def test_a_manifest_full_of_escapes_is_complained_of_in_plain_letters(hostile: World) -> None:
    Path(hostile.folder / "manifest.yaml").write_text(f'version: 1\n"key\\e]0;x\\a": "{chr(0x202E)}"\n')
    done = hostile.run("apply", "manifest.yaml")
    assert done.code == 64
    assert obeyed(done.out + done.err) == set()
