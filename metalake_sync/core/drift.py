"""Drift: how the lake's side of a recorded file differs from what we last wrote there.

Owns: the test whether a file is worth a close look. What follows is decided by the truth table (`diff`).
"""

from __future__ import annotations

from metalake_sync.core.diff import CollectionRules
from metalake_sync.core.diff_sets import has_drifted
from metalake_sync.core.metadata import MetadataSet, update_to_mend
from metalake_sync.core.snapshots import DesiredFile, DesiredSet, Origin, RecordedFile, RemoteFile


def file_drifted(rules: CollectionRules, recorded: RecordedFile, remote: RemoteFile) -> bool:
    """Whether details of a file differ from the records. An adopted file's metadata belongs to others, unless the
    manifest says otherwise; the bytes of one that was kept different from ours are not known."""
    if remote.lake_id != recorded.lake_id:
        return True
    if recorded.content_hash and remote.size_bytes not in (None, recorded.fingerprint.size_bytes):
        return True
    owned = recorded.origin is Origin.UPLOADED or rules.policy.metadata_override
    if owned and remote.metadata is not None:
        before = rules.written(recorded.metadata_digest) or {}
        if update_to_mend(before, before, remote.metadata, rules.policy.tags):
            return True
    sets = remote.sets
    return sets is not None and any(has_drifted(known, sets.get(name)) for name, known in recorded.annotations.items())


def desired_as_recorded(rules: CollectionRules, recorded: RecordedFile) -> DesiredFile:
    """The file as it was last applied, as if the manifest wanted just that. Of a set whose source can't be read nobody
    could write it anew, so it is not asked for."""
    return DesiredFile(
        recorded.name,
        recorded.path,
        recorded.fingerprint,
        MetadataSet(rules.written(recorded.metadata_digest) or {}, recorded.metadata_digest),
        recorded.content_hash,
        {
            operation: DesiredSet(operation, known.kind, known.digest, known.shape_count)
            for operation, known in recorded.annotations.items()
            if operation not in rules.operations or rules.operations[operation].known
        },
    )
