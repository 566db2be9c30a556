"""The vendor's own clients, unmodified, each in a separate environment and process.

A client prints much to standard output, and its dependencies are not ours, so it is never imported here. One process
receives calls (method and arguments) and returns the method's result, or the text of its exception.
"""

from __future__ import annotations

import json
import os
import subprocess
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from metalake_sync.protocol.routes import Generation

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Release:
    """A published client."""

    package: str
    """Its name on PyPI. Both are imported as `layernext`."""
    version: str
    generation: Generation
    """The generation of the protocol that it speaks."""
    environment: Path
    """The name of its environment at the root of the repository."""
    python_variable: str
    """The environment variable that names an interpreter with this client."""


RELEASE_2 = Release("layernext", "2.3.4", Generation.TWO, ROOT / ".venv-vendor", "METALAKE_SYNC_VENDOR_PYTHON")
RELEASE_3 = Release(
    "layernext-beta", "3.28.14", Generation.THREE, ROOT / ".venv-vendor-3", "METALAKE_SYNC_VENDOR_3_PYTHON"
)

_WORKER = """
import json, os, sys
from layernext import LayerNextClient

answers = os.fdopen(int(sys.argv[1]), "w")
clients = {}
for line in sys.stdin:
    call = json.loads(line)
    try:
        os.chdir(call["folder"])
        key = (call["url"], call["api_key"], call["secret"])
        if key not in clients:
            clients[key] = LayerNextClient(call["api_key"], call["secret"], call["url"])
        answer = {"returned": getattr(clients[key], call["method"])(*call["args"], **call["kwargs"])}
    except (Exception, SystemExit) as error:
        answer = {"raised": f"{type(error).__name__}: {error}"}
    answers.write(json.dumps(answer) + "\\n")
    answers.flush()
"""


class VendorMissing(Exception):
    """The environment cannot be created. The message says why."""


class VendorRaised(Exception):
    """The vendor's client raised an exception. The message is its text."""


def find_python(release: Release) -> Path:
    """Return an interpreter that has the client: that of the environment variable, or of an environment at the root of
    the repository, which is created if it does not exist. Raises VendorMissing."""
    if release.python_variable in os.environ:
        python = Path(os.environ[release.python_variable]).absolute()
        if _version(python, release) != release.version:
            raise VendorMissing(f"{release.python_variable}={python} has no {release.package} {release.version}")
        return python
    python = release.environment / "bin" / "python"
    release.environment.mkdir(exist_ok=True)
    with filelock.FileLock(release.environment / ".lock"):
        if _version(python, release) != release.version:
            _make_environment(python, release)
    return python


def _make_environment(python: Path, release: Release) -> None:
    venv.EnvBuilder(with_pip=True, symlinks=True).create(release.environment)
    wanted = f"{release.package}=={release.version}"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wanted]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr.strip() or "no words").splitlines()[-1]
        raise VendorMissing(f"pip can't install {wanted}: {words}")


def _version(python: Path, release: Release) -> str | None:
    code = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
    try:
        done = subprocess.run([python, "-c", code, release.package], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


class VendorProcess:
    """The process of one client. Close it."""

    def __init__(self, release: Release, python: Path, log: Path) -> None:
        self.release = release
        reader, writer = os.pipe()
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [python, "-c", _WORKER, str(writer)],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            text=True,
            pass_fds=[writer],
            # The client writes a log into its working folder.
            cwd=log.parent,
            env={**os.environ, "NO_PROXY": "*", "PYTHONUNBUFFERED": "1"},
        )
        os.close(writer)
        self._answers = os.fdopen(reader)

    def call(self, message: dict[str, Any]) -> Any:
        """Return the result of a method. Raises VendorRaised."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        line = self._answers.readline()
        assert line, f"the vendor's process ended: {Path(self._log.name).read_text()[-2000:]}"
        answer = json.loads(line)
        if "raised" in answer:
            raise VendorRaised(answer["raised"])
        return answer["returned"]

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._answers.close()
        self._log.close()


@dataclass(frozen=True)
class VendorClient:
    """The vendor's client, connected to one lake. `folder`: where it reads and writes files."""

    process: VendorProcess
    url: str
    api_key: str
    secret: str
    folder: Path

    def __call__(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of `LayerNextClient` and return what it returns. Raises VendorRaised."""
        return self.process.call(
            {
                "url": self.url,
                "api_key": self.api_key,
                "secret": self.secret,
                "folder": str(self.folder),
                "method": method,
                "args": args,
                "kwargs": kwargs,
            }
        )
