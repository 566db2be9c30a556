"""A key store in a folder, for tests of what is built on the port."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, unquote

from metalake_sync.key_stores.base import check_key

_FILE = "="
"""The end of a file's name, so that `a` and `a/b` can both be keys. `quote` never returns this character."""


class FolderKeyStore:
    """Each key is a file. Bodies are written under a temporary name, so that a reader sees whole bodies only."""

    def __init__(self, folder: Path) -> None:
        self.location = folder.as_uri()
        self._folder = folder / "keys"
        self._new = folder / "new"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._new.mkdir(exist_ok=True)

    def create(self, key: str, body: bytes) -> bool:
        target, written = self._path(key), self._write(body)
        try:
            os.link(written, target)
        except FileExistsError:
            return target.read_bytes() == body
        finally:
            written.unlink()
        return True

    def put(self, key: str, body: bytes) -> None:
        os.replace(self._write(body), self._path(key))

    def get(self, key: str) -> bytes | None:
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError:
            return None

    def keys(self, prefix: str) -> list[str]:
        found = []
        for folder, _, files in os.walk(self._folder):
            relative = os.path.relpath(folder, self._folder)
            parents = "" if relative == "." else f"{relative}/"
            found += [unquote(parents + name.removesuffix(_FILE)) for name in files]
        return sorted(key for key in found if key.startswith(prefix))

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._path(key).unlink(missing_ok=True)

    def put_file(self, key: str, path: Path) -> None:
        target, written = self._path(key), self._write(b"")
        shutil.copyfile(path, written)
        os.replace(written, target)

    def get_file(self, key: str, path: Path) -> bool:
        try:
            shutil.copyfile(self._path(key), path)
        except FileNotFoundError:
            return False
        return True

    def close(self) -> None:
        """Do nothing, because nothing is kept open."""

    def _path(self, key: str) -> Path:
        path = self._folder / "/".join(quote(part, safe="") for part in check_key(key).split("/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.with_name(path.name + _FILE)

    def _write(self, body: bytes) -> Path:
        handle, name = tempfile.mkstemp(dir=self._new)
        with open(handle, "wb") as file:
            file.write(body)
        return Path(name)
