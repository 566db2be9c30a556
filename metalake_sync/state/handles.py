"""How callers name recorded collections.

Owns: the type of a handle. Must not: say what a handle holds; only the tables in this package know that.
"""

from __future__ import annotations

from typing import NewType

CollectionHandle = NewType("CollectionHandle", int)
"""Names one recorded collection in one open state. Get it from `Records.collections` or `Records.record_collection`,
and pass it back to the tables of the same state. Do not store, compute or print it."""
