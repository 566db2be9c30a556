"""The peers, and how they are got: the vendor's client and awscli in environments of their own, rclone from Debian.

Each function raises PeerMissing, which says why, where a peer is not available. Must not: import a peer; each runs in a
process of its own.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.measuring import PeerMissing, environment

VENDOR_VERSION = "2.3.4"

VENDOR_UPLOAD = """
import sys
from layernext import LayerNextClient
url, folder = sys.argv[1:]
client = LayerNextClient("k", "s", url)
client.upload_files_to_collection(folder, "image", "up", {}, False, None)
"""

VENDOR_ANNOTATE = """
import sys
from layernext import LayerNextClient
url, path = sys.argv[1:]
client = LayerNextClient("k", "s", url)
client.upload_annotations_for_collection("up", "op", path, False, False)
"""


def vendor_python() -> str:
    """The interpreter that has the vendor's client, unless METALAKE_SYNC_VENDOR_PYTHON names one."""
    return os.environ.get("METALAKE_SYNC_VENDOR_PYTHON") or str(
        environment(".venv-vendor", f"layernext=={VENDOR_VERSION}") / "python"
    )


def rclone() -> str:
    """The path of rclone; installed from Debian where it is missing and we may."""
    if shutil.which("rclone") is None:
        try:
            subprocess.run(["apt-get", "update", "-qq"], check=True, capture_output=True)
            subprocess.run(["apt-get", "install", "-y", "-qq", "rclone"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise PeerMissing(f"rclone is not installed, and apt-get can't do it here ({error})") from None
    return shutil.which("rclone") or "rclone"


def aws() -> str:
    """The path of `aws`: what is installed, or awscli in an environment of its own."""
    return shutil.which("aws") or str(environment(".venv-awscli", "awscli") / "aws")


@contextmanager
def moto_server() -> Iterator[str]:
    """moto's S3 server in a process of its own; gives its address."""
    code = "import sys; from moto.server import main; main(sys.argv[1:])"
    port = _free_port()
    with subprocess.Popen(
        [sys.executable, "-c", code, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _wait_for(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _wait_for(port: int) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise PeerMissing("moto's server does not start within 30 s") from None
            time.sleep(0.1)
