"""Azure Blob Storage, with azure-storage-blob.

The account comes from AZURE_STORAGE_CONNECTION_STRING, or from AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.storage.blob import BlobServiceClient, ExponentialRetry

from metalake_sync.errors import UsageError
from metalake_sync.key_stores import limits
from metalake_sync.key_stores.addresses import BucketAddress
from metalake_sync.key_stores.failures import Failure, answer, why_status
from metalake_sync.redaction import describe

AZURE_ERRORS: tuple[type[Exception], ...] = (AzureError,)

_EXISTS = ("BlobAlreadyExists", "ConditionNotMet", "TargetConditionNotMet")
_FOLDER = "hdi_isfolder"
"""The metadata of a folder. Accounts with a hierarchical namespace list folders among the blobs."""


def connect_azure(endpoint: str | None, environment: Mapping[str, str]) -> BlobServiceClient:
    """Return a client of an account. No call is made. Raises UsageError."""
    settings: dict[str, Any] = {
        "connection_timeout": limits.CONNECT_TIMEOUT_S,
        "read_timeout": limits.READ_TIMEOUT_S,
        "retry_policy": ExponentialRetry(
            initial_backoff=0,
            increment_base=limits.PAUSE_BASE_S,
            retry_total=limits.ATTEMPTS - 1,
            random_jitter_range=limits.PAUSE_BASE_S // 2,
        ),
        "max_single_put_size": limits.PART_BYTES,
        "max_block_size": limits.PART_BYTES,
        "max_single_get_size": limits.PART_BYTES,
        "max_chunk_get_size": limits.PART_BYTES,
    }
    connection = environment.get("AZURE_STORAGE_CONNECTION_STRING")
    if connection and not endpoint:
        try:
            return BlobServiceClient.from_connection_string(connection, **settings)
        except ValueError:
            raise UsageError("AZURE_STORAGE_CONNECTION_STRING is invalid") from None
    account, key = environment.get("AZURE_STORAGE_ACCOUNT"), environment.get("AZURE_STORAGE_KEY")
    if not account or not key:
        raise UsageError(
            "the Azure account is not set",
            remedy="Set AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY, or AZURE_STORAGE_CONNECTION_STRING.",
        )
    credential = {"account_name": account, "account_key": key}
    return BlobServiceClient(endpoint or f"https://{account}.blob.core.windows.net", credential=credential, **settings)


class AzureSdk:
    errors = AZURE_ERRORS
    credentials = "AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY"
    endpoint = "the account or the address in AZURE_STORAGE_CONNECTION_STRING"

    def __init__(self, address: BucketAddress, environment: Mapping[str, str]) -> None:
        self._service = connect_azure(address.endpoint, environment)
        self._container = self._service.get_container_client(address.bucket)

    def create(self, key: str, body: bytes) -> bool:
        try:
            self._container.upload_blob(key, body, overwrite=False)
        except (ResourceExistsError, ResourceModifiedError) as error:
            if _code(error) in _EXISTS:
                return False
            raise
        return True

    def put(self, key: str, body: bytes) -> None:
        self._container.upload_blob(key, body, overwrite=True)

    def read(self, key: str, file: BinaryIO) -> bool:
        try:
            # All parts are of the version of the first one, and the SDK compares their lengths with the headers.
            download = self._container.download_blob(key)
        except ResourceNotFoundError as error:
            if _code(error) == "BlobNotFound":
                return False
            raise
        if download.readinto(file) != download.size:
            raise AzureError("the body is incomplete")
        return True

    def list(self, prefix: str) -> Iterator[str]:
        blobs = self._container.list_blobs(
            name_starts_with=prefix or None, include=["metadata"], results_per_page=limits.KEYS_PER_PAGE
        )
        for blob in blobs:
            if (blob.metadata or {}).get(_FOLDER) != "true":
                yield blob.name

    def delete(self, key: str) -> None:
        try:
            self._container.delete_blob(key)
        except ResourceNotFoundError as error:
            if _code(error) != "BlobNotFound":
                raise

    def put_file(self, key: str, path: Path) -> None:
        with path.open("rb") as file:
            self._container.upload_blob(key, file, overwrite=True)

    def explain(self, error: Exception) -> tuple[Failure, str]:
        if not isinstance(error, HttpResponseError) or error.status_code is None:
            why = Failure.CREDENTIALS_REJECTED if isinstance(error, ClientAuthenticationError) else Failure.UNREACHABLE
            return why, describe(getattr(error, "inner_exception", None) or error)
        code = _code(error)
        detail = answer(error.status_code, code)
        if code == "ContainerNotFound":
            return Failure.MISSING, detail
        if isinstance(error, ClientAuthenticationError):
            return Failure.CREDENTIALS_REJECTED, detail
        return why_status(error.status_code), detail

    def close(self) -> None:
        self._service.close()


def _code(error: HttpResponseError) -> str | None:
    """Return the service's own code. The SDK adds it to its errors, as a string or as a member of an enumeration."""
    code = getattr(error, "error_code", None)
    return None if code is None else str(getattr(code, "value", code))
