"""The Git repository of a manifest: its root, and the address of its origin, which tells repositories apart.

It reads the repository's files. It does not run Git, because a repository can make Git run other programs.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

_SECTION = re.compile(r'\[\s*remote\s+"origin"\s*\]', re.IGNORECASE)
_URL = re.compile(r"\s*url\s*=\s*(\S.*)", re.IGNORECASE)
_SCP_LIKE = re.compile(r"(?:[^@/\s]+@)?([^:/\s]+):(?!//)(.+)")
_LIMIT = 1 << 20


def repository_of(source: Path) -> Path:
    """Return the root of the Git repository of a manifest, or its folder without one."""
    return next((above for above in source.parents if (above / ".git").exists()), source.parent)


def origin_of(repository: Path) -> str | None:
    """Return the host and the path of the remote `origin`, such as `github.com/acme/birds`, or None if it has none.

    It contains no credentials. The different addresses of one repository (https, ssh) give the same text. A local path
    gives None, because it says nothing on another machine.
    """
    try:
        url = _configured(_config(repository))
    except (OSError, ValueError):
        return None
    return _place_of(url) if url is not None else None


def _config(repository: Path) -> Path:
    git = repository / ".git"
    if git.is_file():  # a linked work tree or a submodule
        git = repository / git.read_text(encoding="utf-8", errors="replace").removeprefix("gitdir:").strip()
    if (git / "commondir").is_file():
        git = git / (git / "commondir").read_text(encoding="utf-8", errors="replace").strip()
    return git / "config"


def _configured(config: Path) -> str | None:
    """The URL in a configuration file."""
    inside = False
    with config.open(encoding="utf-8", errors="replace") as lines:
        for line in lines.read(_LIMIT).splitlines():
            if line.lstrip().startswith("["):
                inside = _SECTION.match(line.strip()) is not None
            elif inside and (found := _URL.fullmatch(line)):
                return found[1].strip().strip('"')
    return None


def _place_of(url: str) -> str | None:
    if "://" in url:
        try:
            parts = urlsplit(url)
            host, path = parts.hostname, parts.path
        except ValueError:
            return None
    else:
        found = _SCP_LIKE.fullmatch(url)
        host, path = (found[1], found[2]) if found else (None, "")
    path = path.strip("/").removesuffix(".git").strip("/")
    return f"{host.lower()}/{path}" if host and path else None
