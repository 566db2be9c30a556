"""The manifest: from YAML to resolved collections, with file, line and column of every error.

Must not: read the files that the manifest names, or know a lake.
"""

from __future__ import annotations

from metalake_sync.manifest.credentials import Credentials, credential_sources, resolve_credentials
from metalake_sync.manifest.loading import LoadedManifest, ManifestWarning, compose_manifest, load_manifest
from metalake_sync.manifest.models import Collection, Folder, Manifest, ResolvedCollection
from metalake_sync.manifest.reading import read_var_file
from metalake_sync.manifest.remote_models import Remote
from metalake_sync.manifest.source_models import (
    AddressedAnnotation,
    AddressedMetadata,
    Annotation,
    FromFiles,
    MetadataSourceFile,
    PatternMetadata,
)

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
