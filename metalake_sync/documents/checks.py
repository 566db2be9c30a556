"""The findings of the checks as plain values: a part of plans, and what `check --sources --json` prints.

Owns: the documents. Must not: import pydantic, which a run needs for its manifest only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from typing import Any, ClassVar, Literal

from metalake_sync.core.checks import Finding
from metalake_sync.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class FindingDocument:
    """One finding of a check."""

    check: str
    """The check: `pointer`, `empty`, `zeros`, `other_type`, `truncated`, `undecodable`, `too_large`, `duplicate`,
    `split_leak`, `unknown_label`, `label_share` or `box_outside`."""
    level: Literal["warn", "error"]
    """`error` stops the plan."""
    collection: str
    type: str
    file: str | None
    """The name of the file in the collection. None: the finding is about the share of a label."""
    label: str | None
    """The label that the finding is about: one that is not allowed, or whose share moved."""
    path: str
    """The local file, relative to the manifest's folder. About annotations: the place in their source. About the share
    of a label: the line of the manifest that names the source."""
    message: str
    """A clause whose subject is the file or the label."""
    remedy: str

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid", "use_attribute_docstrings": True}


@plain_dataclass(frozen=True, slots=True, kw_only=True)
class SourceCheckDocument:
    """What `check --sources --json` prints."""

    format_version: Literal["1.0"] = "1.0"
    manifest: str
    files: int
    """How many local files were checked."""
    errors: int
    """How many findings have the level `error`."""
    warnings: int
    """How many findings have the level `warn`."""
    findings: Sequence[FindingDocument]
    unreadable: Sequence[str]
    """Files and folders that could not be read, each with the reason."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid", "use_attribute_docstrings": True}


def finding_documents(findings: Iterable[Finding]) -> list[FindingDocument]:
    """Return findings as documents."""
    return [
        FindingDocument(
            one.check.value,
            one.level,
            one.collection.name,
            one.collection.type.value,
            one.subject if one.operation is None else None,
            one.label,
            one.path,
            one.message,
            one.remedy,
        )
        for one in findings
    ]
