"""Translates an annotation block of the manifest, in a collection or at top level, into an `AnnotationSpec`.

Owns: which keys of a block the readers receive. Must not: open a source.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metalake_sync.annotations.entries import AnnotationSpec
from metalake_sync.annotations.validation import InvalidPolicy, ShapeProblem
from metalake_sync.core.shapes import ShapeType
from metalake_sync.core.snapshots import AnnotationKind
from metalake_sync.manifest.source_models import Annotation, InvalidShapes


def annotation_spec(block: Annotation, base_dir: Path, declared_at: str) -> AnnotationSpec:
    """`base_dir`: what source paths are relative to. `declared_at`: the manifest's file:line:column of the source."""
    return AnnotationSpec(
        operation=block.operation,
        kind=AnnotationKind(block.kind),
        sources=(block.source,) if isinstance(block.source, str) else tuple(block.source),
        base_dir=base_dir,
        declared_at=declared_at,
        normalized=block.normalized,
        mode=block.mode,
        on_drift=block.on_drift,
        strict=block.strict,
        labels=block.labels.rename,
        allowed=frozenset(block.labels.allow) or None,
        format=block.format,
        invalid=_invalid_policy(block.invalid),
        options=_options(block),
    )


def _options(block: Annotation) -> dict[str, Any]:
    """Return the keys that only some formats take, as far as the block has them."""
    shape_type = ShapeType(block.shape_type) if block.shape_type else None
    options = {"old_form": block.old_form, "shape_type": shape_type}
    return {name: value for name, value in options.items() if value is not None}


def _invalid_policy(invalid: InvalidShapes) -> InvalidPolicy:
    policies = {problem: getattr(invalid, problem.value) for problem in ShapeProblem}
    return InvalidPolicy(
        invalid.default, {problem: policy for problem, policy in policies.items() if policy is not None}
    )
