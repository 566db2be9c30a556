"""Drift: whether a recorded file differs in the lake from what was last written.

Owns: the test whether a file has to be compared in full. Must not: decide what to do about it (`diff`).
"""

from __future__ import annotations

from metalake_sync.core.diff import CollectionRules
from metalake_sync.core.diff_sets import has_drifted
from metalake_sync.core.metadata import MetadataSet, update_to_mend
from metalake_sync.core.snapshots import DesiredFile, DesiredSet, Origin, RecordedFile, RemoteFile


def file_drifted(rules: CollectionRules, recorded: RecordedFile, remote: RemoteFile) -> bool:
    """Return whether a file in the lake differs from its record.

    The metadata of an adopted file belongs to other clients, unless `metadata_override` is set. The content hash is
    unknown for a file whose bytes `on_change: keep` kept different; its size is not compared.
    """
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
    """Return the file as it was last applied, as if the manifest wanted exactly that.

    A set whose source is unreadable is left out, because apply could not write it again.
    """
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
