"""Reads XML files of unknown origin: as a whole, or element by element.

Owns: protection against entities, the limit on files that are read as a whole, and errors with line and column. Must
not: know what an element means.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

from defusedxml import DefusedXmlException
from defusedxml import ElementTree as SafeTree

from metalake_sync.annotations.entries import SourceFile
from metalake_sync.errors import Location, ManifestError
from metalake_sync.sources.text_files import open_source

SIZE_LIMIT_BYTES = 64 << 20
"""The limit for files that are read as a whole: those of one image."""

ELEMENT_LIMIT = 4_000_000
"""The limit for elements below one child of the root."""


def xml_root(file: SourceFile) -> Element:
    """Return the root of a file of one image. Raises ManifestError."""
    with _errors(file), open_source(file.path, file.shown_as) as opened, _parser() as parser:
        if os.fstat(opened.fileno()).st_size > SIZE_LIMIT_BYTES:
            raise ManifestError(
                "the file is larger than 64 MB", where=file.shown_as, remedy="Write one file for each image."
            )
        root = SafeTree.parse(opened, parser).getroot()
    assert root is not None
    return root


def xml_children(file: SourceFile) -> Iterator[Element]:
    """Yield the root, which is empty, then each of its children as soon as it is complete. Memory holds one child at a
    time. Raises ManifestError."""
    with _errors(file), open_source(file.path, file.shown_as) as opened, _parser() as parser:
        root: Element | None = None
        depth = count = 0
        for event, element in SafeTree.iterparse(opened, ("start", "end"), parser):
            if event == "start":
                depth += 1
                count += 1
                if count > ELEMENT_LIMIT:
                    raise ManifestError(
                        f"an element of the file has more than {ELEMENT_LIMIT:,} elements",
                        where=file.shown_as,
                        remedy="Check that it is the right file.",
                    )
                if root is None:
                    root = element
                    yield root
                continue
            depth -= 1
            if depth == 1:
                yield element
                assert root is not None
                root.clear()
                count = 0


def text_of(element: Element | None) -> str:
    """Return the text of an element without blanks around it, or nothing without an element."""
    return (element.text or "").strip() if element is not None else ""


@contextlib.contextmanager
def _parser() -> Iterator[Any]:
    """Yield a parser that refuses entities. It refers to itself until it has read a whole file, so that a broken file
    would stay in memory with it."""
    parser: Any = SafeTree.DefusedXMLParser(target=TreeBuilder())
    try:
        yield parser
    finally:
        vars(parser).clear()


@contextlib.contextmanager
def _errors(file: SourceFile) -> Iterator[None]:
    """Turn the errors of the parser into ManifestError."""
    try:
        yield
    except ParseError as error:
        # The error refers to the frame that raised it, and that one to the error, with all that was read.
        error.__traceback__ = None
        line, column = error.position
        place = Location(file.shown_as, line, column + 1)
        what = str(error).split(":")[0]
        raise ManifestError(f"broken XML ({what})", where=place, remedy="Correct the file at this place.") from None
    except DefusedXmlException:
        raise ManifestError(
            "the file declares entities",
            where=file.shown_as,
            remedy="Remove its DOCTYPE: no annotation file needs one.",
        ) from None
    except (ValueError, LookupError):
        raise ManifestError(
            "the encoding of the file is unknown", where=file.shown_as, remedy="Save it as UTF-8."
        ) from None
    except OSError as error:
        raise ManifestError(
            f"the file can't be read ({error.strerror})", where=file.shown_as, remedy="Make it readable."
        ) from None
