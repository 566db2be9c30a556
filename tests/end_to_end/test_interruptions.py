"""An interrupted run is finished by the next one."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from tests.embedded_lake.talk import png
from tests.end_to_end.world import BIRDS, PROGRAM, World, boxes

FILES = [f"{number:03}.png" for number in range(120)]

AT_ONCE = 16
"""How many files are in flight at most. Without '--parallelism' the number depends on how quick the machine is."""


@pytest.mark.parametrize(
    ("ending", "sigint"),
    [
        (signal.SIGINT, signal.SIG_DFL),
        pytest.param(signal.SIGTERM, signal.SIG_DFL, marks=pytest.mark.long),
        # As shells start what runs in the background.
        (signal.SIGTERM, signal.SIG_IGN),
        pytest.param(signal.SIGKILL, signal.SIG_DFL, marks=pytest.mark.long),
    ],
)
def test_a_stopped_run_is_finished_with_metadata_and_annotations(
    world: World, ending: signal.Signals, sigint: signal.Handlers
) -> None:
    world.images(*FILES)
    for name in FILES:
        # Large enough that the limited rate leaves time to stop the run in the middle.
        with (world.folder / "images" / name).open("ab") as file:
            file.write(b"\0" * 20_000)
    entries = [{"file": name, "metadata": {"number": name}} for name in FILES]
    world.write("metadata.json", {"files": entries})
    world.write("people.json", boxes(**{name.replace(".", "_"): [[1, 1, 2, 2]] for name in FILES}))
    world.manifest(
        {
            **BIRDS,
            "file_metadata": ["metadata.json"],
            "annotations": [{"operation": "people", "kind": "human", "source": "people.json"}],
        }
    )
    command = [str(PROGRAM), "apply", "manifest.yaml", "--bwlimit", "300k", "--parallelism", str(AT_ONCE)]
    with subprocess.Popen(
        command,
        cwd=world.folder,
        env=world.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, sigint),
    ) as process:
        while world.lake.requests.of("finalize_file") < 20:
            assert process.poll() is None, "the run was over before it could be stopped"
            time.sleep(0.01)
        process.send_signal(ending)
        _, said = process.communicate()
    if ending is not signal.SIGKILL:
        assert process.returncode == 130
        # A run that takes long enough has also reported its progress.
        *progress, last = said.strip().splitlines()
        assert last == "error: interrupted. Finished actions are recorded. Run apply again to continue."
        assert all(line.startswith("birds: ") for line in progress), progress

    summary = world.good("apply", "--json", "manifest.yaml").summary
    assert summary["done"]["adopt"] == 0
    assert len(world.names()) == len(FILES)
    for name in FILES[::17]:
        assert world.talk.details(f"birds_{name}", "number")["number"] == name
        assert world.talk.read(f"birds_{name}") == png(salt=name.encode()) + b"\0" * 20_000
    drawn = world.talk.annotations(world.collection_id())
    assert sum(len(shapes) for shapes in drawn.values()) == len(FILES)
    # Only what was on the wire when the run was stopped can have been sent twice.
    assert world.lake.requests.of("put_part") <= len(FILES) + AT_ONCE
    world.lake.requests.clear()
    assert "Nothing to do: 120 unchanged." in world.good("apply", "manifest.yaml").out
    assert world.lake.requests.writes == 0


def test_an_interrupted_plan_does_not_advise_to_apply_again(world: World) -> None:
    os.mkfifo(world.folder / "waiting.yaml")
    command = [str(PROGRAM), "validate", "waiting.yaml"]
    with (
        subprocess.Popen(
            command, cwd=world.folder, env=world.environment(), stderr=subprocess.PIPE, text=True
        ) as process,
        # The pipe opens for writing once the command waits for what is in it.
        (world.folder / "waiting.yaml").open("w"),
    ):
        process.send_signal(signal.SIGTERM)  # SIGINT may be ignored where the tests run in the background
        _, said = process.communicate()
    assert (process.returncode, said.strip()) == (130, "error: interrupted. Nothing was sent.")
