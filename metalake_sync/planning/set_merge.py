"""Combines an annotation set of the source with the lake's set that another client changed (`on_drift: merge`).

Owns: the conversion of both sets to one form, and the side that wins a conflict in the combined set: the source. Must
not: decide whether the combined set is sent (`core.diff_sets`), or find the conflicts (`core.shape_merge`).
"""

from __future__ import annotations

from metalake_sync.annotations.frames import to_fractions
from metalake_sync.annotations.readback import as_stored, digest_as_read_back, is_same_in_any_order
from metalake_sync.core.shape_merge import merge
from metalake_sync.core.shape_values import UnknownImageSize, UnknownShape
from metalake_sync.core.shapes import ImageRecord, digest_of_shapes, encode_record
from metalake_sync.core.snapshots import AnnotationKind, SetMerge
from metalake_sync.sources.image_headers import image_size


def merge_with_lake(
    base: ImageRecord | None, ours: ImageRecord, theirs: ImageRecord | None, kind: AnnotationKind, image: str
) -> SetMerge | None:
    """Combine the source's set with the lake's, shape by shape (`core.shape_merge`).

    `base`: the set that the lake confirmed last, None if it is unknown. `image`: the path of the image, whose size
    converts fractions to pixels. A shape in conflict is the source's in the result. Returns None for sets that cannot
    be compared.
    """
    if theirs is None:
        return None
    confirmed = base or ImageRecord(ours.image, ())
    size = image_size(image) if confirmed.normalized or ours.normalized else None
    try:
        merged = merge(as_stored(confirmed, kind, size), as_stored(ours, kind, size), theirs)
    except (UnknownImageSize, UnknownShape):
        return None
    shapes = merged.resolved("ours")
    is_theirs = (
        not merged.conflicts and len(shapes.shapes) == len(theirs.shapes) and is_same_in_any_order(shapes, theirs)
    )
    stored = digest_as_read_back(shapes)
    if ours.normalized and size is not None:
        shapes = to_fractions(shapes, size)
    return SetMerge(shapes, digest_of_shapes(encode_record(shapes)), len(merged.conflicts), is_theirs, stored)
