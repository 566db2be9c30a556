"""Imports all that a run may import and builds what it builds once, so that a process which is forked from here has
nothing of that to do."""

from __future__ import annotations

import gc
import importlib
import pkgutil

import pytest  # noqa: F401  # what runs the tests is imported by each child, too
from pydantic import BaseModel

import metalake_sync

for _found in pkgutil.walk_packages(metalake_sync.__path__, "metalake_sync."):
    if _found.name.endswith("__main__"):
        continue
    for _value in vars(importlib.import_module(_found.name)).values():
        if isinstance(_value, type) and _value.__module__.startswith("metalake_sync"):
            if issubclass(_value, BaseModel):
                _value.model_rebuild()
            else:
                # A dataclass may be built when its first method is looked up.
                _value.__init__  # noqa: B018  # type: ignore[misc]

gc.collect()
gc.freeze()
