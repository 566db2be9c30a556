"""What a saved plan knows its manifest by. It rests on no credential."""

from __future__ import annotations

import json

from blake3 import blake3

from metalake_sync.manifest.loading import LoadedManifest


def manifest_digest(manifest: LoadedManifest) -> str:
    """BLAKE3 in hex of everything that the manifest says, variables filled in, but for how its credentials are had."""
    said = manifest.model.model_dump(mode="json", exclude={"remote"})
    text = json.dumps({**said, "lake": manifest.model.remote.url}, sort_keys=True)
    return blake3(text.encode("utf-8", "surrogatepass")).hexdigest()
