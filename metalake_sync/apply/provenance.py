"""Finds out who starts a run, where, and with which command line, for the history.

Owns: this, and what is removed from a command line. Must not: fail, run a command, or keep a credential.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from metalake_sync.redaction import REDACTED, USER_OF_URL, redact
from metalake_sync.state.process_owner import ci_url, user_name
from metalake_sync.state.runs import Provenance

COMMAND_LINE_LIMIT = 2000
"""The maximum number of characters that the history keeps of a command line."""

_SECRET_NAME = re.compile(r"pass|secret|token|key|credential|auth|pwd|signature", re.IGNORECASE)
_ASSIGNMENT = re.compile(r"(--)?([^=]+)=(.*)", re.DOTALL)
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")

_SHORTEST_SECRET = 6
"""Shorter credentials, such as those of a trial, are ordinary words of a command line."""


def find_provenance(
    base_dir: Path,
    words: Sequence[str],
    credentials: Collection[str] = (),
    environment: Mapping[str, str] = os.environ,
) -> Provenance:
    """Return what is known about the run that starts now. `words`: of the command line. `credentials`: of the lake."""
    return Provenance(
        user_name(),
        socket.gethostname() or None,
        _command_line(words, credentials),
        find_commit(base_dir),
        ci_url(environment),
    )


def _command_line(words: Sequence[str], credentials: Collection[str]) -> str | None:
    if not words:
        return None
    line = shlex.join(without_secrets(words, credentials))
    line = line.encode(errors="backslashreplace").decode()
    return line if len(line) <= COMMAND_LINE_LIMIT else line[: COMMAND_LINE_LIMIT - 1] + "…"


def without_secrets(words: Sequence[str], credentials: Collection[str] = ()) -> list[str]:
    """Return the words of a command line without the lake's credentials, the credentials and queries in URLs, and the
    values of options and variables whose names look like those of secrets."""
    found: list[str] = []
    for word in words:
        shown = USER_OF_URL.sub(rf"\1{REDACTED}@", redact(word))
        assignment = _ASSIGNMENT.fullmatch(shown)
        if assignment is not None and _SECRET_NAME.search(shown.rpartition("=")[0]):
            shown = f"{shown[: shown.index('=')]}={REDACTED}"
        for credential in credentials:
            if len(credential) >= _SHORTEST_SECRET:
                shown = shown.replace(credential, REDACTED)
        found.append(shown)
    return found


def find_commit(folder: Path) -> str | None:
    """Return the commit that is checked out in the Git repository of a folder, or None if it is not known.

    It reads the repository's files. It does not run Git, because a repository can make Git run other programs.
    """
    try:
        folder = folder.resolve()
        repository = next((one / ".git" for one in (folder, *folder.parents) if (one / ".git").exists()), None)
        return _commit_of(repository) if repository is not None else None
    except (OSError, ValueError):
        return None


def _commit_of(repository: Path) -> str | None:
    if repository.is_file():  # A linked work tree or a submodule.
        repository = repository.parent / _text(repository).removeprefix("gitdir:").strip()
    head = _text(repository / "HEAD")
    if not head.startswith("ref:"):
        return _commit(head)
    branch = head.removeprefix("ref:").strip()
    if ".." in branch or not branch.startswith("refs/"):
        return None
    shared = repository
    if (repository / "commondir").is_file():
        shared = repository / _text(repository / "commondir")
    for place in (repository, shared):
        if (place / branch).is_file():
            return _commit(_text(place / branch))
    packed = shared / "packed-refs"
    if packed.is_file():
        with packed.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                commit, _, name = line.strip().partition(" ")
                if name == branch:
                    return _commit(commit)
    return None


def _text(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(4096).strip()


def _commit(text: str) -> str | None:
    return text if _COMMIT.fullmatch(text) else None
