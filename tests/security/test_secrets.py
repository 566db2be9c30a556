"""No failure leaves a credential or a signed URL in output, logs or files, at any log level."""

from __future__ import annotations

import base64
import os
import re
import stat
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml

from metalake_sync.embedded_lake.faults import FaultPlan
from metalake_sync.state.backends.file import FileBackend
from tests.embedded_lake.talk import API_KEY, SECRET
from tests.end_to_end.daemon import names, watching
from tests.end_to_end.world import PROGRAM, World
from tests.security.repeating_lake import SIGNATURE, SIGNED, repeating_lake

HOOK_TOKEN, HOOK_SECRET = "token_of_the_hook", "secret_of_the_hook"

CANARIES = {
    "the key": API_KEY,
    "the secret": SECRET,
    "the authorization": base64.b64encode(f"{API_KEY}:{SECRET}".encode()).decode(),
    "the authorization, quoted": quote(base64.b64encode(f"{API_KEY}:{SECRET}".encode()).decode(), safe=""),
    "a hostile answer's signature": SIGNATURE,
    "the webhook's token": HOOK_TOKEN,
    "the webhook's secret": HOOK_SECRET,
}
SIGNED_URL = re.compile(rb"signature=[0-9a-f]{16,}", re.IGNORECASE)


class Captured:
    """The output of commands, and the files that they left in the folder."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._outputs: list[tuple[str, bytes]] = []

    def run(self, *args: str, **environment: str) -> int:
        done = self._world.run(*args, **environment)
        self.keep(" ".join(args), (done.out + done.err).encode())
        return done.code

    def keep(self, source: str, output: bytes) -> None:
        self._outputs.append((source, output))

    @property
    def all(self) -> bytes:
        return b"".join(output for _, output in self._outputs)

    def secrets(self) -> list[str]:
        """The places that contain a secret."""
        files = [path for path in self._world.folder.rglob("*") if path.is_file()]
        everywhere = [*self._outputs, *((str(path), path.read_bytes()) for path in files)]
        return [
            f"{name} in {where}"
            for where, content in everywhere
            for name, found in (
                *((name, canary.encode() in content) for name, canary in CANARIES.items()),
                ("a signed URL", SIGNED_URL.search(content) is not None),
            )
            if found
        ]


@pytest.fixture
def noisy(world: World) -> World:
    world.images("crow.png", "gull.png", "jay.png")
    boxes = [{"type": "rectangle", "bbox": [1, 2, 3, 4], "label": "bird"}]
    world.write("boxes.json", {"images": [{"image": "crow.png", "annotations": boxes}]})
    world.manifest(
        {
            "name": "birds",
            "type": "image",
            "folders": [{"path": "images"}],
            "metadata": {"City": "Rome"},
            "annotations": [{"operation": "op", "kind": "human", "source": "boxes.json"}],
        },
        downloads=[{"collection": "birds", "type": "image", "to": "out"}],
    )
    return world


def test_errors_and_logs_of_many_failures_contain_no_secret(noisy: World) -> None:
    captured = Captured(noisy)
    spoiled = [
        {"kind": "status", "status": 500, "route": "begin_file", "times": 2},
        {"kind": "status", "status": 503, "route": "store", "times": 3},
        {"kind": "no_json", "route": "finalize_file", "times": 2},
        {"kind": "reset", "route": "put_part", "times": 2},
    ]
    noisy.lake.faults.use(FaultPlan.model_validate({"faults": spoiled}))
    assert captured.run("apply", "manifest.yaml", "-v", "--retry-for", "20") in (0, 3)
    noisy.lake.faults.use(FaultPlan())
    noisy.write("meta.json", {"files": [{"file": "crow.png", "metadata": {"City": "Oslo"}}]})
    for command in (
        ("apply", "manifest.yaml", "--json"),
        ("plan", "manifest.yaml", "--json", "--refresh", "full"),
        ("plan", "manifest.yaml", "--out", "saved.plan"),
        ("show", "saved.plan"),
        ("plan", "manifest.yaml", "--explain", "images/crow.png"),
        ("status", "manifest.yaml", "--json"),
        ("history", "manifest.yaml", "--json"),
        ("drift", "manifest.yaml"),
        ("check", "manifest.yaml", "--download"),
        ("state", "show", "manifest.yaml", "--json"),
        ("state", "backup", "manifest.yaml", "--to", "backup.db"),
        ("pull", "manifest.yaml", "-v"),
        ("validate", "manifest.yaml", "--online"),
        ("item", "list", "--collection", "birds"),
        ("collection", "upload", "images", "more", "--type", "image"),
        ("collection", "download", "more", "--to", "down", "--format", "coco"),
        ("metadata", "collection", "more", "--type", "image", "--set", "City=Rome"),
        ("annotations", "upload", "boxes.json", "--operation", "again", "--kind", "human", "--collection", "more"),
        ("doctor", "manifest.yaml"),
        ("plan", "manifest.yaml", "--markdown", "--log-format", "json"),
        ("import", "manifest.yaml", "--json"),
        ("state", "rebuild", "manifest.yaml", "-v"),
        ("item", "download", "--collection", "birds", "--to", "items"),
        ("metadata", "files", "meta.json", "--collection", "birds"),
        ("annotations", "remove", "more", "--operation", "again", "--auto-approve"),
        ("annotations", "preview", "manifest.yaml", "--to", "seen"),
        ("trash", "collection", "more", "--type", "image", "--auto-approve"),
    ):
        # An invalid command line would not test anything.
        assert captured.run(*command) not in (64, 70), command
    assert captured.run("job", "status", "000000000000000000000000") == 64
    assert captured.secrets() == []


@pytest.mark.parametrize(
    "status", [500, 302, *(pytest.param(status, marks=pytest.mark.long) for status in (400, 401, 200))]
)
def test_secrets_that_a_lake_repeats_are_not_shown(noisy: World, status: int) -> None:
    captured = Captured(noisy)
    with repeating_lake(status) as url:
        for command in (
            ("apply", "manifest.yaml", "-v", "--retry-for", "0"),
            ("plan", "manifest.yaml", "--json", "--retry-for", "0"),
            ("item", "get", "birds_crow.png", "--retry-for", "0"),
            ("url", "birds_crow.png", "--retry-for", "0"),
        ):
            code = captured.run(*command, LAYERNEXT_URL=url, PYTHONDEVMODE="1")
            assert code not in (0, 70), command
    assert captured.secrets() == []


def test_a_watch_that_fails_and_recovers_shows_no_secret_of_lake_or_webhook(noisy: World) -> None:
    captured = Captured(noisy)
    document = yaml.safe_load((noisy.folder / "manifest.yaml").read_text())
    with repeating_lake(500) as url:
        notify = {"url": f"{url}/${{HOOK_TOKEN}}", "secret": "${HOOK_SECRET}"}
        noisy.write("manifest.yaml", yaml.safe_dump({**document, "notify": notify}))
        noisy.prefix = ["env", f"HOOK_TOKEN={HOOK_TOKEN}", f"HOOK_SECRET={HOOK_SECRET}", "PYTHONDEVMODE=1"]
        with watching(noisy, "--rescan", "1") as daemon:
            daemon.wait(lambda: names(noisy) == ["crow.png", "gull.png", "jay.png"])
            noisy.lake.faults.use(
                FaultPlan.model_validate(
                    {"faults": [{"kind": "status", "status": 401, "route": "lake", "times": None}]}
                )
            )
            daemon.wait(lambda: "the webhook did not accept 'failed'" in daemon.log)
            captured.keep("the title", Path(f"/proc/{daemon.process.pid}/cmdline").read_bytes())
            noisy.lake.faults.use(FaultPlan())
            daemon.wait(lambda: "recovered" in daemon.log)
            daemon.stop()
        captured.keep("watch", daemon.log_file.read_bytes())
    assert b"rejected the credentials" in captured.all
    assert captured.secrets() == []


STUMBLING = """
from metalake_sync.remote import client

def fail(self, *_, **__):
    raise ZeroDivisionError(f"{self._connection._session.headers} {SIGNED!r}")

SIGNED = %r
client.LakeClient.greet = fail
"""


def test_the_traceback_of_an_internal_error_shows_no_values(noisy: World) -> None:
    captured = Captured(noisy)
    (noisy.folder.parent / "sitecustomize.py").write_text(STUMBLING % SIGNED)
    for shows in ("", "1"):
        done = subprocess.run(
            [PROGRAM, "apply", "-v", "manifest.yaml"],
            cwd=noisy.folder,
            env=noisy.environment(PYTHONPATH=str(noisy.folder.parent), METALAKE_SYNC_TRACEBACK=shows),
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, b"Traceback" in done.stderr) == (1, bool(shows))
        captured.keep("apply", done.stdout + done.stderr)
    assert b"ZeroDivisionError in sitecustomize.py" in captured.all
    assert captured.secrets() == []


def test_a_secret_of_a_variable_file_or_option_is_not_stored(noisy: World) -> None:
    captured = Captured(noisy)
    (noisy.folder.parent / "vars.yaml").write_text(f"LAYERNEXT_SECRET: {SECRET}\n")
    assert captured.run("apply", "manifest.yaml", "--var-file", "../vars.yaml", LAYERNEXT_SECRET="") == 0
    given = ("--var", f"LAYERNEXT_SECRET={SECRET}")
    assert captured.run("plan", "manifest.yaml", *given, "--out", "saved.plan", LAYERNEXT_SECRET="") == 0
    captured.run("history", "manifest.yaml", *given, "--json", LAYERNEXT_SECRET="")
    assert captured.secrets() == []


def test_only_the_owner_can_read_stored_files_with_any_umask(noisy: World) -> None:
    noisy.prefix = ["sh", "-c", 'umask 000; exec "$@"', "sh"]
    noisy.good("apply", "manifest.yaml")
    noisy.good("plan", "manifest.yaml", "--out", "saved.plan")
    noisy.good("state", "backup", "manifest.yaml", "--to", "backup.db")
    old_mask = os.umask(0)
    try:
        with FileBackend(noisy.folder / ".metalake-sync" / "manifest.db").lock(command="apply"):
            state = [path for path in (noisy.folder / ".metalake-sync").iterdir() if path.name != ".gitignore"]
            kept = [noisy.folder / "saved.plan", noisy.folder / "backup.db", *state]
            assert {oct(stat.S_IMODE(os.stat(path).st_mode)) for path in kept} == {"0o600"}
    finally:
        os.umask(old_mask)
