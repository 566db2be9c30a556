"""The terminal: its streams, the encoding of file names, and text for it (sizes, durations, names).

Owns: closed streams, terminals that cannot show every character, locales that are not UTF-8, and that no text is a
command for a terminal or a CI system. Must not: import modules that `--version` does not need.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import re
import sys
from typing import NoReturn, TextIO

import click

from metalake_sync.errors import GuardStopped, UsageError
from metalake_sync.sources.names import names_are_utf8

_COMMAND = re.compile(r"^(\s*):(?=:)|#(?=#(?:\[|vso\[|teamcity\[))")

PLAIN = "metalake-sync-plain"
"""An error handler that replaces characters that an encoding lacks by similar ASCII, or by an escape as in JSON."""

ASCII = "metalake-sync-ascii"
"""ASCII under another name: click regards an ASCII stream as misconfigured and writes UTF-8 to it."""

_SIMILAR = {"…": "...", "→": "->", "–": "-", "’": "'", "“": '"', "”": '"', "×": "x", "≥": ">=", "≤": "<="}

_TERMINAL = "metalake-sync-terminal"
"""An -X option with the encoding of the terminal, for the process that was restarted with UTF-8 names."""

_UTF8_REMEDY = "Set LC_ALL=C.UTF-8 or PYTHONUTF8=1 and run the command again."


def shown(text: str) -> str:
    """Return text that is safe to print.

    Control characters, escape sequences, bytes that are not UTF-8, and the start of commands that a CI system would
    execute from its log (`::error::`, `##[group]`) become \\x.. codes.
    """
    if not text.isprintable():
        text = "".join(
            char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii")
            for char in text
        )
    if "##" in text or "::" in text:
        text = _COMMAND.sub(lambda match: f"{match[1] or ''}\\x{ord(match[0][-1]):02x}", text)
    return text


def for_logs(document: str) -> str:
    """Return an equal JSON document in which CI systems find no command."""
    return document.replace("##", "#\\u0023") if "##" in document else document


def size(size_bytes: float) -> str:
    """Return a number of bytes in decimal units: '48.2 MB' for 48200000."""
    if size_bytes < 1000:
        return f"{size_bytes:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        size_bytes /= 1000
        if size_bytes < 999.95 or unit == "TB":
            return f"{size_bytes:.1f} {unit}"
    raise AssertionError("the last unit returns")


def duration(seconds: float) -> str:
    """Return a duration as text: '8.2 s', '3 min 20 s', '2 h 5 min'."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """Return a number with its noun: '1 file', '2 files'."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


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


def say(text: str, *, err: bool = False, fg: str | None = None) -> None:
    """Print text. On a terminal, lines break at words, and the rest of a line is indented."""
    if fg is not None:
        text = click.style(text, fg=fg)
    if (sys.stderr if err else sys.stdout).isatty():
        import shutil

        width = shutil.get_terminal_size().columns
        text = "\n".join(wrapped(line, width) for line in text.split("\n"))
    click.echo(text, err=err)


def wrapped(line: str, width: int) -> str:
    """Return a line with breaks at words, so that no part is wider than `width` columns unless one word is.

    Escape sequences have no width.
    """
    if len(line) <= width and line.isascii():
        return line
    plain = click.unstyle(line)
    indent = " " * min(len(plain) - len(plain.lstrip(" ")) + 4, width // 2)
    lines: list[str] = []
    current, used = "", 0
    for word in re.findall(r" *[^ ]+", line):
        columns = _columns(click.unstyle(word))
        if current and used + columns > width:
            lines.append(current)
            current, used = indent, len(indent)
            word = word.lstrip(" ")
            columns = _columns(click.unstyle(word))
        current += word
        used += columns
    return "\n".join([*lines, current])


def _columns(text: str) -> int:
    """Return how many columns a terminal needs for text. East Asian characters need two, combining ones none."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def can_ask(*, as_json: bool) -> bool:
    """Return whether a user can answer a prompt."""
    return not as_json and sys.stdin.isatty() and sys.stdout.isatty()


def ask(
    question: str,
    *,
    approved: bool,
    as_json: bool,
    without: str = "Nothing was changed.",
    flag: str = "--auto-approve",
) -> None:
    """Return if the user approved. Raises GuardStopped if not, or if no prompt is possible.

    `without`: the sentence about what was done without the approval. `flag`: the option that approves.
    """
    if approved:
        return
    remedy = f"{without} Pass {flag} to approve."
    if not can_ask(as_json=as_json):
        reason = "--json does not prompt" if as_json else "no terminal can show a prompt"
        raise GuardStopped(f"not approved: {reason}", remedy=remedy)
    if not confirm(question):
        raise GuardStopped("not approved", remedy=remedy)


def confirm(question: str) -> bool:
    """Ask at the prompt. The default is not to approve."""
    import shutil

    answers = len(" [y/N]: ")
    return click.confirm(wrapped(question, shutil.get_terminal_size().columns - answers), default=False)


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
