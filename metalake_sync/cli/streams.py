"""The standard streams and the encoding of file names, which are prepared before any file is opened.

Owns: closed streams, terminals that cannot show every character, and locales that are not UTF-8. Must not: import
modules that `--version` does not need.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from typing import NoReturn, TextIO

import click

from metalake_sync.cli.wording import for_logs
from metalake_sync.errors import UsageError
from metalake_sync.sources.names import names_are_utf8

PLAIN = "metalake-sync-plain"
"""An error handler that replaces characters that an encoding lacks by similar ASCII, or by an escape as in JSON."""

ASCII = "metalake-sync-ascii"
"""ASCII under another name: click regards an ASCII stream as misconfigured and writes UTF-8 to it."""

_SIMILAR = {"…": "...", "→": "->", "–": "-", "’": "'", "“": '"', "”": '"', "×": "x", "≥": ">=", "≤": "<="}

_TERMINAL = "metalake-sync-terminal"
"""An -X option with the encoding of the terminal, for the process that was restarted with UTF-8 names."""

_UTF8_REMEDY = "Set LC_ALL=C.UTF-8 or PYTHONUTF8=1 and run the command again."


def prepare() -> None:
    """Make the standard streams usable and file names UTF-8.

    If the locale is not UTF-8, the process is replaced by one with UTF-8 file names. Raises UsageError if that is not
    possible.
    """
    _open_closed_descriptors()
    if not names_are_utf8():
        _start_again_with_utf8_names()
    _set_encodings()


def echo_json(text: str) -> None:
    """Print a JSON document. It stays valid on an output that is not UTF-8, and contains no command for a CI log."""
    text = for_logs(text)
    if not text.isascii() and not _is_utf8(sys.stdout):
        text = "".join(char if char.isascii() else _json_escape(char) for char in text)
    click.echo(text)


def can_ask(*, as_json: bool) -> bool:
    """Return whether a user can answer a prompt."""
    return not as_json and sys.stdin.isatty() and sys.stdout.isatty()


def _open_closed_descriptors() -> None:
    """Open the null device for each closed standard stream.

    Otherwise, the next opened file gets the stream's descriptor, and output would be written to that file.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDONLY if mode == "r" else os.O_WRONLY)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - it stays open


def _start_again_with_utf8_names() -> NoReturn:
    encoding = sys.getfilesystemencoding()
    if "utf8" in sys._xoptions or getattr(sys, "frozen", False) or not sys.executable:
        raise UsageError(
            f"the locale's encoding is {encoding}, which cannot represent all file names", remedy=_UTF8_REMEDY
        )
    options = ["-X", "utf8", "-X", f"{_TERMINAL}={sys.stdout.encoding}"]
    sys.stdout.flush()
    try:
        os.execv(sys.executable, [sys.executable, *options, *sys.orig_argv[1:]])  # noqa: S606 - the same program
    except OSError as error:
        raise UsageError(
            f"the locale's encoding is {encoding}, and Python cannot be restarted with UTF-8 ({error.strerror})",
            remedy=_UTF8_REMEDY,
        ) from None


def _set_encodings() -> None:
    codecs.register_error(PLAIN, _plain)
    codecs.register(_ascii)
    terminal = sys._xoptions.get(_TERMINAL)
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):
            continue
        encoding = terminal if isinstance(terminal, str) else stream.encoding
        try:
            known = codecs.lookup(encoding).name
        except LookupError:
            known = "utf-8"
        if stream is sys.stdin:
            stream.reconfigure(encoding=known, errors="replace")
        else:
            stream.reconfigure(encoding=ASCII if known == "ascii" else known, errors=PLAIN)
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = _Droppable(sys.stderr)


class _Droppable(io.TextIOWrapper):
    """Standard error that drops text it cannot write: a full or closed log must not end a run."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        super().__init__(stream.buffer, encoding=stream.encoding, errors=PLAIN, line_buffering=True, write_through=True)
        # The buffer is closed with the first stream that has it.
        self._stream = stream

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            super().flush()


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(_SIMILAR.get(char) or _json_escape(char) for char in lost), error.end


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _ascii(name: str) -> codecs.CodecInfo | None:
    if name != ASCII.replace("-", "_"):
        return None
    found = codecs.lookup("ascii")
    return codecs.CodecInfo(
        found.encode,
        found.decode,
        found.streamreader,
        found.streamwriter,
        found.incrementalencoder,
        found.incrementaldecoder,
        name=ASCII,
    )


def _is_utf8(stream: TextIO) -> bool:
    try:
        return codecs.lookup(stream.encoding or "utf-8").name == "utf-8"
    except LookupError:
        return False
