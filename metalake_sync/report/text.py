"""Text of unknown origin for a page: names, labels, values and messages.

Owns: what becomes visible, and how long it may be. Must not: escape HTML; the templates do.
"""

from __future__ import annotations

NAME_LENGTH = 160
SENTENCE_LENGTH = 600


def visible(text: str, length: int = NAME_LENGTH) -> str:
    """Return a text that can't hide or reorder anything: characters that are not printable, among them those that
    change the direction of text, become escape codes. The middle of a long text is left out."""
    if len(text) > length:
        kept = length // 4
        text = f"{text[: length - kept - 1]}…{text[-kept:]}"
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii") for char in text
    )


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """Return a number with its noun: `1 image`, `2,000 images`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
