"""One annotation block of the manifest, in the words of readers and checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Literal

from metalake_sync.annotations.formats.metalake import MetalakeForm
from metalake_sync.annotations.validation import InvalidPolicy
from metalake_sync.core.shapes import FormatName
from metalake_sync.core.snapshots import AnnotationKind
from metalake_sync.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class AnnotationSpec:
    """One annotation block of the manifest. `sources`: files, folders or globs from `base_dir`. `labels`: renames;
    `allowed`: None is every label. `declared_at`: the manifest's file:line:column. `format`: None is guessed."""

    operation: str
    kind: AnnotationKind
    sources: tuple[str, ...]
    base_dir: Path
    declared_at: str
    normalized: bool | Literal["convert"] = False
    mode: Literal["replace", "append"] = "replace"
    strict: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    allowed: frozenset[str] | None = None
    format: FormatName | None = None
    invalid: InvalidPolicy = field(default_factory=InvalidPolicy)
    form: MetalakeForm | None = None
    """What the block says about the form of MetaLake's JSON; None where it says nothing."""
