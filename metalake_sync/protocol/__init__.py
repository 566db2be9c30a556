"""The MetaLake wire protocol: routes and messages, declared once for the client and for the embedded lake.

The modules of messages load on first use (`protocol.items.TrashItems`). Declaring those that a run
without uploads does not need would take 20 ms, so `routes` refers to them by functions. This is the only place that
loads modules late for the whole protocol. Must not: do I/O, or depend on the client or the embedded lake.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metalake_sync.protocol import annotation_sets as annotation_sets
    from metalake_sync.protocol import items as items
    from metalake_sync.protocol import uploads as uploads
    from metalake_sync.protocol import wire as wire

_MESSAGES = frozenset({"annotation_sets", "items", "uploads", "wire"})


def __getattr__(name: str) -> object:
    if name in _MESSAGES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
