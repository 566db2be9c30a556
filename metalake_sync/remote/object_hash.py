"""Reads stored files through signed URLs to hash them.

Must not: send credentials to the store, follow a redirect, or put the URL into an error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from urllib.parse import urlsplit

import requests
from blake3 import blake3

from metalake_sync.core.snapshots import RemoteFile
from metalake_sync.errors import LakeAnswerInvalid, LakeRefused
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.http.sync_http import TIMEOUTS_S, session_for

CHUNK_BYTES = 1 << 20

READ_BACK_BYTES = 256 << 20
"""How many bytes one comparison may read from a store that gives no MD5s."""


def read_back(client: LakeClient, files: Iterable[tuple[RemoteFile, int, str]]) -> set[str]:
    """Return the names of the files whose bytes in the store have the expected hash.

    `files`: each with its size in bytes and its expected BLAKE3 hash in hex. Reads READ_BACK_BYTES at most.
    """
    left = READ_BACK_BYTES
    same: set[str] = set()
    for remote, size_bytes, content_hash in files:
        if size_bytes > left:
            continue
        left -= size_bytes
        with contextlib.suppress(LakeRefused, LakeAnswerInvalid):  # the file is gone
            url = client.download_url(remote.unique_name)
            if hash_of_object(url, client.address, size_bytes)[1] == content_hash:
                same.add(remote.name)
    return same


def hash_of_object(url: str, lake: LakeAddress, size_expected: int) -> tuple[int, str | None, str]:
    """Read an object of a lake up to `size_expected` bytes.

    Returns the number of bytes, the BLAKE3 hash in hex, and ''. If it cannot be read, the last value says why,
    and there is no hash.
    """
    digest, size_bytes = blake3(), 0
    try:
        lake.check_store(url)
    except LakeAnswerInvalid as error:
        return 0, None, error.message
    try:
        with (
            session_for(url, lake, bounded=False, guarded=lake.guards(urlsplit(url).hostname or "")) as session,
            session.get(url, stream=True, timeout=TIMEOUTS_S, allow_redirects=False) as answer,
        ):
            if answer.status_code != 200:
                return 0, None, f"the store answered {answer.status_code}"
            for chunk in answer.iter_content(CHUNK_BYTES):
                digest.update(chunk)
                size_bytes += len(chunk)
                if size_bytes > size_expected:
                    return size_bytes, None, f"the store sends more than {size_expected} bytes"
    except requests.RequestException as error:
        return size_bytes, None, type(error).__name__
    return size_bytes, digest.hexdigest(), ""
