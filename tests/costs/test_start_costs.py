"""The modules that a command loads: they are most of its start-up time."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from metalake_sync.sources.hashing import RACY_NS
from tests.end_to_end.world import BIRDS, World

MODULES = (
    "import sys; from metalake_sync.cli.main import run; code = run(sys.argv[1:]); print(*sys.modules); sys.exit(code)"
)


def loaded(folder: Path, *args: str, environment: Mapping[str, str] | None = None) -> set[str]:
    """The modules that a command has loaded when it ends."""
    done = subprocess.run(
        [sys.executable, "-c", MODULES, *args],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"a")
    (tmp_path / "manifest.yaml").write_text(
        "version: 1\nname: few\nremote: {url: 'http://127.0.0.1:9', api_key: k, secret: s}\n"
        "collections: [{name: few, type: image, folders: [{path: images}]}]\n"
    )
    return tmp_path


def test_the_version_is_printed_without_loading_the_planner(tmp_path: Path) -> None:
    modules = loaded(tmp_path, "--version")
    assert not {"pydantic", "yaml", "sqlite3", "metalake_sync.engine"} & modules
    assert len(modules) < 160


def test_a_plan_loads_what_it_needs(manifest: Path) -> None:
    plan = ("plan", "-q", "--refresh", "none", "manifest.yaml")
    new = loaded(manifest, *plan)
    modules = loaded(manifest, *plan)
    # To make the state needs nothing more.
    assert new == modules
    unneeded = {
        "sqlite_utils",
        "numpy",
        "requests",
        "urllib3",
        "aiohttp",
        "pycurl",
        "filelock",
        "imagesize",
        "logging",
        "urllib.request",
        "metalake_sync.documents.base",
        "metalake_sync.sources.globs",
    }
    assert not unneeded & modules
    heavy = {name for name in modules if name.startswith(("metalake_sync.annotations.", "metalake_sync.protocol."))}
    # `routes` refers to messages by functions, so it loads none of them.
    assert heavy <= {"metalake_sync.protocol.routes"}
    assert len(modules) < 480


def test_an_apply_without_actions_does_not_load_the_stages(world: World) -> None:
    world.images("a.png")
    world.manifest(BIRDS)
    # A file that was written a moment before it was sent would be hashed by the next run.
    time.sleep(RACY_NS / 1e9)
    world.good("apply", "manifest.yaml")
    modules = loaded(world.folder, "apply", "manifest.yaml", environment=world.environment())
    unneeded = {
        "sqlite_utils",
        "numpy",
        "aiohttp",
        "asyncio",
        "pycurl",
        "imagesize",
        "metalake_sync.documents.base",
        "metalake_sync.sources.globs",
        "metalake_sync.apply.executor",
        "metalake_sync.remote.transfers.upload",
    }
    assert unneeded & modules == set()
    spoken = {name for name in modules if name.startswith("metalake_sync.protocol.")}
    assert spoken == {f"metalake_sync.protocol.{name}" for name in ("items", "routes", "wire")}


def test_a_lake_without_tls_reads_no_certificates(world: World) -> None:
    world.write("images/a.jpg", b"a")
    world.manifest(BIRDS)
    broken = {**world.environment(), "SSL_CERT_FILE": "nowhere.pem"}
    assert loaded(world.folder, "plan", "manifest.yaml", environment=broken)
