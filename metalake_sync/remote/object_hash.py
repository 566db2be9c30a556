"""Reading a stored file back for its hash, through a signed address.

Must not: send a credential of ours there, follow a redirect, or let the address into an error.
"""

from __future__ import annotations

import requests
from blake3 import blake3

CHUNK_BYTES = 1 << 20
TIMEOUT_S = (10, 120)


def hash_of_object(url: str) -> tuple[int, str | None, str]:
    """Read an object, in pieces. Returns its size in bytes, its BLAKE3 in hex and '', or None and why it has none."""
    digest, size_bytes = blake3(), 0
    try:
        with requests.Session() as session:
            # Proxies come from the environment, but nothing of .netrc goes to a store.
            session.proxies = requests.utils.get_environ_proxies(url)
            session.trust_env = False
            with session.get(url, stream=True, timeout=TIMEOUT_S, allow_redirects=False) as answer:
                if answer.status_code != 200:
                    return 0, None, f"the store answered {answer.status_code}"
                for chunk in answer.iter_content(CHUNK_BYTES):
                    digest.update(chunk)
                    size_bytes += len(chunk)
    except requests.RequestException as error:
        return size_bytes, None, type(error).__name__
    return size_bytes, digest.hexdigest(), ""
