"""The reason codes of actions. Owns: the closed list, which scripts rely on. Must not: decide a reason (`diff`)."""

from __future__ import annotations

import enum


class Reason(enum.StrEnum):
    NEW = "new"
    CONTENT_CHANGED = "content_changed"
    MISSING_IN_LAKE = "missing_in_lake"
    METADATA_CHANGED = "metadata_changed"
    ANNOTATIONS_CHANGED = "annotations_changed"
    REMOVED_FROM_MANIFEST = "removed_from_manifest"
    FILTERED_OUT = "filtered_out"
    RENAMED = "renamed"
    ALREADY_IN_LAKE = "already_in_lake"
    DRIFTED = "drifted"
    REQUESTED = "requested"
