"""Raw HTTP to a lake, with literal paths and no code of the client."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from metalake_sync.embedded_lake import EmbeddedLake, LakeSettings
from metalake_sync.protocol.routes import BASE_PATHS, Generation

API_KEY, SECRET = "key_of_tests", "secret_of_tests"
IMAGE, VIDEO, OTHER = 5, 4, 7


def png(width: int = 40, height: int = 20, salt: bytes = b"") -> bytes:
    """Return a valid, small PNG of this size. `salt`: makes the bytes differ."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\x7f" * width for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    text = chunk(b"tEXt", b"salt\0" + salt.hex().encode())
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + text + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def settings(folder: Path, **changes: Any) -> LakeSettings:
    return LakeSettings(folder, **{"api_key": API_KEY, "secret": SECRET, **changes})


@dataclass
class Session:
    """An open upload session."""

    upload_id: str
    collection_id: str
    job_id: str
    collection: str


class Talk:
    """A connection to a lake in one generation of the protocol."""

    def __init__(self, url: str, generation: Generation = Generation.TWO) -> None:
        self.url = url
        self.generation = generation
        self.http = requests.Session()
        self.http.trust_env = False
        token = base64.b64encode(f"{API_KEY}:{SECRET}".encode()).decode()
        self.http.headers["Authorization"] = f"Basic {token}"

    def close(self) -> None:
        self.http.close()

    # Calls.

    def post(self, path: str, body: Any, **query: str) -> requests.Response:
        return self.http.post(f"{self.url}{BASE_PATHS[self.generation]}{path}", json=body, params=query, timeout=30)

    def get(self, path: str, **query: str) -> requests.Response:
        return self.http.get(f"{self.url}{BASE_PATHS[self.generation]}{path}", params=query, timeout=30)

    def asked(self, path: str, body: Any, **query: str) -> Any:
        return _good(self.post(path, body, **query))

    def got(self, path: str, **query: str) -> Any:
        return _good(self.get(path, **query))

    # Uploads.

    def open(
        self,
        collection: str = "birds",
        names: Sequence[str] = ("a.png",),
        *,
        kind: int = IMAGE,
        metadata: Any = "",
        override: bool = False,
        prefix: str | None = None,
    ) -> Session:
        answer = self.asked(
            "/api/client/uploadMetadataInCollection",
            {
                "collectionType": kind,
                "collectionName": collection,
                "metaDataObject": metadata,
                "isOverrideMetaData": override,
                "storagePrefixPath": prefix,
                "objectKeyList": list(names),
            },
        )
        assert answer["storageType"] == ("AWS_S3" if self.generation is Generation.TWO else "aws_s3")
        return Session(answer["uploadId"], answer["collectionId"], answer["jobId"], collection)

    def begin(self, session: Session, name: str) -> Any:
        return self.asked(
            "/api/client/fileUpload/initializeMultipartUpload",
            {"fileName": name, "collectionName": session.collection, "uploadId": session.upload_id},
        )

    def sign(self, begun: Mapping[str, Any], parts: int = 1) -> list[str]:
        answer = self.asked(
            "/api/client/fileUpload/getMultipartPreSignedUrls",
            {
                "fileId": begun["fileId"],
                "fileKey": begun["fileKey"],
                "parts": parts,
                "contentType": "image/jpeg",
            },
        )
        assert [int(part["PartNumber"]) for part in answer["parts"]] == list(range(1, parts + 1))
        return [part["signedUrl"] for part in answer["parts"]]

    def put(self, url: str, body: bytes) -> requests.Response:
        return requests.put(url, data=body, headers={"Content-Type": "image/jpeg"}, timeout=30)

    def finalize(self, session: Session, begun: Mapping[str, Any], etags: Sequence[str]) -> requests.Response:
        return self.post(
            "/api/client/fileUpload/finalizeMultipartUpload",
            {
                "fileId": begun["fileId"],
                "fileKey": begun["fileKey"],
                "uploadId": session.upload_id,
                "parts": [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, start=1)],
                "finalizeUrl": "",
            },
        )

    def send(self, session: Session, name: str, *parts: bytes) -> Any:
        """Send one file in the given parts."""
        begun = self.begin(session, name)
        assert not begun["isExisting"]
        for url, part in zip(self.sign(begun, len(parts)), parts, strict=True):
            answer = self.put(url, part)
            assert (answer.status_code, answer.headers["ETag"]) == (200, f'"{md5(part)}"')
        assert self.finalize(session, begun, [md5(part) for part in parts]).status_code in (200, 204)
        return begun

    def complete(self, session: Session) -> list[str]:
        answer = self.got(
            f"/api/client/collectionUploadingStatus/{session.upload_id}/complete", isReturnedUniqueName="True"
        )
        names: list[str] = answer["uploadedFileList"]
        return names

    def upload(self, files: Mapping[str, bytes], collection: str = "birds", **options: Any) -> Session:
        """Upload files in one session. They are in the collection afterwards if the job has no delay."""
        session = self.open(collection, list(files), **options)
        for name, content in files.items():
            self.send(session, name, content)
        self.complete(session)
        return session

    def job(self, session: Session) -> Any:
        return self.got(f"/api/client/jobs/{session.job_id}/getStatus")

    # Reading.

    def items(self, collection: str | None = None, **request: Any) -> Any:
        """Return items as the lake lists them, or an empty list for 204."""
        place = f"/{collection}" if collection else ""
        answer = self.post(f"/api/client/explorer{place}/objects/list", _listing(request))
        return [] if answer.status_code == 204 else _good(answer)

    def names(self, collection: str | None = None, **request: Any) -> list[str]:
        return [item["name"] for item in self.items(collection, **request)]

    def count(self, collection: str | None = None, **request: Any) -> int:
        place = f"/{collection}" if collection else ""
        count: int = self.asked(f"/api/client/explorer{place}/objects/count", _listing(request))["count"]
        return count

    def details(self, unique_name: str, *fields: str) -> Any:
        body = {"uniqueFileName": unique_name, "requiredMetaObj": dict.fromkeys(fields, True)}
        return self.asked("/api/client/metadata/getItemDetails", body)["itemDetails"]

    def head(self, collection_id: str, *fields: str) -> Any:
        body = {"collectionId": collection_id, "requiredMetaObj": dict.fromkeys(fields, True)}
        return self.asked("/api/client/metadata/getCollectionDetails", body)["itemDetails"]

    def read(self, unique_name: str) -> bytes:
        url = self.got("/api/client/downloadUrl", file_key=unique_name)["url"]
        return requests.get(url, timeout=30).content

    # Annotations.

    def label(self, name: str, **attributes: list[str]) -> Any:
        body = {"userName": "tests", "labels": {name: attributes}}
        return self.asked("/api/client/system/label/references", body)[name]

    def annotate(
        self,
        operation: str,
        images: Sequence[Mapping[str, Any]],
        *,
        mode: int = 1,
        normalized: str = "False",
    ) -> requests.Response:
        body = {
            "metaUpdatesArray": json.dumps(images),
            "sessionId": "1",
            "totalImageCount": len(images),
            "uploadedImageCount": len(images),
            "operationMode": mode,
            "operationType": 1,
        }
        return self.post(f"/api/metadata/operationdata/{operation}/update", body, isNormalized=normalized)

    def annotations(self, collection: str, **query: str) -> dict[str, Any]:
        """Return file name → annotations, of the first page."""
        data = self.got(f"/api/client/getAnnotations/{collection}/collection", **query)["data"]
        raw = [resource["rawAnnotations"] for resource in data["resourceArray"]]
        return {image["image"]: image["annotations"] for image in raw if image}

    def trash(self, **selection: Any) -> str:
        tag = self.asked("/api/client/query/getSelectionId", {"isAllSelected": False, **selection})["selectionTag"]
        message: str = self.asked("/api/client/file/trash", {"selectionId": tag, "userId": "tests"})["message"]
        return message


@contextmanager
def talk_to(url: str, generation: Generation = Generation.TWO) -> Iterator[Talk]:
    talk = Talk(url, generation)
    try:
        yield talk
    finally:
        talk.close()


@contextmanager
def lake_at(folder: Path, *, generation: Generation = Generation.TWO, **changes: Any) -> Iterator[Talk]:
    """Run a lake, and yield a connection to it in one generation."""
    with EmbeddedLake(settings(folder, **changes)) as lake, talk_to(lake.url, generation) as talk:
        yield talk


def image_set(unique_name: str, *shapes: Mapping[str, Any], **address: str) -> dict[str, Any]:
    """Return one entry of an annotation page."""
    empty = dict.fromkeys(("storagePath", "bucketName", "jobId", "fileName"))
    where = {"objectKey": None, **address} if address else {"objectKey": unique_name}
    return {**empty, **where, "data": {"annotationObjects": list(shapes), "isUserAnnotated": False}}


def box(label: str, x: float, y: float, w: float, h: float, **more: Any) -> dict[str, Any]:
    """Return a rectangle in the form of the protocol."""
    return {
        "id": "shape_1",
        "shapeId": 1,
        "type": "rectangle",
        "boxBoundariesAndDimensions": {"x": x, "y": y, "w": w, "h": h},
        "points": [[x, y], [x + w, y], [x + w, y + h], [x, y + h]],
        "createdAt": {"$date": "2026-01-31 12:00:00"},
        "metadata": {},
        "label": {"label": "r", "key": "r", "labelText": label, "color": "", "metadata": {}, "attributeValues": {}},
        **more,
    }


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def error_of(answer: requests.Response) -> tuple[int, str]:
    """Return status and message. The status in the body must be that of the answer."""
    error = answer.json()["error"]
    assert error["statusCode"] == answer.status_code
    assert error["name"]
    return answer.status_code, error["message"]


def _listing(request: Mapping[str, Any]) -> dict[str, Any]:
    return {"pageIndex": 0, "pageSize": 1000, "query": "", "filterData": {}, "contentType": 0, "sortBy": {}} | dict(
        request
    )


def _good(answer: requests.Response) -> Any:
    assert answer.status_code == 200, (answer.status_code, answer.text)
    return answer.json()
