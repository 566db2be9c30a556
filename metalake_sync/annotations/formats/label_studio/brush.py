"""Decodes the run-length encoding of Label Studio's brush.

The bits hold the RGBA values of all pixels by rows; alpha is the mask. Source: the rle-pack package of
github.com/thi-ng/umbrella, README. Must not: make shapes.
"""

from __future__ import annotations

from typing import Any

from metalake_sync.annotations.formats.masks import (
    BrokenMask,
    MaskOutlines,
    add_run,
    is_mask_size,
    outlines_of_lines,
)

_CHANNELS = 4
_ALPHA = 3


def brush_outlines(rle: Any, width: int, height: int) -> MaskOutlines:
    """Return the outlines of a mask. `rle`: a list of bytes. Raises BrokenMask."""
    if not isinstance(rle, list) or not all(type(one) is int and 0 <= one < 256 for one in rle):
        raise BrokenMask("its 'rle' is not a list of bytes")
    if not is_mask_size(width, height):
        raise BrokenMask("its image is too large")
    bits = _Bits(bytes(rle))
    count = bits.take(32)
    if count != width * height * _CHANNELS:
        raise BrokenMask("its 'rle' is of an image of another size")
    word = bits.take(5) + 1
    sizes = [bits.take(4) + 1 for _ in range(4)]
    lines: dict[int, list[tuple[int, int]]] = {}
    at = 0
    while at < count:
        repeated = bits.take(1)
        length = bits.take(sizes[bits.take(2)]) + 1
        end = min(at + length, count)
        if repeated:
            if bits.take(word):
                _add(lines, at, end, width)
        else:
            for place in range(at, end):
                if bits.take(word) and place % _CHANNELS == _ALPHA:
                    add_run(lines, place // _CHANNELS, 1, width)
        at = end
    return outlines_of_lines(lines)


def _add(lines: dict[int, list[tuple[int, int]]], start: int, end: int, width: int) -> None:
    """Add the pixels whose alpha is among the values from `start` to before `end`."""
    first = (start + _CHANNELS - 1 - _ALPHA) // _CHANNELS
    after = (end + _CHANNELS - 1 - _ALPHA) // _CHANNELS
    if after > first:
        add_run(lines, first, after - first, width)


class _Bits:
    """Bits of bytes, from the highest bit of the first byte on."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0
        self._end = len(content) * 8

    def take(self, count: int) -> int:
        """Return the next bits as a number. Raises BrokenMask at the end."""
        start, end = self._at, self._at + count
        if end > self._end:
            raise BrokenMask("its 'rle' ends too early")
        self._at = end
        first, last = start // 8, (end + 7) // 8
        value = int.from_bytes(self._content[first:last], "big") >> (last * 8 - end)
        return value & ((1 << count) - 1)
