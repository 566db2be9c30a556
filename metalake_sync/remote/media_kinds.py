"""Translates media types of the manifest into the numbers of the protocol. Must not: call a lake."""

from __future__ import annotations

from metalake_sync.core.snapshots import MediaType
from metalake_sync.protocol.wire import MediaKind, ObjectKind

_MEDIA_KINDS = {MediaType.IMAGE: MediaKind.IMAGE, MediaType.VIDEO: MediaKind.VIDEO, MediaType.OTHER: MediaKind.OTHER}

_OBJECT_KINDS = {
    MediaType.IMAGE: ObjectKind.IMAGE,
    MediaType.VIDEO: ObjectKind.VIDEO,
    MediaType.OTHER: ObjectKind.OTHER,
}

_COLLECTION_KINDS = {
    MediaType.IMAGE: ObjectKind.IMAGE_COLLECTION,
    MediaType.VIDEO: ObjectKind.VIDEO_COLLECTION,
    MediaType.OTHER: ObjectKind.OTHER_COLLECTION,
}


def media_kind(media_type: MediaType) -> MediaKind:
    """Return the type of a collection in upload, create and metadata calls."""
    return _MEDIA_KINDS[media_type]


def object_kind(media_type: MediaType) -> ObjectKind:
    """Return the type of a collection's items in list, count and selection calls."""
    return _OBJECT_KINDS[media_type]


def collection_kind(media_type: MediaType) -> ObjectKind:
    """Return the type of collections themselves in list, count and selection calls."""
    return _COLLECTION_KINDS[media_type]
