"""Runs the checks of the manifest on what a plan is about to send, and turns problems into findings.

Owns: which files are checked, and how severe a problem is. A plan checks the files that it sends and no others, so that
a plan without changes reads nothing. Must not: decide what a finding stops (`apply.run`), or know formats of files
(`checks`).

Without `checks` in the manifest, only files of up to 1 KB are opened, and files that replace others, which were read
already to compare their bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from metalake_sync.checks.placeholders import HEAD_BYTES, POINTER_LIMIT_BYTES, Problem, find_pointer, find_stand_in
from metalake_sync.checks.structure import Facts
from metalake_sync.core.actions import ReplaceFile
from metalake_sync.core.checks import Check, Finding, Level
from metalake_sync.core.events import EventSink, Observing
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.core.snapshots import CollectionKey, Fingerprint, MediaType
from metalake_sync.errors import SourceChanged
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest.check_models import ImageChecks
from metalake_sync.sources.hashing import read_head
from metalake_sync.sources.readings import ReadingCache

PROGRESS_EVERY_FILES = 1000


@dataclass(frozen=True, slots=True)
class FileToCheck:
    """A local file to check."""

    collection: CollectionKey
    name: str
    """The name in the collection."""
    path: str
    """Relative to the manifest's folder."""
    fingerprint: Fingerprint
    replaces: bool = False
    """Whether it replaces a file of the lake."""
    content_hash: str | None = None
    """None: the file was not read."""


def files_to_send(plans: Iterable[CollectionPlan]) -> list[FileToCheck]:
    """Return the files that the plans send."""
    return [
        FileToCheck(
            plan.key,
            action.file.name,
            action.file.path,
            action.file.fingerprint,
            isinstance(action, ReplaceFile),
            action.file.content_hash,
        )
        for plan in plans
        for action in plan.uploads
    ]


@dataclass(frozen=True, slots=True)
class ByteChecks:
    """Checks the bytes of single files."""

    rules: ImageChecks
    base_dir: str
    cache: ReadingCache
    threads: int
    emit: EventSink

    def run(self, files: Sequence[FileToCheck]) -> Iterator[Finding]:
        """Yield what is wrong with the files, in their order."""
        level = self.rules.level
        if level == "off":
            return
        if self.rules.depth == "placeholders":
            for number, one in enumerate(files, start=1):
                if not number % PROGRESS_EVERY_FILES:
                    self.emit(Observing("checking files", number))
                yield from self._check_placeholder(level, one)
            return
        others = [one for one in files if one.collection.type is MediaType.OTHER]
        for one in others:
            yield from self._check_placeholder(level, one)
        yield from self._check_structures(level, [one for one in files if one.collection.type is not MediaType.OTHER])

    # Placeholders.

    def _check_placeholder(self, level: Level, one: FileToCheck) -> Iterator[Finding]:
        yield from self._check_bytes_limit(level, one)
        problem = self._find_placeholder(one)
        if problem is not None:
            # A pointer is never meant. Any other file without an image is an error only if the lake loses an image.
            is_error = problem.check == Check.POINTER or one.replaces
            yield _finding(one, problem, level if is_error else "warn")

    def _find_placeholder(self, one: FileToCheck) -> Problem | None:
        """Return what is wrong with a file, as far as few bytes tell."""
        size = one.fingerprint.size_bytes
        is_media = one.collection.type is not MediaType.OTHER
        if size > POINTER_LIMIT_BYTES and not (one.replaces and is_media):
            return None
        head = b""
        if size:
            try:
                head = read_head(os.path.join(self.base_dir, one.path), one.fingerprint, HEAD_BYTES)
            except SourceChanged:
                return None  # The upload of the file reports it.
        if not is_media:
            return find_pointer(head, size)
        return find_stand_in(head, size) or (self._find_truncation(one) if one.replaces else None)

    def _find_truncation(self, one: FileToCheck) -> Problem | None:
        """Return a problem if a file begins like an image or a video and ends too early."""
        from metalake_sync.checks.reading import FileToRead, read_facts

        facts = read_facts(FileToRead(one.path, os.path.join(self.base_dir, one.path), one.fingerprint))
        problem = facts.problem if facts is not None else None
        return problem if problem is not None and problem.check == Check.TRUNCATED else None

    # Structure and pixels.

    def _check_structures(self, level: Level, files: Sequence[FileToCheck]) -> Iterator[Finding]:
        # Imported here, because plans without this check need no threads or processes.
        from metalake_sync.checks.reading import DECODED_PIXELS_LIMIT, FileReader, FileToRead, need_pillow

        if not files:
            return
        decodes = self.rules.depth == "decode"
        if decodes:
            need_pillow()
        limit = self.rules.max_pixels or DECODED_PIXELS_LIMIT
        reader = FileReader(
            self.cache,
            self.threads,
            lambda count: self.emit(Observing("checking files", count)),
            lambda count: self.emit(Observing("decoding images", count)),
        )
        read = reader.structures(
            FileToRead(one.path, os.path.join(self.base_dir, one.path), one.fingerprint) for one in files
        )
        results = reader.decoded(read, limit) if decodes else read
        for one, (_, facts) in zip(files, results, strict=True):
            yield from self._check_bytes_limit(level, one)
            if facts is not None:
                yield from self._check_facts(level, one, facts, limit if decodes else None)

    def _check_facts(self, level: Level, one: FileToCheck, facts: Facts, decoded: int | None) -> Iterator[Finding]:
        """`decoded`: images with more pixels were not decoded. None: no image was."""
        if facts.problem is not None:
            yield _finding(one, facts.problem, level)
        pixels = facts.width * facts.height
        most = self.rules.max_pixels
        size = f"has {facts.width} x {facts.height} pixels"
        if most is not None and pixels > most:
            yield _finding(one, Problem(Check.TOO_LARGE, f"{size}, and 'max_pixels' is {most}"), level)
        elif decoded is not None and pixels > decoded:
            message = f"{size} and is not decoded; 'max_pixels' raises the limit of {decoded}"
            yield _finding(one, Problem(Check.TOO_LARGE, message), "warn")

    def _check_bytes_limit(self, level: Level, one: FileToCheck) -> Iterator[Finding]:
        most, size = self.rules.max_bytes, one.fingerprint.size_bytes
        if most is not None and size > most and one.collection.type is not MediaType.OTHER:
            yield _finding(one, Problem(Check.TOO_LARGE, f"has {size} bytes, and 'max_bytes' is {most}"), level)


def _finding(one: FileToCheck, problem: Problem, level: Level) -> Finding:
    return Finding(Check(problem.check), level, one.collection, one.name, one.path, problem.message)
