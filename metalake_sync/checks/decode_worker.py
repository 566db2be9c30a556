"""Decodes images for another process: a program that a damaged image cannot take down a run with.

    python -I -m metalake_sync.checks.decode_worker

reads requests from standard input until its end and writes the answers to standard output, in order. Each process holds
the pixels of one image at a time; the caller bounds their number. Must not: import more than it needs.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import IO

from metalake_sync.sources.hash_worker import Expected, Unhashable, check_version, open_if_regular, receive, send

Answer = tuple[str, str]
"""The code of a check and a clause; two empty texts for an image that decodes."""

CHANGED: Answer = ("changed", "")
"""The file is not as it was scanned, so nothing is known about it."""

MESSAGE_LIMIT = 200


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
                image.load()
            answer = ("", "")
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


def _explained(error: Exception) -> Answer:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "undecodable", "cannot be decoded: its header is damaged"
    text = "".join(char if char.isprintable() else "?" for char in str(error))[:MESSAGE_LIMIT] or type(error).__name__
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
