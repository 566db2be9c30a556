"""What each annotation format reads, writes and loses, as the formats declare it.

Owns: the description of a format, for `metalake-sync formats`. Must not: read or write annotations.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, cast

from metalake_sync.annotations.formats.base import AnnotationFormat, OutputFormat, SizeUse
from metalake_sync.core.shapes import ShapeType
from metalake_sync.format_registry import BUILT_IN, FormatUnusable, all_names, load_format, package_of, passed_over
from metalake_sync.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class FormatDescription:
    """One format."""

    name: str
    """The value of `format` in a manifest."""
    title: str
    """The name that people use. Empty for a format that has no other name."""
    package: str | None
    """The installed package that adds the format. None: it is built in."""
    reads: bool = False
    writes: bool = False
    detected: bool = False
    """Whether a source without `format` may be of this format."""
    extensions: tuple[str, ...] = ()
    """Extensions of its files."""
    reading_loses: tuple[str, ...] = ()
    """What reading leaves out and counts."""
    writing_loses: tuple[str, ...] = ()
    """What writing leaves out or changes, and counts: types of shapes, and what the format declares."""
    needs_sizes: bool = False
    """Whether shapes of an image can be written only if its size is known."""
    documentation: str = ""
    """The address of the page that describes the format."""
    error: str | None = field(default=None)
    """Why the format cannot be used. Then nothing else but its name and its package is known."""


def describe_formats() -> list[FormatDescription]:
    """Return all formats in alphabetical order. A format of a package that cannot be used has an error, and so has one
    whose name another format has: it follows that one."""
    used = [_described(name) for name in sorted(all_names())]
    return sorted([*used, *(_passed_over(*one) for one in passed_over())], key=lambda one: one.name)


def _passed_over(name: str, package: str) -> FormatDescription:
    of_other = "is built in" if name in BUILT_IN else f"is of the package '{package_of(name)}'"
    problem = f"the package '{package}' adds a format '{name}', which {of_other}, so that this one is not used"
    return FormatDescription(name, "", package, error=f"{problem}. Update or uninstall '{package}'.")


def _described(name: str) -> FormatDescription:
    package = None if name in BUILT_IN else package_of(name)
    try:
        return _declared(cast(AnnotationFormat, load_format(name)), package)
    except FormatUnusable as error:
        return FormatDescription(name, "", package, error=str(error))
    except Exception as error:
        if package is None:
            raise
        # A package may leave out what the port requires.
        problem = f"the package '{package}' does not declare what a format needs ({type(error).__name__}: {error})"
        return FormatDescription(name, "", package, error=f"{problem}. Update or uninstall '{package}'.")


def _declared(one: AnnotationFormat, package: str | None) -> FormatDescription:
    written: Any = one.output() if one.writes else None
    return FormatDescription(
        one.name,
        one.title,
        package,
        one.reads,
        one.writes,
        one.reads and one.detected,
        tuple(one.extensions),
        tuple(one.loses),
        writing_losses(written) if written else (),
        written is not None and written.sizes is SizeUse.REQUIRED,
        one.documentation,
    )


def writing_losses(output: OutputFormat) -> tuple[str, ...]:
    """Return what writing leaves out or changes, without what the report says after a semicolon."""
    kinds = (_plural(kind) for kind in ShapeType if kind not in output.shape_types)
    return (*kinds, *dict.fromkeys(what.partition(";")[0] for what in output.losses))


def _plural(kind: ShapeType) -> str:
    return "shapes of points" if kind is ShapeType.POINTS else f"{kind.value}s"
