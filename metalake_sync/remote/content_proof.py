"""Proves that a local file has the same bytes as a file in the lake.

Owns: the request for an object's MD5s (one byte of the signed URL), what counts as proof, local MD5s, and hashing an
object that is read back. An ETag that is not an MD5 matches no file. Must not: decide what follows, follow a redirect,
send credentials to the store, or put a signed URL into an error.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from urllib.parse import urlsplit

import requests
from blake3 import blake3

from metalake_sync.core.snapshots import RemoteFile
from metalake_sync.errors import LakeAnswerInvalid, LakeRejected
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.http.sync_http import TIMEOUTS_S, session_for
from metalake_sync.remote.storage import choose_part_size
from metalake_sync.sources.opening import open_regular_file

AT_ONCE = 1000
"""How many URLs are signed before they are used, because a signature is valid for minutes only."""

OFFICIAL_PART_BYTES = 100 << 20
"""The part size of the published client."""

_READ_BYTES = 1 << 20
_MD5 = re.compile(r"[0-9a-f]{32}")
_MULTIPART = re.compile(r"([0-9a-f]{32})-(\d{1,5})")


@dataclass(frozen=True, slots=True)
class Pair:
    """A file in the lake and a local file of the same size that may have the same bytes."""

    unique_name: str
    path: str
    """'' if no local file has the bytes any longer."""
    size_bytes: int
    url: str = field(default="", repr=False)
    """A signed URL, or '' to request one from the lake."""
    etags: tuple[str, ...] = ()
    """The store's answers to the parts when they were sent, in order. They prove the bytes as the local file does."""


@dataclass(frozen=True, slots=True)
class Claims:
    """A store's MD5s of an object, in hex."""

    md5s: frozenset[str] = frozenset()
    multipart: tuple[str, int] | None = None
    """The MD5 of the parts' MD5s, and the number of parts."""

    def __bool__(self) -> bool:
        return bool(self.md5s) or self.multipart is not None

    @property
    def of_whole(self) -> bool:
        """Whether the MD5 of the whole file is sufficient, as it also is for a multipart upload of one part."""
        return bool(self.md5s) or (self.multipart is not None and self.multipart[1] == 1)

    def match(self, md5: bytes) -> bool:
        """Return whether a file with this MD5 is the store's object. Requires `of_whole`."""
        return md5.hex() in self.md5s or (
            self.multipart is not None and hashlib.md5(md5, usedforsecurity=False).hexdigest() == self.multipart[0]
        )


def same_bytes(client: LakeClient, pairs: Sequence[Pair], threads: int) -> set[str]:
    """Return the unique names of the pairs with provably equal bytes. Raises what `compare_bytes` raises."""
    return {unique_name for unique_name, same in compare_bytes(client, pairs, threads).items() if same}


def compare_bytes(client: LakeClient, pairs: Sequence[Pair], threads: int) -> dict[str, bool]:
    """Return by unique name whether the bytes are equal, without the pairs of which the store proves nothing.

    This takes one GET of one byte per pair, many at once. Local files are read only if the store gives an MD5. Empty
    files are equal. Raises failures of the whole lake.
    """
    proven = {pair.unique_name: True for pair in pairs if not pair.size_bytes}
    unproven = [pair for pair in pairs if pair.size_bytes]
    if not unproven:
        return proven
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(threads, len(unproven)), thread_name_prefix="proofs") as pool:
        for start in range(0, len(unproven), AT_ONCE):
            signed = list(pool.map(lambda pair: _signed(client, pair), unproven[start : start + AT_ONCE]))
            with _Stores(client.address, threads) as stores:
                stores.connect(signed)
                found = pool.map(lambda pair: _holds(stores.claims(pair), pair), signed)
                proven |= {pair.unique_name: same for pair, same in zip(signed, found, strict=True) if same is not None}
    return proven


def claims_of(status: int, headers: Mapping[str, str]) -> Claims:
    """Return the MD5s in a response. Header names are in lower case, or the mapping ignores case."""
    md5s: set[str] = set()
    multipart = None
    etag = headers.get("etag", "").strip('"').lower()
    if _MD5.fullmatch(etag) and not headers.get("x-amz-server-side-encryption", "").startswith("aws:kms"):
        md5s.add(etag)
    elif match := _MULTIPART.fullmatch(etag):
        multipart = match[1], int(match[2])
    hashes = [part.strip() for part in headers.get("x-goog-hash", "").split(",")]
    whole = [part.removeprefix("md5=") for part in hashes if part.startswith("md5=")]
    whole.append(headers.get("x-ms-blob-content-md5", ""))
    if status == 200:  # otherwise it is the MD5 of the range
        whole.append(headers.get("content-md5", ""))
    md5s.update(filter(None, map(_hex, whole)))
    return Claims(frozenset(md5s), multipart)


class _Stores:
    """One HTTP session for each server of signed URLs."""

    def __init__(self, lake: LakeAddress, threads: int) -> None:
        self._lake = lake
        self._threads = threads
        self._sessions: dict[tuple[str, str], requests.Session] = {}

    def __enter__(self) -> _Stores:
        return self

    def __exit__(self, *_: object) -> None:
        for session in self._sessions.values():
            session.close()

    def connect(self, pairs: Sequence[Pair]) -> None:
        """Open sessions for the servers of these pairs. Not thread-safe."""
        for pair in pairs:
            server = _server(pair.url)
            if pair.url and server not in self._sessions:
                with contextlib.suppress(LakeAnswerInvalid):  # a forbidden store proves nothing
                    self._lake.check_store(pair.url)
                    self._sessions[server] = session_for(
                        pair.url,
                        self._lake,
                        pool_size=self._threads,
                        bounded=True,
                        guarded=self._lake.guards(urlsplit(pair.url).hostname or ""),
                    )

    def claims(self, pair: Pair) -> Claims:
        """Request the store's MD5s of one file. Returns none if the store does not answer."""
        session = self._sessions.get(_server(pair.url))
        if session is None:
            return Claims()
        try:
            with session.get(
                pair.url, headers={"Range": "bytes=0-0"}, stream=True, timeout=TIMEOUTS_S, allow_redirects=False
            ) as answer:
                if answer.status_code == 206:
                    answer.raw.read(_READ_BYTES)  # so that the connection can be reused
                return claims_of(answer.status_code, answer.headers) if answer.status_code in (200, 206) else Claims()
        except (requests.RequestException, OSError):
            return Claims()


def _server(url: str) -> tuple[str, str]:
    """Return scheme and host of a URL, empty if it is malformed."""
    try:
        return urlsplit(url)[:2]
    except ValueError:
        return "", ""


def _signed(client: LakeClient, pair: Pair) -> Pair:
    if not pair.url:
        with contextlib.suppress(LakeRejected, LakeAnswerInvalid):  # the file is gone, so nothing can be proven
            return replace(pair, url=client.download_url(pair.unique_name))
    return pair


def _holds(claims: Claims, pair: Pair) -> bool | None:
    """Return whether the local file matches a claim. None if nothing is proven, or the file cannot be read."""
    if claims.multipart is not None and pair.etags and _sent_as(pair.etags) == claims.multipart:
        return True
    count = claims.multipart[1] if claims.multipart else 0
    part_sizes = _part_sizes(pair.size_bytes, count) if count else []
    if not pair.path or not (claims.md5s or part_sizes):
        return None
    try:
        with os.fdopen(open_regular_file(pair.path), "rb") as file:
            if os.fstat(file.fileno()).st_size != pair.size_bytes:
                return None
            if claims.md5s and _md5_of_part(file.fileno(), 0, pair.size_bytes).hex() in claims.md5s:
                return True
            if any(_multipart_md5(file.fileno(), pair.size_bytes, size) == claims.multipart for size in part_sizes):
                return True
    except OSError:
        return None
    # The boundaries of several parts are a guess, so a different MD5 of them proves nothing.
    return False if claims.md5s or count == 1 else None


def _sent_as(etags: Sequence[str]) -> tuple[str, int] | None:
    """Return the claim for an object made of parts with these ETags. None if they are not MD5s."""
    if not all(map(_MD5.fullmatch, etags)):
        return None
    md5s = b"".join(map(bytes.fromhex, etags))
    return hashlib.md5(md5s, usedforsecurity=False).hexdigest(), len(etags)


def _part_sizes(size_bytes: int, count: int) -> list[int]:
    """Return the known part sizes that split a file into `count` parts."""
    sizes = dict.fromkeys((choose_part_size(size_bytes), OFFICIAL_PART_BYTES))
    return [size for size in sizes if -(-size_bytes // size) == count][: 1 if count == 1 else None]


def _multipart_md5(descriptor: int, size_bytes: int, part_size: int) -> tuple[str, int]:
    """Return the components of an S3 ETag: the MD5 of the parts' MD5s, and the number of parts."""
    offsets = range(0, size_bytes, part_size)
    parts = [_md5_of_part(descriptor, offset, min(part_size, size_bytes - offset)) for offset in offsets]
    return hashlib.md5(b"".join(parts), usedforsecurity=False).hexdigest(), len(parts)


def _md5_of_part(descriptor: int, offset: int, length: int) -> bytes:
    digest = hashlib.md5(usedforsecurity=False)
    end = offset + length
    while offset < end:
        chunk = os.pread(descriptor, min(_READ_BYTES, end - offset), offset)
        if not chunk:
            break
        digest.update(chunk)
        offset += len(chunk)
    return digest.digest()


def _hex(encoded: str) -> str:
    """Return an MD5 in base64 as hex, or '' for anything else."""
    with contextlib.suppress(binascii.Error, ValueError):
        raw = base64.b64decode(encoded, validate=True)
        return raw.hex() if len(raw) == 16 else ""
    return ""


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
        with contextlib.suppress(LakeRejected, LakeAnswerInvalid):  # the file is gone
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
