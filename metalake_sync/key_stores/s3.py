"""Amazon S3 and compatible stores, with boto3. Settings and credentials come from boto3's default sources."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import boto3
from boto3.exceptions import Boto3Error, S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)

from metalake_sync.errors import UsageError
from metalake_sync.key_stores import limits
from metalake_sync.key_stores.addresses import BucketAddress
from metalake_sync.key_stores.failures import Failure, answer, describe_sdk_error, why_status
from metalake_sync.redaction import describe

DEFAULT_REGION = "us-east-1"
S3_ERRORS: tuple[type[Exception], ...] = (ClientError, BotoCoreError, Boto3Error)

ABSENT = ("404", "NoSuchKey", "NotFound")
_CONFLICT_PAUSE_S = 0.2
_AWAY = ("RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded")
_REJECTED = ("AuthorizationHeaderMalformed", "ExpiredToken", "InvalidToken", "TokenRefreshRequired")


def endpoint_from(environment: Mapping[str, str]) -> str | None:
    """Return the endpoint that the environment sets. boto3 itself also reads its configuration file."""
    return environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL") or None


def connect_s3(endpoint: str | None) -> Any:
    """Return a client. No call is made. Raises UsageError."""
    config = Config(
        signature_version="s3v4",
        connect_timeout=limits.CONNECT_TIMEOUT_S,
        read_timeout=limits.READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": limits.ATTEMPTS},
        max_pool_connections=limits.CALLS_AT_ONCE,
        s3={"addressing_style": "path" if endpoint else "auto"},
        # Otherwise uploads require checksums, which the lake's clients do not send and some stores do not know.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        session = boto3.session.Session()
        region = session.region_name or DEFAULT_REGION
        return session.client("s3", endpoint_url=endpoint, region_name=region, config=config)
    except (BotoCoreError, ValueError) as error:
        raise UsageError(
            f"the settings for S3 are invalid ({describe_sdk_error(error)})",
            remedy="Check the variables AWS_* and the files that they name.",
        ) from None


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


class S3Sdk:
    errors = S3_ERRORS
    credentials = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the role of this machine"
    endpoint = "AWS_ENDPOINT_URL_S3 if it is set"

    def __init__(self, address: BucketAddress) -> None:
        self._bucket = address.bucket
        self._client = connect_s3(address.endpoint)
        self._parts = TransferConfig(
            multipart_threshold=limits.PART_BYTES, multipart_chunksize=limits.PART_BYTES, max_concurrency=2
        )

    def create(self, key: str, body: bytes) -> bool:
        """Create an object. S3 answers 409 while another call writes or deletes the same key."""
        for attempt in range(limits.ATTEMPTS):
            try:
                self._client.put_object(Bucket=self._bucket, Key=key, Body=body, IfNoneMatch="*")
            except ClientError as error:
                if code_of(error) == "PreconditionFailed":
                    return False
                if code_of(error) != "ConditionalRequestConflict" or attempt == limits.ATTEMPTS - 1:
                    raise
                time.sleep(_CONFLICT_PAUSE_S * 2**attempt)
            else:
                break
        return True

    def put(self, key: str, body: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=key, Body=body)

    def read(self, key: str, file: BinaryIO) -> bool:
        """Write an object to a file. boto3 does not repeat a call whose body broke off, so this does."""
        for attempt in range(limits.ATTEMPTS):
            try:
                stream = self._client.get_object(Bucket=self._bucket, Key=key)["Body"]
            except ClientError as error:
                if code_of(error) in ABSENT:
                    return False
                raise
            file.seek(0)
            file.truncate()
            try:
                # The stream compares its length with the header, and raises an error if it broke off.
                for chunk in stream.iter_chunks(limits.CHUNK_BYTES):
                    file.write(chunk)
            except BotoCoreError:
                if attempt == limits.ATTEMPTS - 1:
                    raise
            else:
                break
        return True

    def list(self, prefix: str) -> Iterator[str]:
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(
            Bucket=self._bucket, Prefix=prefix, PaginationConfig={"PageSize": limits.KEYS_PER_PAGE}
        ):
            for entry in page.get("Contents", ()):
                yield entry["Key"]

    def delete(self, key: str) -> None:
        self._client.delete_object(Bucket=self._bucket, Key=key)

    def put_file(self, key: str, path: Path) -> None:
        # Of an open file, boto3 would keep ten parts in memory.
        self._client.upload_file(str(path), self._bucket, key, Config=self._parts)

    def explain(self, error: Exception) -> tuple[Failure, str]:
        if isinstance(error, S3UploadFailedError) and isinstance(error.__context__, ClientError):
            return self.explain(error.__context__)
        if isinstance(error, NoCredentialsError | PartialCredentialsError):
            return Failure.NO_CREDENTIALS, "boto3 found none, or only a part"
        if isinstance(error, CredentialRetrievalError | TokenRetrievalError | SSOError):
            return Failure.CREDENTIALS_REJECTED, describe(error)
        if isinstance(error, ParamValidationError):
            return Failure.REJECTED, describe_sdk_error(error)
        if not isinstance(error, ClientError):
            return Failure.UNREACHABLE, describe(error)
        code = code_of(error)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if code == "NoSuchBucket":
            return Failure.MISSING, answer(status, code)
        if code in _REJECTED:
            return Failure.CREDENTIALS_REJECTED, answer(status, code)
        if code in _AWAY or code == "ConditionalRequestConflict":
            return Failure.UNREACHABLE, answer(status, code)
        return why_status(status), answer(status, code)

    def close(self) -> None:
        self._client.close()
