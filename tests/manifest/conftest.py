"""A manifest in its own folder, as a user would have it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from metalake_sync.errors import ManifestError, ManifestErrors
from metalake_sync.manifest import LoadedManifest, load_manifest

HEAD = "version: 1\nremote: {url: embedded:.metalake}\n"


@dataclass(frozen=True)
class ManifestFolder:
    """Writes manifests and reads them back. Names in errors are relative to the folder."""

    folder: Path

    def load(
        self,
        text: str | bytes,
        *,
        file: str = "birds.yaml",
        variables: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> LoadedManifest:
        """Load one file with this text."""
        data = text.encode() if isinstance(text, str) else text
        (self.folder / file).write_bytes(data)
        return load_manifest(file, variables=variables, environment=environment or {})

    def load_folder(self, **files: str) -> LoadedManifest:
        """Load a folder `lake` of these files."""
        folder = self.folder / "lake"
        folder.mkdir()
        for name, text in files.items():
            (folder / f"{name}.yaml").write_text(text)
        return load_manifest("lake", environment={})

    def load_stdin(self, text: str) -> LoadedManifest:
        return load_manifest("-", environment={}, stdin=io.StringIO(text))

    def messages(self, text: str | bytes, **more: Mapping[str, str]) -> list[str]:
        """The errors of this manifest, one line for each."""
        return [str(error) for error in self.errors(text, **more)]

    def errors(self, text: str | bytes, **more: Mapping[str, str]) -> tuple[ManifestError, ...]:
        with pytest.raises(ManifestErrors) as caught:
            self.load(text, variables=more.get("variables"), environment=more.get("environment"))
        return caught.value.errors


@pytest.fixture
def manifests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ManifestFolder:
    monkeypatch.chdir(tmp_path)
    return ManifestFolder(tmp_path)
