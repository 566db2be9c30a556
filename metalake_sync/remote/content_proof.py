"""Whether a local file has the very bytes of a file in the lake, as far as the object store can prove it.

Owns: the question (one byte of the signed URL), what counts as a proof, and the local MD5s. A store that tells no MD5
proves nothing, and nobody's word is taken for it: an ETag that is no MD5 is merely one that no local file has. Must
not: decide what follows, follow a redirect, or let a signed address into an error.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from urllib.parse import urlsplit

import requests

from metalake_sync.errors import LakeAnswerInvalid, LakeRefused
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.http.sync_http import TIMEOUTS_S, session_for
from metalake_sync.remote.storage import choose_part_size
from metalake_sync.sources.regular_files import open_regular_file

AT_ONCE = 1000
"""Files between signing and asking: a signature lasts for minutes only."""

OFFICIAL_PART_BYTES = 100 << 20
"""Where the published client cuts its parts."""

_READ_BYTES = 1 << 20
_MD5 = re.compile(r"[0-9a-f]{32}")
_MULTIPART = re.compile(r"([0-9a-f]{32})-(\d{1,5})")


@dataclass(frozen=True, slots=True)
class Pair:
    """A file of the lake and the local file, of one size in bytes, that may be the same. `url`: signed, or '' where the
    lake is to be asked for one. `path`: '' where no local file has the bytes any more. `etags`: what the store answered
    when it was sent the parts, in their order; they stand for the bytes as the local file does."""

    unique_name: str
    path: str
    size_bytes: int
    url: str = field(default="", repr=False)
    etags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Claims:
    """What a store says of an object's bytes, in hex. `multipart`: MD5 of the parts' MD5s, and how many parts."""

    md5s: frozenset[str] = frozenset()
    multipart: tuple[str, int] | None = None

    def __bool__(self) -> bool:
        return bool(self.md5s) or self.multipart is not None

    @property
    def of_whole(self) -> bool:
        """Whether the MD5 of the whole file decides: a multipart upload of one part is such a case, too."""
        return bool(self.md5s) or (self.multipart is not None and self.multipart[1] == 1)

    def match(self, md5: bytes) -> bool:
        """Whether a file with this MD5 is what the store claims to have. Only where `of_whole`."""
        return md5.hex() in self.md5s or (
            self.multipart is not None and hashlib.md5(md5, usedforsecurity=False).hexdigest() == self.multipart[0]
        )


def same_bytes(client: LakeClient, pairs: Sequence[Pair], threads: int) -> set[str]:
    """The unique names of those pairs whose bytes are proven to be the same. Raises what `compare_bytes` raises."""
    return {unique_name for unique_name, same in compare_bytes(client, pairs, threads).items() if same}


def compare_bytes(client: LakeClient, pairs: Sequence[Pair], threads: int) -> dict[str, bool]:
    """What the store proves, by unique name: True for the same bytes, False for other bytes. Pairs of which it proves
    nothing are left out.

    One GET of one byte for each, many at once; local files are read only where the store claims something. Of an empty
    file the size is proof enough. Raises what concerns the whole lake.
    """
    proven = {pair.unique_name: True for pair in pairs if not pair.size_bytes}
    asked = [pair for pair in pairs if pair.size_bytes]
    if not asked:
        return proven
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(threads, len(asked)), thread_name_prefix="proofs") as pool:
        for start in range(0, len(asked), AT_ONCE):
            signed = list(pool.map(lambda pair: _signed(client, pair), asked[start : start + AT_ONCE]))
            with _Stores(client.address, threads) as stores:
                stores.reach(signed)
                found = pool.map(lambda pair: _holds(stores.claims(pair), pair), signed)
                proven |= {pair.unique_name: same for pair, same in zip(signed, found, strict=True) if same is not None}
    return proven


def claims_of(status: int, headers: Mapping[str, str]) -> Claims:
    """What an answer claims. Header names are small, or the mapping takes them in any case."""
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
    if status == 200:  # of a range, it is the MD5 of the range
        whole.append(headers.get("content-md5", ""))
    md5s.update(filter(None, map(_hex, whole)))
    return Claims(frozenset(md5s), multipart)


class _Stores:
    """One session for each server that signed addresses lead to."""

    def __init__(self, lake: LakeAddress, threads: int) -> None:
        self._lake = lake
        self._threads = threads
        self._sessions: dict[tuple[str, str], requests.Session] = {}

    def __enter__(self) -> _Stores:
        return self

    def __exit__(self, *_: object) -> None:
        for session in self._sessions.values():
            session.close()

    def reach(self, pairs: Sequence[Pair]) -> None:
        """Open sessions for these, in one thread."""
        for pair in pairs:
            server = _server(pair.url)
            if pair.url and server not in self._sessions:
                with contextlib.suppress(LakeAnswerInvalid):  # of such a store nothing is proven
                    self._lake.check_store(pair.url)
                    self._sessions[server] = session_for(
                        pair.url,
                        self._lake,
                        pool_size=self._threads,
                        bounded=True,
                        guarded=self._lake.guards(urlsplit(pair.url).hostname or ""),
                    )

    def claims(self, pair: Pair) -> Claims:
        """Ask the store about one file; a store that does not answer claims nothing."""
        session = self._sessions.get(_server(pair.url))
        if session is None:
            return Claims()
        try:
            with session.get(
                pair.url, headers={"Range": "bytes=0-0"}, stream=True, timeout=TIMEOUTS_S, allow_redirects=False
            ) as answer:
                if answer.status_code == 206:
                    answer.raw.read(_READ_BYTES)  # the connection can serve again
                return claims_of(answer.status_code, answer.headers) if answer.status_code in (200, 206) else Claims()
        except (requests.RequestException, OSError):
            return Claims()


def _server(url: str) -> tuple[str, str]:
    """Scheme and host of a URL; empty for what is not one."""
    try:
        return urlsplit(url)[:2]
    except ValueError:
        return "", ""


def _signed(client: LakeClient, pair: Pair) -> Pair:
    if not pair.url:
        with contextlib.suppress(LakeRefused, LakeAnswerInvalid):  # gone meanwhile: nothing can be proven
            return replace(pair, url=client.download_url(pair.unique_name))
    return pair


def _holds(claims: Claims, pair: Pair) -> bool | None:
    """Whether the local file keeps to one of the claims; None where they prove nothing, or it can't be read."""
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
    # Where several parts begin is a guess, so another MD5 of theirs proves nothing.
    return False if claims.md5s or count == 1 else None


def _sent_as(etags: Sequence[str]) -> tuple[str, int] | None:
    """What a store claims of an object that was made of parts with these ETags; None where they are no MD5s."""
    if not all(map(_MD5.fullmatch, etags)):
        return None
    md5s = b"".join(map(bytes.fromhex, etags))
    return hashlib.md5(md5s, usedforsecurity=False).hexdigest(), len(etags)


def _part_sizes(size_bytes: int, count: int) -> list[int]:
    """The part sizes in use that cut a file into so many parts."""
    sizes = dict.fromkeys((choose_part_size(size_bytes), OFFICIAL_PART_BYTES))
    return [size for size in sizes if -(-size_bytes // size) == count][: 1 if count == 1 else None]


def _multipart_md5(descriptor: int, size_bytes: int, part_size: int) -> tuple[str, int]:
    """What S3 makes the ETag of: the MD5 of the parts' MD5s, and how many parts there are."""
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
    """An MD5 in base64 as hex; '' where it is none."""
    with contextlib.suppress(binascii.Error, ValueError):
        raw = base64.b64decode(encoded, validate=True)
        return raw.hex() if len(raw) == 16 else ""
    return ""
