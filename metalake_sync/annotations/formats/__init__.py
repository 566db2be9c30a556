"""Annotation formats: which there are, and which of them a file has.

Each format is one module or package here, found by its name in `metalake_sync.format_registry`; `base` is the port that
it implements. Owns: detection by extension, and by the beginning of a file where several formats have its extension.
Must not: read shapes, match entries with images, or know a lake.
"""

from __future__ import annotations

import functools
from typing import cast

from metalake_sync.annotations.entries import NotAnnotations, SourceFile
from metalake_sync.annotations.formats.base import AnnotationFormat, FileHead
from metalake_sync.annotations.json_stream import BrokenJson
from metalake_sync.format_registry import format_names, load_format, usable_formats


def format_named(name: str) -> AnnotationFormat:
    """Return a format by its name. Raises UsageError for an unknown name, and FormatUnusable."""
    return cast(AnnotationFormat, load_format(name))


@functools.cache
def readable_formats() -> tuple[AnnotationFormat, ...]:
    """Return all formats that can be read, in the order of detection."""
    return tuple(one for one in usable_formats() if one.reads)


@functools.cache
def detectable(extension: str) -> tuple[AnnotationFormat, ...]:
    """Return the formats that a file with this extension may have."""
    return tuple(one for one in readable_formats() if one.detected and extension in one.extensions)


def detect_format(file: SourceFile, usual: AnnotationFormat | None = None) -> AnnotationFormat:
    """Return the format of a file: by its extension alone if only one format has it, else by the file's beginning.

    If no format recognizes it, that is `usual`, the format of other files beside it with its extension, or else the one
    whose reader says what is wrong with the file.

    A file with another extension may be JSON. Raises NotAnnotations where no format fits, and ManifestError.
    """
    candidates = detectable(file.path.suffix.lower())
    if len(candidates) == 1:
        return candidates[0]
    head = FileHead(file)
    try:
        for one in candidates or detectable(".json"):
            if one.recognizes(head):
                return one
    except BrokenJson:
        if candidates:
            raise
    finally:
        head.close()
    for one in candidates:
        if one.explains:
            return usual or one
    raise NotAnnotations(
        "the format of the file is unknown",
        where=file.shown_as,
        remedy=f"Set 'format' to one of: {', '.join(format_names())}.",
    )


def is_recognized(file: SourceFile) -> bool:
    """Whether a format recognizes a file by its beginning. Raises ManifestError for one that can't be read."""
    head = FileHead(file)
    try:
        return any(one.recognizes(head) for one in detectable(file.path.suffix.lower()))
    finally:
        head.close()
