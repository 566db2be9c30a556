"""Declarative sync of files, metadata and annotations into a LayerNext MetaLake.

`from metalake_sync import MetaLake` is the Python API. It is imported on first use, so that `metalake-sync --version`
starts fast.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metalake_sync.api import AnnotationSource, ItemFilter, ItemSort, MetaLake, Progress, SomeFailed

__version__ = "0.1.0"

__all__ = ["AnnotationSource", "ItemFilter", "ItemSort", "MetaLake", "Progress", "SomeFailed", "__version__"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from metalake_sync import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
