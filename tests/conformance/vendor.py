"""The vendor's own client, unmodified, in an environment and a process of its own.

It prints a good deal to standard output, and its libraries are none of ours: so it is never imported here. One process
takes calls (method and arguments) and gives back what the method returned, or the words of its exception.
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

VERSION = "2.3.4"
ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".venv-vendor"
PYTHON_VARIABLE = "METALAKE_SYNC_VENDOR_PYTHON"

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
    """The environment can't be had; the words say why."""


class VendorRaised(Exception):
    """The vendor's client raised an exception: its words."""


def find_python() -> Path:
    """The interpreter that has the client: the one of the environment variable, or of an environment at the root of
    the repository, which is made if there is none. Raises VendorMissing."""
    if PYTHON_VARIABLE in os.environ:
        python = Path(os.environ[PYTHON_VARIABLE])
        if _version(python) != VERSION:
            raise VendorMissing(f"{PYTHON_VARIABLE}={python} has no layernext {VERSION}")
        return python
    python = ENVIRONMENT / "bin" / "python"
    ENVIRONMENT.mkdir(exist_ok=True)
    with filelock.FileLock(ENVIRONMENT / ".lock"):
        if _version(python) != VERSION:
            _make_environment(python)
    return python


def _make_environment(python: Path) -> None:
    venv.EnvBuilder(with_pip=True, symlinks=True).create(ENVIRONMENT)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"layernext=={VERSION}"]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr.strip() or "no words").splitlines()[-1]
        raise VendorMissing(f"pip can't install layernext=={VERSION}: {words}")


def _version(python: Path) -> str | None:
    code = "from importlib.metadata import version; print(version('layernext'))"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


class VendorProcess:
    """The process; close it."""

    def __init__(self, python: Path, log: Path) -> None:
        reader, writer = os.pipe()
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [python, "-c", _WORKER, str(writer)],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            text=True,
            pass_fds=[writer],
            env={**os.environ, "NO_PROXY": "*", "PYTHONUNBUFFERED": "1"},
        )
        os.close(writer)
        self._answers = os.fdopen(reader)

    def call(self, message: dict[str, Any]) -> Any:
        """What the method returned. Raises VendorRaised."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        line = self._answers.readline()
        assert line, f"the vendor's process died: {Path(self._log.name).read_text()[-2000:]}"
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
    """The vendor's client, connected to one lake; `folder` is where it works."""

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
