"""Ids of COCO's lists as keys: a number in one list may be a text in another."""

from __future__ import annotations

import json
import re
from typing import Any

LARGEST_ID = 1 << 63
"""SQLite's integers are smaller than this. Larger ids, as of unsigned 64 bits, are kept as texts of digits."""

LONGEST_ID_DIGITS = 20
_WHOLE_NUMBER = re.compile("0|-?[1-9][0-9]*")


def id_key(found: Any) -> int | str | None:
    """Return an id as a key: equal ids have equal keys, and texts differ from numbers. None if it is not an id."""
    if type(found) is float and found.is_integer():
        # Tables of numbers hold floats: pandas writes 1.0.
        found = int(found)
    if type(found) is int:
        return found if -LARGEST_ID <= found < LARGEST_ID else str(found)
    # As JSON, because SQLite's texts can't hold surrogates.
    return json.dumps(found) if isinstance(found, str) else None


def other_form(key: int | str | None) -> int | str | None:
    """Return the key of the same id as a text instead of a number, or as a number instead of a text; None if there is
    no other form."""
    if isinstance(key, str) and key.startswith('"'):
        text = json.loads(key)
        if len(text) > LONGEST_ID_DIGITS or not _WHOLE_NUMBER.fullmatch(text):
            return None
        return id_key(int(text))
    return None if key is None else json.dumps(str(key))
