"""The beginning of a file, for formats to recognize it by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from metalake_sync.annotations.entries import SourceFile
from metalake_sync.annotations.json_stream import members
from metalake_sync.errors import ManifestError
from metalake_sync.sources.text_files import open_source

START_BYTES = 1024


class FileHead:
    """The beginning of a file, read as far as formats look at it, and only once. Close it."""

    def __init__(self, file: SourceFile) -> None:
        self.file = file
        self._start: bytes | None = None
        self._members: Iterator[tuple[str, int | None, Any]] | None = None
        self._seen: list[tuple[str, int | None, Any]] = []

    def start(self) -> bytes:
        """Return the first 1024 bytes. Raises ManifestError for a file that can't be read."""
        if self._start is None:
            try:
                with open_source(self.file.path, self.file.shown_as) as opened:
                    self._start = opened.read(START_BYTES)
            except OSError as error:
                raise ManifestError(
                    f"the file can't be read ({error.strerror})", where=self.file.shown_as, remedy="Make it readable."
                ) from None
        return self._start

    def members(self) -> Iterator[tuple[str, int | None, Any]]:
        """Yield the keys of a JSON object. A list yields its key, 0 and its first element, everything else its key,
        None and its value. Raises ManifestError with the place of a syntax error."""
        number = 0
        while number < len(self._seen) or self._read_member():
            yield self._seen[number]
            number += 1

    def _read_member(self) -> bool:
        if self._members is None:
            self._members = members(self.file.path, self.file.shown_as, _EVERY_KEY)
        for member in self._members:
            if not member[1]:
                self._seen.append(member)
                return True
        return False

    def close(self) -> None:
        """Close the file."""
        self._members = None


class _EveryKey(tuple[str, ...]):
    """Holds every key: each list of a document is read element by element."""

    __slots__ = ()

    def __contains__(self, key: object) -> bool:
        return True


_EVERY_KEY = _EveryKey()
