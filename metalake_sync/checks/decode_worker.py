"""Decodes images for another process: a program that a damaged image cannot take down a run with.

    python -I -m metalake_sync.checks.decode_worker

reads requests from standard input until its end and writes the answers to standard output, in order. Each process holds
the pixels of one image at a time; the caller bounds their number. Must not: import more than it needs.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from typing import IO

from metalake_sync.sources.hash_worker import Expected, Unhashable, check_version, open_if_regular, receive, send

Answer = tuple[str, str]
"""The code of a check and a clause; two empty texts for an image that decodes."""

CHANGED: Answer = ("changed", "")
"""The file is not as it was scanned, so nothing is known about it."""

MESSAGE_LIMIT = 200

EXTRANEOUS_BYTES_LIMIT = 64
"""Some cameras write a few bytes too many before the end mark of a JPEG. All of its pixels are decoded by then."""

_DAMAGE = re.compile(r"Corrupt JPEG data: (?!bad ICC marker)|Premature end of JPEG file")
"""The beginnings of libjpeg-turbo's warnings about damaged pixels. It also warns about details of headers."""

_EXTRANEOUS = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")


def decode(path: bytes | str, expected: Expected) -> Answer:
    """Decode the pixels of an image."""
    from PIL import Image

    # The caller has compared the size in pixels with its own limit.
    Image.MAX_IMAGE_PIXELS = None
    try:
        descriptor = open_if_regular(path)
    except Unhashable:
        return CHANGED
    with os.fdopen(descriptor, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            check_version(descriptor, expected)
            with Image.open(file, formats=("JPEG", "PNG")) as image:
                damage = None if image.format == "PNG" else _damage_of_jpeg(file)
                if damage != "":
                    image.load()
            answer = ("undecodable", f"has damaged image data: {damage}") if damage else ("", "")
        except Unhashable:
            return CHANGED
        except MemoryError:
            answer = ("undecodable", "cannot be decoded: it needs more memory than there is")
        except Exception as error:  # noqa: BLE001 - any error of the library for damaged bytes
            answer = _explained(error)
        try:
            check_version(descriptor, expected)
        except Unhashable:
            return CHANGED
    return answer


def _damage_of_jpeg(file: IO[bytes]) -> str | None:
    """Return what is damaged in the data of a JPEG, as libjpeg-turbo says it; '' if nothing is.

    Pillow ignores libjpeg's warnings, and replaces what is damaged by gray. None: simplejpeg is not installed, or does
    not know this kind of JPEG.
    """
    try:
        import simplejpeg
    except ImportError:
        return None
    file.seek(0)
    data = file.read()
    try:
        colors = simplejpeg.decode_jpeg_header(data)[2]
        # At an eighth of the size, all data is read and little is computed.
        space = "CMYK" if colors in ("CMYK", "YCCK") else "GRAY"
        simplejpeg.decode_jpeg(data, space, min_height=1, min_width=1, min_factor=8)
    except (ValueError, TypeError) as error:
        warning = str(error)
        if (harmless := _EXTRANEOUS.match(warning)) and int(harmless[1]) <= EXTRANEOUS_BYTES_LIMIT:
            return None
        return _shown(warning.removeprefix("Corrupt JPEG data: ")) if _DAMAGE.match(warning) else None
    return ""


def _shown(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)[:MESSAGE_LIMIT]


def _explained(error: Exception) -> Answer:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "undecodable", "cannot be decoded: its header is damaged"
    text = _shown(str(error)) or type(error).__name__
    if "truncated" in text:
        return "truncated", "ends inside its image data"
    return "undecodable", f"cannot be decoded: {text}"


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until the parent process closes the pipe or dies."""
    while True:
        try:
            path, expected = receive(requests)
        except EOFError:
            return
        send(answers, decode(path, expected))


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
