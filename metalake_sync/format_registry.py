"""Names of annotation formats: the built-in ones, and those that installed packages add.

Owns: the list of built-in formats, the entry point group for other packages, and loading a format by its name. It is
below the manifest, so that a manifest can be checked without loading a format.
Must not: import a format, or look at installed packages, before a name requires it.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any

from metalake_sync.errors import SyncError, UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "metalake_sync.formats"
"""The entry point group. An entry point's name is the format's name; its value is an `AnnotationFormat` object."""

BUILT_IN = (
    "datumaro",
    "darwin",
    "metalake",
    "coco",
    "coco_panoptic",
    "cvat",
    "labelme",
    "label_studio",
    "labelbox",
    "supervisely",
    "labelme_xml",
    "voc",
    "mot",
    "kitti",
    "dota",
    "yolo",
    "tf_csv",
    "createml",
    "open_images",
    "via",
    "vott",
    "ground_truth",
    "cityscapes",
    "bdd100k",
    "voc_masks",
)
"""In the order of detection: the first format that recognizes a file reads it. Each is `FORMAT` in
the module of its name in `metalake_sync.annotations.formats`. A folder that holds files of several formats is read as
the first one."""


class FormatUnusable(SyncError):
    """An installed package declares a format that can't be loaded."""


def is_known(name: str) -> bool:
    """Whether a format of this name is built in or installed. Loads nothing."""
    return name in BUILT_IN or name in _installed()


@functools.cache
def load_format(name: str) -> Any:
    """Return the `AnnotationFormat` of a name. Raises UsageError for an unknown name, and FormatUnusable."""
    if name in BUILT_IN:
        return importlib.import_module(f"metalake_sync.annotations.formats.{name}").FORMAT
    entry_point = _installed().get(name)
    if entry_point is None:
        raise UsageError(f"there is no annotation format '{name}'", remedy=f"Use one of: {', '.join(format_names())}.")
    package = package_of(name)
    try:
        found = entry_point.load()
    except Exception as error:
        raise FormatUnusable(
            f"the annotation format '{name}' of the package '{package}' can't be loaded"
            f" ({type(error).__name__}: {error})",
            remedy=f"Update or uninstall '{package}'.",
        ) from error
    if getattr(found, "name", None) != name:
        raise FormatUnusable(
            f"the entry point '{name}' of the package '{package}' is not an annotation format of this name",
            remedy=f"Update or uninstall '{package}'.",
        )
    return found


def package_of(name: str) -> str:
    """Return the installed package that adds a format. Call it only for an installed format."""
    entry_point = _installed()[name]
    return entry_point.dist.name if entry_point.dist is not None else entry_point.value


def all_names() -> tuple[str, ...]:
    """Return the names of the built-in formats, then those of the installed ones, sorted. Loads nothing."""
    return (*BUILT_IN, *sorted(_installed()))


def usable_formats() -> list[Any]:
    """Return every format that can be loaded: the built-in ones, then the installed ones by name. A package that can't
    be loaded is left out; naming its format raises FormatUnusable."""
    found = []
    for name in all_names():
        try:
            found.append(load_format(name))
        except FormatUnusable:
            continue
    return found


def format_names(*, writing: bool = False) -> tuple[str, ...]:
    """Return the names of all formats that can be read, or with `writing` written, in alphabetical order."""
    return tuple(sorted(one.name for one in usable_formats() if (one.writes if writing else one.reads)))


def can_write(name: str) -> bool:
    """Whether annotations can be written in a format. Loads that format alone. Raises FormatUnusable."""
    return bool(load_format(name).writes)


def numbers_classes(name: str) -> bool:
    """Whether a format that is written has class ids. Loads that format alone. Raises FormatUnusable."""
    return bool(load_format(name).output().class_ids)


def passed_over() -> list[tuple[str, str]]:
    """Return name and package of each installed format that is not used, because a built-in format or one of an earlier
    package has its name. Loads nothing."""
    return [
        (one.name, one.dist.name if one.dist is not None else one.value)
        for one in _entry_points()
        if _installed().get(one.name) is not one
    ]


@functools.cache
def _entry_points() -> tuple[EntryPoint, ...]:
    from importlib.metadata import entry_points

    return tuple(entry_points(group=GROUP))


@functools.cache
def _installed() -> dict[str, EntryPoint]:
    """Entry points of installed packages by name, without those that a built-in format or an earlier package has."""
    found: dict[str, EntryPoint] = {}
    for entry_point in _entry_points():
        if entry_point.name not in BUILT_IN:
            found.setdefault(entry_point.name, entry_point)
    return found
