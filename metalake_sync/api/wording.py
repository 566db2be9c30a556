"""Translates remedies that name manifest keys to the arguments or options of a caller.

Must not: change the message of an error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from metalake_sync.errors import ManifestErrors, SyncError

PYTHON = {"'normalized: true'": "'normalized=True'"}
"""Manifest key → Python argument."""


@contextlib.contextmanager
def translated_remedies(words: Mapping[str, str]) -> Iterator[None]:
    """Translate the remedies of errors that leave the block. `words`: manifest key → argument or option."""
    try:
        yield
    except SyncError as error:
        for one in (error, *(error.errors if isinstance(error, ManifestErrors) else ())):
            for old, new in words.items():
                if one.remedy:
                    one.remedy = one.remedy.replace(old, new)
        raise
