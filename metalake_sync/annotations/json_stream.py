"""Reads JSON documents of any size element by element.

Owns: one pass over a document. Lists under given keys, and a list at the top level, are read element by element,
objects under given keys pair by pair, every other value as a whole. Memory holds a window of the text and one element.
Must not: know what the elements mean.

A streaming parser such as ijson follows one key per pass and reports errors without their line. Here each element goes
through the decoder of the standard library, which is as fast, and the document is read once.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any

from metalake_sync.errors import Location, ManifestError
from metalake_sync.sources.text_files import open_text

TOP_LEVEL = ""
"""The key under which `members` yields the elements of a document that is a list."""

WINDOW_CHARS = 1 << 20
BATCH_CHARS = 1 << 16
"""How much of a list is decoded at once, if its elements are flat objects: a call for each element costs more than
decoding it."""

BATCH_TRIES = 3
"""After this many failed batches a list is decoded element by element."""

ELEMENT_LIMIT_CHARS = 256 << 20
"""A longer element is an error: most likely a quote that is never closed."""

_BLANKS = " \t\n\r"
_SPACE = re.compile(f"[{_BLANKS}]*")

_LONGEST_TOKEN = 16
"""If the end of the window cuts a token, such as `tru` or `\\ud83d\\ude`, the decoder's error is this near to it."""


_LONGEST_NUMBER_REST = 2
"""The longest rest of a number that the end of the window cuts: `.`, `e` or `e-`."""

_MOST_DIGITS = 4000
_decode_long_numbers = json.JSONDecoder(
    parse_int=lambda digits: int(digits) if len(digits) < _MOST_DIGITS else math.inf
).raw_decode


class BrokenJson(ManifestError):
    """The text is not JSON."""


def members(
    path: Path,
    shown_as: str,
    streamed: Collection[str],
    objects: Collection[str] = (),
    *,
    only_first: bool = False,
    list_remedy: str = "",
) -> Iterator[tuple[str, int | None, Any]]:
    """Yield key, position and element for each element of the lists under `streamed`; key, None and value for all other
    values and for empty lists. A list at the top level is an error, unless `streamed` has `TOP_LEVEL`.

    An object under one of `objects` is yielded pair by pair: key, position and the pair of name and value.

    `only_first`: ignore what follows the document, as in JSON Lines. `list_remedy`: what else a user can do about a
    list at the top level, as sentences. NaN and infinite numbers are floats. Raises
    ManifestError with line and column.
    """
    try:
        with open_text(path, shown_as) as file:
            text = _Text(file, shown_as)
            yield from text.members(streamed, objects, list_remedy)
            if not only_first:
                text.expect_end()
    except UnicodeDecodeError:
        raise ManifestError("the file is not UTF-8", where=shown_as, remedy="Save it as UTF-8.") from None
    except OSError as error:
        raise ManifestError(
            f"the file can't be read ({error.strerror})", where=shown_as, remedy="Create it, or correct the path."
        ) from None


class _Text:
    """The window of the text. Reading continues at `_position`; the text before it is dropped when more is read."""

    def __init__(self, file: IO[str], shown_as: str) -> None:
        self._file = file
        self._shown_as = shown_as
        self._decode = json.JSONDecoder().raw_decode
        self._window = ""
        self._position = 0
        self._began = 0  # where the last value begins
        self._at_end = False
        self._lines_before = 0
        self._chars_before = 0  # in the line that the window begins in

    def members(
        self, streamed: Collection[str], objects: Collection[str], list_remedy: str
    ) -> Iterator[tuple[str, int | None, Any]]:
        first = self._look()
        if first not in ("{", "["):
            raise self._broken("it is not a JSON document" if first else "it is empty")
        if first == "[" and TOP_LEVEL not in streamed:
            raise ManifestError(
                "the top level of the file is a list",
                where=self._shown_as,
                remedy=f"Write an object. {list_remedy}".rstrip(),
            )
        if first == "[":
            yield from self._numbered(TOP_LEVEL, self._elements(), [])
        else:
            seen: set[str] = set()
            for key in self._keys():
                if key in seen:
                    raise self._broken(f"the key {key!r} is there twice", self._began)
                seen.add(key)
                self._take(":")
                if key in streamed and self._look() == "[":
                    yield from self._numbered(key, self._elements(), [])
                elif key in objects and self._look() == "{":
                    yield from self._numbered(key, self._pairs(), {})
                else:
                    yield key, None, self._value()

    def _pairs(self) -> Iterator[tuple[str, Any]]:
        for name in self._keys():
            self._take(":")
            yield name, self._value()

    @staticmethod
    def _numbered(key: str, parts: Iterator[Any], empty: Any) -> Iterator[tuple[str, int | None, Any]]:
        number = -1
        for number, part in enumerate(parts):
            yield key, number, part
        if number < 0:
            yield key, None, empty

    def _keys(self) -> Iterator[str]:
        """Yield the keys of an object. The caller takes the colon after each, and reads its value."""
        self._take("{")
        if self._look() != "}":
            while True:
                if self._look() != '"':
                    raise self._broken("expecting a key in double quotes")
                key = self._value()
                yield key
                if self._look() != ",":
                    break
                self._take(",")
        self._take("}")

    def expect_end(self) -> None:
        """Raise BrokenJson if something follows the document."""
        if self._look():
            raise self._broken("text after the document's end")

    def _elements(self) -> Iterator[Any]:
        self._take("[")
        if self._look() != "]":
            tries = BATCH_TRIES
            while True:
                if tries:
                    batch = self._batch()
                    yield from batch
                    tries = tries - 1 if not batch else BATCH_TRIES
                yield self._value()
                if self._look() != ",":
                    break
                self._take(",")
        self._take("]")

    def _batch(self) -> list[Any]:
        """Return the next elements up to a comma after a `}`, if that comma is between two elements of this list.

        Text that is a list when brackets are put around it is a sequence of whole elements, wherever it was cut: a cut
        within an element or a text would leave something open.
        """
        self._look()
        cut = self._window.rfind("},", self._position, self._position + BATCH_CHARS)
        if cut < 0:
            return []
        try:
            batch: list[Any] = json.loads(f"[{self._window[self._position : cut + 1]}]")
        except (ValueError, RecursionError):
            # Nested, or broken: decoding element by element finds the place of an error.
            return []
        self._position = cut + 2
        return batch

    def _look(self) -> str:
        """Return the next character that is not blank; nothing at the end."""
        char = self._window[self._position : self._position + 1]
        if char and char not in _BLANKS:
            return char
        while True:
            found = _SPACE.match(self._window, self._position)
            assert found is not None
            self._position = found.end()
            if self._position < len(self._window):
                return self._window[self._position]
            if self._at_end:
                return ""
            self._read_more()

    def _take(self, char: str) -> None:
        if self._look() != char:
            raise self._broken(f"expecting '{char}'")
        self._position += 1

    def _value(self) -> Any:
        self._look()
        while True:
            try:
                value, end = self._decode(self._window, self._position)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated") or error.pos >= len(self._window) - _LONGEST_TOKEN
                if self._at_end or not cut:
                    raise self._broken(error.msg, error.pos) from None
            except RecursionError:
                raise self._broken("it is nested too deeply") from None
            except ValueError:
                if self._decode == _decode_long_numbers:
                    raise self._broken("a number can't be read") from None
                # Python refuses whole numbers of more than 4,300 digits. That must cost only this element.
                self._decode = _decode_long_numbers
            else:
                # A number near the end of the window may continue after it: `0` of `0.5`, `6` of `6e-3`.
                if end < len(self._window) - _LONGEST_NUMBER_REST or self._at_end:
                    self._began, self._position = self._position, end
                    return value
            self._read_more()

    def _read_more(self) -> None:
        """Drop the text that was read. A long element doubles the window, so that it is not parsed too often."""
        done = self._window[: self._position]
        lines = done.count("\n")
        self._lines_before += lines
        self._chars_before = len(done) - done.rfind("\n") - 1 if lines else self._chars_before + len(done)
        rest = self._window[self._position :]
        if len(rest) > ELEMENT_LIMIT_CHARS:
            self._window, self._position = rest, 0
            raise self._broken("an element is longer than 256 million characters; is a quote not closed?")
        more = self._file.read(max(WINDOW_CHARS, len(rest)))
        self._window, self._position, self._at_end = rest + more, 0, not more

    def _broken(self, what: str, position: int | None = None) -> BrokenJson:
        end = self._position if position is None else position
        text = self._window[:end]
        lines = text.count("\n")
        column = len(text) - text.rfind("\n") if lines else self._chars_before + len(text) + 1
        place = Location(self._shown_as, self._lines_before + lines + 1, column)
        return BrokenJson(f"broken JSON ({what})", where=place, remedy="Correct the file at this place.")
