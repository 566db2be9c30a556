"""Amazon S3 and compatible stores, with boto3. Credentials and region come from boto3's default sources.

Each object is a multipart upload with presigned URLs of its parts. The store checks ETags and the minimum part size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from botocore.exceptions import ClientError

from metalake_sync.embedded_lake.storage.bucket import PartsMissing, Place
from metalake_sync.key_stores.addresses import BucketAddress
from metalake_sync.key_stores.s3 import ABSENT, S3_ERRORS, code_of, connect_s3
from metalake_sync.protocol.uploads import FinishedPart

_WRONG_PARTS = ("InvalidPart", "InvalidPartOrder", "EntityTooSmall", "MalformedXML")


class S3Library:
    errors = S3_ERRORS

    def __init__(self, address: BucketAddress, url_lifetime_s: float) -> None:
        self._bucket = address.bucket
        self._lifetime_s = max(1, int(url_lifetime_s))
        self._client: Any = connect_s3(address.endpoint)

    def check(self) -> None:
        self._client.head_bucket(Bucket=self._bucket)
        # Signing fails without credentials, which a public bucket does not reveal.
        self.read_url(Place(self._bucket, "x"))

    def exists(self, place: Place) -> bool:
        return self._size(place) is not None

    def start(self, place: Place, content_type: str, ticket: str) -> str:
        if ticket:
            return ticket
        answer = self._client.create_multipart_upload(Bucket=place.bucket, Key=place.key, ContentType=content_type)
        return str(answer["UploadId"])

    def part_urls(self, place: Place, ticket: str, count: int) -> list[str]:
        target = {"Bucket": place.bucket, "Key": place.key, "UploadId": ticket}
        return [self._sign("upload_part", {**target, "PartNumber": number}) for number in range(1, count + 1)]

    def finish(self, place: Place, ticket: str, parts: Sequence[FinishedPart]) -> int:
        named = [{"PartNumber": part.part_number, "ETag": f'"{part.etag.strip(chr(34))}"'} for part in parts]
        if not named:
            raise PartsMissing("The list of parts is empty")
        try:
            self._client.complete_multipart_upload(
                Bucket=place.bucket, Key=place.key, UploadId=ticket, MultipartUpload={"Parts": named}
            )
        except ClientError as error:
            code = code_of(error)
            if code in _WRONG_PARTS:
                raise PartsMissing(f"A part was not received, or its ETag differs ({code})") from None
            if code != "NoSuchUpload":
                raise
            # A previous call completed the upload, and its answer was lost.
        size_bytes = self._size(place)
        if size_bytes is None:
            raise PartsMissing("The store no longer knows the upload")
        return size_bytes

    def remove(self, place: Place) -> None:
        self._client.delete_object(Bucket=place.bucket, Key=place.key)

    def read_url(self, place: Place) -> str:
        return self._sign("get_object", {"Bucket": place.bucket, "Key": place.key})

    def head(self, place: Place, length: int) -> bytes:
        try:
            answer = self._client.get_object(Bucket=place.bucket, Key=place.key, Range=f"bytes=0-{length - 1}")
        except ClientError as error:
            if code_of(error) in (*ABSENT, "InvalidRange"):
                return b""
            raise
        body: bytes = answer["Body"].read(length)
        return body

    def list(self, bucket: str, prefix: str) -> Iterator[tuple[str, int]]:
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for entry in page.get("Contents", ()):
                yield entry["Key"], entry["Size"]

    def _size(self, place: Place) -> int | None:
        try:
            return int(self._client.head_object(Bucket=place.bucket, Key=place.key)["ContentLength"])
        except ClientError as error:
            if code_of(error) in ABSENT:
                return None
            raise

    def _sign(self, operation: str, parameters: dict[str, object]) -> str:
        url: str = self._client.generate_presigned_url(operation, Params=parameters, ExpiresIn=self._lifetime_s)
        return url
