"""Declarative sync of files, metadata and annotations into a LayerNext MetaLake.

`from metalake_sync import MetaLake, Project` is the Python API. It is imported on first use, so that
`metalake-sync --version` starts fast.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metalake_sync.api import (
        AnnotationSource,
        ItemFilter,
        ItemSort,
        Manifest,
        MetaLake,
        Progress,
        Project,
        SomeFailed,
    )

try:
    from metalake_sync._version import __version__
except ImportError:
    # The sources are used without being installed.
    __version__ = "0+unknown"

NO_PLUGINS = ("PYDANTIC_DISABLE_PLUGINS", "__all__")
"""The variable with which the command line keeps pydantic from searching all installed packages for plugins, which it
does not use, and its value. Programs that a run starts do not inherit it."""

__all__ = [
    "AnnotationSource",
    "ItemFilter",
    "ItemSort",
    "Manifest",
    "MetaLake",
    "Progress",
    "Project",
    "SomeFailed",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name in __all__:
        from metalake_sync import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, for completion in notebooks."""
    return sorted({*globals(), *__all__})
