"""The MetaLake wire protocol: routes and message shapes, declared once, for the client and for the embedded lake.

The modules of messages are loaded when they are asked for (`protocol.trash.TrashItems`): a message takes 0.3 ms to
declare, there are 60, and few runs speak of all. Must not: do I/O, or know who speaks.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metalake_sync.protocol import annotation_sets as annotation_sets
    from metalake_sync.protocol import items as items
    from metalake_sync.protocol import metadata as metadata
    from metalake_sync.protocol import studio as studio
    from metalake_sync.protocol import system as system
    from metalake_sync.protocol import trash as trash
    from metalake_sync.protocol import uploads as uploads

_MESSAGES = frozenset({"annotation_sets", "items", "metadata", "studio", "system", "trash", "uploads"})


def __getattr__(name: str) -> object:
    if name in _MESSAGES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
