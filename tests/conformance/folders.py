"""Local folders that the conformance tests upload."""

from __future__ import annotations

from pathlib import Path

from tests.embedded_lake.talk import png

IMAGES = {f"{name}.png": png(40, 20, name.encode()) for name in ("crow", "gull", "jay")}


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    """Create a folder with these files."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder
