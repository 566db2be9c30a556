"""Remedies in the words of whoever reads them: rooms below speak as a manifest does.

Owns: the exchange. Must not: change what an error says happened.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from metalake_sync.errors import ManifestErrors, SyncError

PYTHON = {"'normalized: true'": "'normalized=True'"}
"""From a manifest's words to Python's."""


@contextlib.contextmanager
def in_words(words: Mapping[str, str]) -> Iterator[None]:
    """Exchange words in the remedies of the errors that leave the block."""
    try:
        yield
    except SyncError as error:
        for one in (error, *(error.errors if isinstance(error, ManifestErrors) else ())):
            for old, new in words.items():
                if one.remedy:
                    one.remedy = one.remedy.replace(old, new)
        raise
