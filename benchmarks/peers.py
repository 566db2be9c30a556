"""The peers, and how they are got: the vendor's client in an environment of its own, rclone from Debian.

Must not: import a peer; each runs in a process of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

VENDOR_VERSION = "2.3.4"

VENDOR_UPLOAD = """
import os, sys
from layernext import LayerNextClient
url, folder = sys.argv[1:]
client = LayerNextClient("k", "s", url)
client.upload_files_to_collection(folder, "image", "up", {}, False, None)
"""


def vendor_python(where: Path) -> str:
    """The interpreter that has the vendor's client; made at `where` unless METALAKE_SYNC_VENDOR_PYTHON names one."""
    given = os.environ.get("METALAKE_SYNC_VENDOR_PYTHON")
    if given:
        return given
    python = where / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(where)], check=True)
        subprocess.run([str(python), "-m", "pip", "-q", "install", f"layernext=={VENDOR_VERSION}"], check=True)
    return str(python)


def rclone() -> str:
    """The path of rclone; installed from Debian where it is missing and we may."""
    found = shutil.which("rclone")
    if found is None:
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", "rclone"], check=True)
        found = shutil.which("rclone")
    assert found is not None, "apt-get installed rclone"
    return found
