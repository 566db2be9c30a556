"""Runs the command line in a process that is forked from a server which has imported everything already.

It is a process of its own, with its own environment, folder, arguments, streams and exit code, and it runs
`metalake_sync.cli.main.main`. What it saves is the start of an interpreter and the imports: four fifths of the
processor time of a command that has little to do. What depends on the start itself (locales, PYTHON* variables, wrapped
programs, imported modules) needs a true start: see `can_fork`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path

CONTEXT: ForkServerContext = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.faults.everything", "tests.forked", "tests.faults.mortal"])

_READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "TZ", "TERM")


def can_fork(names: Iterable[str]) -> bool:
    """Whether none of these environment variables is read when an interpreter or a library starts."""
    return not os.environ.get("REAL_STARTS") and not any(name.startswith(_READ_AT_START) for name in names)


def run_forked(
    program: Path, args: Sequence[str], folder: Path, environment: dict[str, str], stdin: str | None, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run `program` with `args` in `folder` and wait for it, as `subprocess.run` does with captured text.

    Raises subprocess.TimeoutExpired.
    """
    with tempfile.TemporaryDirectory(prefix="forked-") as scratch:
        streams = [f"{scratch}/{number}" for number in range(3)]
        if stdin is None:
            streams[0] = os.devnull
        else:
            Path(streams[0]).write_text(stdin, encoding="utf-8")
        command = [str(program), *args]
        child = CONTEXT.Process(target=_main, args=(command, str(folder), environment, streams))
        child.start()
        child.join(timeout_s)
        if child.exitcode is None:
            child.kill()
            child.join()
            raise subprocess.TimeoutExpired(command, timeout_s)
        out, err = (Path(stream).read_text(encoding="utf-8") for stream in streams[1:])
        return subprocess.CompletedProcess(command, child.exitcode, out, err)


def _main(command: list[str], folder: str, environment: dict[str, str], streams: list[str]) -> None:
    import atexit
    import threading

    from metalake_sync.cli.main import main

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number, path in enumerate(streams):
        opened = os.open(path, os.O_RDONLY if number == 0 else os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape")  # noqa: SIM115 - they stay open
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115
    sys.argv = command
    code: object = 0
    try:
        main()
    except SystemExit as exit_:
        code = exit_.code
    # As the interpreter ends: threads first, then what was registered; `main` leaves with its code there.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    os._exit(code if isinstance(code, int) else 1)
