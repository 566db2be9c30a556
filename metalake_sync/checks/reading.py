"""Checks the bytes of many files, with what earlier runs found about files that did not change.

Owns: the cache of results, threads for the structure of files and processes for their pixels, and how many files are
under way. Memory does not grow with the number of files. Must not: decide how severe a problem is.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import islice
from typing import Any, NamedTuple

from metalake_sync.checks.decoding import Decoder
from metalake_sync.checks.placeholders import Problem
from metalake_sync.checks.structure import Facts, OpenFile, read_structure
from metalake_sync.core.snapshots import Fingerprint
from metalake_sync.errors import ManifestError, SourceChanged
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.hashing import fingerprint_of, is_racy, open_regular
from metalake_sync.sources.readings import Reading, ReadingCache

STRUCTURE_READER = "check structure 1"
PIXELS_READER = "check pixels 2"
STRICT_PIXELS_READER = "check pixels 2 with simplejpeg"
"""The names of the readers in the cache, with their versions. Only simplejpeg finds damaged data of JPEGs."""

FILES_AT_ONCE = 256

DECODED_PIXELS_LIMIT = 100_000_000
"""Larger images are not decoded unless the manifest allows them: a process would need more than 400 MB."""

DECODED_EXTENSIONS = (".jpg", ".jpeg", ".png")


class FileToRead(NamedTuple):
    path: str
    """Relative to the manifest's folder: its key in the cache."""
    place: str
    """The path to open."""
    fingerprint: Fingerprint


def need_pillow() -> None:
    """Raise ManifestError if Pillow is not installed."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        raise ManifestError(
            "the depth 'decode' of 'checks.images' needs Pillow, which is not installed",
            remedy="Run: pip install 'metalake-sync[checks]'. The depth 'header' does not need it.",
        ) from None


@functools.cache
def pixels_reader() -> str:
    """Return the name of the reader of pixels, as far as its libraries are installed."""
    return PIXELS_READER if find_spec("simplejpeg") is None else STRICT_PIXELS_READER


@dataclass(frozen=True, slots=True)
class FileReader:
    """Reads files. `read` and `decoded_so_far` receive counts of files, without those of the cache."""

    cache: ReadingCache
    threads: int
    read: Callable[[int], None]
    decoded_so_far: Callable[[int], None]

    def structures(self, files: Iterable[FileToRead]) -> Iterator[tuple[FileToRead, Facts | None]]:
        """Yield what the structure of each file says, in order. None: the file changed, or cannot be read now."""
        remaining = iter(files)
        count = 0
        with ThreadPoolExecutor(self.threads, thread_name_prefix="check") as pool:
            while window := list(islice(remaining, FILES_AT_ONCE)):
                known = {file: self._cached(STRUCTURE_READER, file) for file in window}
                unknown = [file for file, facts in known.items() if facts is None]
                looked_at_ns = time.time_ns()
                for file, facts in zip(unknown, pool.map(read_facts, unknown), strict=True):
                    known[file] = facts
                    self._keep(STRUCTURE_READER, file, facts, looked_at_ns)
                count += len(unknown)
                if unknown:
                    self.read(count)
                # Two names may stand for one file.
                yield from ((file, known[file]) for file in window)

    def decoded(
        self, files: Iterable[tuple[FileToRead, Facts | None]], limit_pixels: int
    ) -> Iterator[tuple[FileToRead, Facts | None]]:
        """Decode the images whose structure has no problem, and yield the same with the problems of their pixels."""
        remaining = iter(files)
        decoded = 0
        with Decoder(self.threads) as decoder:
            while window := list(islice(remaining, FILES_AT_ONCE)):
                facts_of = dict(window)
                unknown: list[FileToRead] = []
                for file, facts in facts_of.items():
                    if facts is None or not _is_decodable(file, facts, limit_pixels):
                        continue
                    cached = self._cached(pixels_reader(), file)
                    if cached is None:
                        unknown.append(file)
                    else:
                        facts_of[file] = facts._replace(problem=cached.problem)
                for file, problem in self._decode(decoder, unknown):
                    decoded += 1
                    self.decoded_so_far(decoded)
                    facts = facts_of[file]
                    facts_of[file] = facts._replace(problem=problem) if facts is not None else None
                yield from ((file, facts_of[file]) for file, _ in window)

    def _decode(self, decoder: Decoder, files: Sequence[FileToRead]) -> Iterator[tuple[FileToRead, Problem | None]]:
        looked_at_ns = time.time_ns()
        images = ((file.place, file.fingerprint) for file in files)
        for file, answer in zip(files, decoder.decode(images), strict=True):
            if answer is None:
                yield file, None
                continue
            problem = Problem(*answer) if answer[0] else None
            self._keep(pixels_reader(), file, Facts(problem), looked_at_ns)
            yield file, problem

    # The cache.

    def _cached(self, reader: str, file: FileToRead) -> Facts | None:
        reading = self.cache.get(reader, file.path, file.fingerprint)
        return _facts(reading) if reading is not None else None

    def _keep(self, reader: str, file: FileToRead, facts: Facts | None, looked_at_ns: int) -> None:
        if facts is not None and not is_racy(file.fingerprint, looked_at_ns):
            self.cache.put(reader, file.path, file.fingerprint, _reading(facts))


def _is_decodable(file: FileToRead, facts: Facts, limit_pixels: int) -> bool:
    is_image = file.path.lower().endswith(DECODED_EXTENSIONS)
    return is_image and facts.problem is None and facts.width * facts.height <= limit_pixels


def read_facts(file: FileToRead) -> Facts | None:
    """Return what the structure of a file says. None: it changed, or cannot be read now."""
    try:
        descriptor = open_regular(file.place)
    except SourceChanged:
        return None
    try:
        if fingerprint_of(descriptor) != file.fingerprint:
            return None
        facts = read_structure(OpenFile(descriptor, file.fingerprint.size_bytes), file.path)
        return facts if fingerprint_of(descriptor) == file.fingerprint else None
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _reading(facts: Facts) -> Reading:
    reading: dict[str, Any] = {}
    if facts.problem is not None:
        reading["problem"] = list(facts.problem)
    if facts.width or facts.height:
        reading |= {"width": facts.width, "height": facts.height}
    return reading


def _facts(reading: Reading) -> Facts:
    problem = reading.get("problem")
    return Facts(Problem(*problem) if problem else None, reading.get("width", 0), reading.get("height", 0))
