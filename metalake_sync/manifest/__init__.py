"""The manifest: YAML in, resolved collections out, and every mistake with its file, line and column.

Must not: look at the files that it names, or know of a lake.
"""

from __future__ import annotations

from metalake_sync.manifest.credentials import Credentials, credential_sources, resolve_credentials
from metalake_sync.manifest.loading import LoadedManifest, ManifestWarning, compose_manifest, load_manifest
from metalake_sync.manifest.models import AddressedAnnotation, Annotation, Collection, Folder, Manifest, Remote
from metalake_sync.manifest.resolved import ResolvedCollection
from metalake_sync.manifest.source_models import AddressedMetadata, FromFiles, MetadataSourceFile, PatternMetadata
from metalake_sync.manifest.variables import read_var_file

__all__ = [
    "AddressedAnnotation",
    "AddressedMetadata",
    "Annotation",
    "Collection",
    "Credentials",
    "Folder",
    "FromFiles",
    "LoadedManifest",
    "Manifest",
    "ManifestWarning",
    "MetadataSourceFile",
    "PatternMetadata",
    "Remote",
    "ResolvedCollection",
    "compose_manifest",
    "credential_sources",
    "load_manifest",
    "read_var_file",
    "resolve_credentials",
]
