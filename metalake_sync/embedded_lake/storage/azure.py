"""Azure Blob Storage, with azure-storage-blob.

The account comes from AZURE_STORAGE_CONNECTION_STRING, or from AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY; signing
requires its key. All blocks of a blob have the same SAS URL. A block may be missing without notice, so the blocks are
checked before their list is committed.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobBlock, BlobClient, BlobSasPermissions, ContentSettings, generate_blob_sas

from metalake_sync.embedded_lake.storage.bucket import PartsMissing, Place
from metalake_sync.errors import UsageError
from metalake_sync.key_stores.addresses import BucketAddress
from metalake_sync.key_stores.azure import AZURE_ERRORS, connect_azure
from metalake_sync.protocol.uploads import FinishedPart

CLOCK_SKEW = timedelta(minutes=5)


class AzureLibrary:
    errors = AZURE_ERRORS

    def __init__(self, address: BucketAddress, url_lifetime_s: float) -> None:
        self._bucket = address.bucket
        self._lifetime = timedelta(seconds=url_lifetime_s)
        self._service = connect_azure(address.endpoint, os.environ)
        key = getattr(self._service.credential, "account_key", None)
        if not key:
            raise UsageError(
                "signing URLs for Azure requires the account's key",
                remedy="Set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY.",
            )
        self._key: str = key
        self._account = str(self._service.account_name)

    def check(self) -> None:
        self._service.get_container_client(self._bucket).get_container_properties()

    def exists(self, place: Place) -> bool:
        return self._blob(place).exists()

    def start(self, place: Place, content_type: str, ticket: str) -> str:
        """Return the content type as ticket, because Azure needs it for the commit only."""
        return ticket or content_type

    def part_urls(self, place: Place, ticket: str, count: int) -> list[str]:
        return [self._sign(place, BlobSasPermissions(create=True, write=True))] * count

    def finish(self, place: Place, ticket: str, parts: Sequence[FinishedPart]) -> int:
        """Commit the blocks. An empty list is an empty blob, because Azure rejects empty blocks."""
        blob = self._blob(place)
        present = _blocks(blob)
        wanted = [_block_id(part.part_number) for part in parts]
        missing = [part.part_number for part, block in zip(parts, wanted, strict=True) if block not in present]
        if missing:
            raise PartsMissing(f"{len(missing)} of {len(parts)} blocks were not received, the first is {missing[0]}")
        blob.commit_block_list(
            [BlobBlock(block_id=block) for block in wanted], content_settings=ContentSettings(content_type=ticket)
        )
        return sum(present[block] for block in wanted)

    def remove(self, place: Place) -> None:
        try:
            self._blob(place).delete_blob()
        except ResourceNotFoundError:
            return

    def read_url(self, place: Place) -> str:
        return self._sign(place, BlobSasPermissions(read=True))

    def head(self, place: Place, length: int) -> bytes:
        try:
            return self._blob(place).download_blob(offset=0, length=length).readall()
        except ResourceNotFoundError:
            return b""

    def list(self, bucket: str, prefix: str) -> Iterator[tuple[str, int]]:
        for blob in self._service.get_container_client(bucket).list_blobs(name_starts_with=prefix or None):
            yield blob.name, blob.size

    def _blob(self, place: Place) -> BlobClient:
        return self._service.get_blob_client(place.bucket, place.key)

    def _sign(self, place: Place, permission: BlobSasPermissions) -> str:
        now = datetime.now(UTC)
        token = generate_blob_sas(
            account_name=self._account,
            container_name=place.bucket,
            blob_name=place.key,
            account_key=self._key,
            permission=permission,
            start=now - CLOCK_SKEW,
            expiry=now + self._lifetime,
        )
        return f"{self._blob(place).url}?{token}"


def _block_id(number: int) -> str:
    """Return the id of a part's block. On the wire, it is encoded once more."""
    return base64.b64encode(f"{number - 1:06d}".encode()).decode()


def _blocks(blob: BlobClient) -> dict[str, int]:
    """Return sizes in bytes of staged and committed blocks by id."""
    try:
        committed, uncommitted = blob.get_block_list("all")
    except ResourceNotFoundError:
        return {}
    return {block.id: block.size for block in [*committed, *uncommitted]}
