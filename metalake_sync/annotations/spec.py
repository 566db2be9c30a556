"""One annotation block of the manifest, as readers and checks take it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from metalake_sync.annotations.validation import InvalidPolicy
from metalake_sync.core.shapes import FormatName
from metalake_sync.core.snapshots import AnnotationKind
from metalake_sync.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class AnnotationSpec:
    """One annotation block of the manifest."""

    operation: str
    kind: AnnotationKind
    sources: tuple[str, ...]
    """Files, folders or globs, relative to `base_dir` or absolute."""
    base_dir: Path
    declared_at: str
    """The block's file:line:column in the manifest."""
    normalized: bool | Literal["convert"] = False
    mode: Literal["replace", "append"] = "replace"
    strict: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    """Label in the source → label in the lake."""
    allowed: frozenset[str] | None = None
    """The labels that are sent. None: all."""
    format: FormatName | None = None
    """None: detected for each file."""
    invalid: InvalidPolicy = field(default_factory=InvalidPolicy)
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the block that only some formats take (`AnnotationFormat.options`), as far as the block has them."""
