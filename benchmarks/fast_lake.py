"""A lake that is never the bottleneck: the protocol in one asyncio process, file bodies counted and dropped.
To an S3 client it is a bucket that is empty and takes every object.

    python -m benchmarks.fast_lake [--latency-ms 20] [--connection-rate 100e6] [--tls CERT KEY] [--listed N]
                                   [--refuse 503:0.05] [--calls-per-second 50] [--retry-after 1]

First line on standard output: `listening on http://127.0.0.1:PORT`. It keeps names and ids, and nothing else; it checks
no credentials and no signatures. `GET /tally` answers what it was asked since the last time, as JSON.

Owns: HTTP/1.1 as clients of the protocol speak it (Content-Length or chunked, kept connections). Must not: import
anything of metalake_sync, so that it measures it from outside.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import ssl
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

ID = "{:024x}"
PAGE_LIMIT = 1000
EMPTY_BUCKET = (
    b'<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><KeyCount>0</KeyCount>'
    b"<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"
)


@dataclass
class Collection:
    """Items by name, oldest first. `listed`: how many synthetic ones stand before them, `f0000000.jpg` and on."""

    id: str
    name: str
    listed: int = 0
    names: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.listed + len(self.names)

    def page(self, index: int, size: int, *, newest_first: bool) -> list[dict[str, str]]:
        total = len(self)
        numbers = range(index * size, min(total, (index + 1) * size))
        uploaded = list(self.names.items()) if numbers and (newest_first or numbers.stop > self.listed) else []
        page = []
        for number in numbers:
            at = total - 1 - number if newest_first else number
            if at < self.listed:
                name, item = f"f{at:07d}.jpg", ID.format(at)
            else:
                name, item = uploaded[at - self.listed]
            page.append(
                {
                    "id": item,
                    "name": name,
                    "uniqueName": f"{self.name}_{name}",
                    "url": f"http://store/{item}?signature=x",
                }
            )
        return page


@dataclass
class Refusals:
    """Which calls the server refuses. `share`: of all calls, files' bodies included, decided by one seed. `per_second`:
    the lake's calls beyond this rate get 429 (a token bucket that holds one second's worth); 0 is no limit.
    `retry_after`: the header's value in seconds, None for no header."""

    status: int = 503
    share: float = 0.0
    per_second: float = 0.0
    retry_after: str | None = None

    def __post_init__(self) -> None:
        self._random = random.Random(7)
        self._tokens = self.per_second
        self._at = time.monotonic()

    def status_of(self, *, of_lake: bool) -> int | None:
        """The status to refuse the next call with; None to let it pass."""
        if self.share and self._random.random() < self.share:
            return self.status
        if not (self.per_second and of_lake):
            return None
        now = time.monotonic()
        self._tokens = min(self.per_second, self._tokens + (now - self._at) * self.per_second)
        self._at = now
        if self._tokens < 1:
            return 429
        self._tokens -= 1
        return None


class Lake:
    """What the server remembers. Answers are JSON documents, or None for 204."""

    def __init__(self, listed: int) -> None:
        self.base = ""
        self.collections: dict[str, Collection] = {}
        self.sessions: dict[str, Collection] = {}
        self.tally: Counter[str] = Counter()
        self._next = 1 << 40
        if listed:
            self.collections["many"] = Collection(ID.format(1), "many", listed)

    def fresh(self) -> str:
        self._next += 1
        return ID.format(self._next)

    def answer(self, path: str, body: bytes) -> Any:
        path = path.partition("?")[0]
        call = path.removeprefix("/datalake/api/client/")
        parts = call.split("/")
        self.tally[parts[-1]] += 1
        self.tally["requests"] += 1
        self.tally["bytes_in"] += len(body)
        match parts:
            case ["fileUpload", "initializeMultipartUpload"]:
                wanted = json.loads(body)
                name = wanted["fileName"]
                collection = self.collections[wanted["collectionName"]]
                if name in collection.names:
                    return {"fileId": "", "fileKey": "", "isExisting": True}
                return {"fileId": wanted["uploadId"] + "/" + name, "fileKey": name, "isExisting": False}
            case ["fileUpload", "getMultipartPreSignedUrls"]:
                wanted = json.loads(body)
                url = f"{self.base}/put?signature=x&part="
                count = range(1, int(wanted["parts"]) + 1)
                return {"isSuccess": True, "parts": [{"PartNumber": n, "signedUrl": f"{url}{n}"} for n in count]}
            case ["fileUpload", "finalizeMultipartUpload"]:
                session, _, name = json.loads(body)["fileId"].partition("/")
                self.sessions[session].names[name] = self.fresh()
                return {"isSuccess": True}
            case ["uploadMetadataInCollection"]:
                name = json.loads(body)["collectionName"]
                collection = self.collections.setdefault(name, Collection(self.fresh(), name))
                session = self.fresh()
                self.sessions[session] = collection
                return {
                    "isSuccess": True,
                    "storageType": "AWS_S3",
                    "uploadId": session,
                    "collectionId": collection.id,
                    "jobId": session,
                }
            case ["collectionUploadingStatus", _, "complete"]:
                return {"isSuccess": True, "uploadedFileList": []}
            case ["jobs", job, "getStatus"]:
                return {"isSuccess": True, "jobId": job, "status": 2, "progress": 100.0}
            case ["explorer", collection_id, "objects", "list"]:
                wanted = json.loads(body)
                found = next(c for c in self.collections.values() if c.id == collection_id)
                newest_first = (wanted.get("sortBy") or {}).get("sortOrder", "DESC") == "DESC"
                size = min(int(wanted["pageSize"]), PAGE_LIMIT)
                return found.page(int(wanted["pageIndex"]), size, newest_first=newest_first) or None
            case ["explorer", collection_id, "objects", "count"]:
                return {"count": len(next(c for c in self.collections.values() if c.id == collection_id))}
            case ["metadata", "getCollectionIdByName"]:
                known = self.collections.get(json.loads(body)["collectionName"])
                return {"collectionId": known.id} if known else None
            case ["metadata", "getCollectionDetails"]:
                return {"isSuccess": True, "itemDetails": {"storagePath": "bench", "name": "bench"}}
            case ["metadata", "getItemDetails"]:
                return {"isSuccess": True, "itemDetails": {}}
            case ["sdk", "compatibility", _]:
                return {"isCompatible": True}
            case ["labels", "list"]:
                return []
            case ["system", "label", "references"]:
                labels = json.loads(body)["labels"]
                return {label: {"ref": label, "color": "#fff", "texts": {}} for label in labels} or None
            case _:
                return {"isSuccess": True}


class Connection(asyncio.Protocol):
    """One kept connection. `latency_s`: before each answer. `rate`: bytes per second of a body, 0 for no limit."""

    def __init__(self, lake: Lake, latency_s: float, rate: float, refusals: Refusals) -> None:
        self._lake = lake
        self._refusals = refusals
        self._latency_s = latency_s
        self._rate = rate
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._dropping = 0
        self._dropped = 0
        self._free_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._lake.tally["connections"] += 1

    def data_received(self, data: bytes) -> None:
        if self._rate and self._dropping:
            self._slow_down(len(data))
        if self._dropping:
            taken = min(self._dropping, len(data))
            self._dropping -= taken
            self._dropped += taken
            if self._dropping:
                return
            self._put_done()
            data = data[taken:]
        self._buffer += data
        while self._buffer and self._take_request():
            pass

    def _slow_down(self, count: int) -> None:
        now = self._loop.time()
        self._free_at = max(self._free_at, now - 0.01) + count / self._rate
        if self._free_at > now + 0.002 and self._transport is not None:
            self._transport.pause_reading()
            self._loop.call_later(self._free_at - now, self._transport.resume_reading)

    def _take_request(self) -> bool:
        """Answer one whole request of the buffer; False where more of it is to come."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._buffer[:end])
        lines = head.split(b"\r\n")
        method, path, _ = lines[0].decode().split(" ", 2)
        length = 0
        chunked = False
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            match name.lower():
                case b"content-length":
                    length = int(value)
                case b"transfer-encoding":
                    chunked = b"chunked" in value
                case b"expect":
                    self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
        start = end + 4
        if method == "PUT" and not chunked:
            here = min(length, len(self._buffer) - start)
            del self._buffer[: start + here]
            self._dropped += here
            self._dropping = length - here
            if not self._dropping:
                self._put_done()
            return not self._dropping
        if chunked:
            last = self._buffer.find(b"0\r\n\r\n", start)
            if last < 0:
                return False
            body, stop = b"", last + 5
        else:
            stop = start + length
            if len(self._buffer) < stop:
                return False
            body = bytes(self._buffer[start:stop])
        del self._buffer[:stop]
        self._answer(path, body)
        return True

    def _answer(self, path: str, body: bytes) -> None:
        if path == "/tally":
            document: Any = dict(self._lake.tally)
            self._lake.tally.clear()
        elif "list-type=2" in path:
            self._content(b"application/xml", EMPTY_BUCKET)
            return
        elif self._refused(of_lake=True):
            return
        else:
            document = self._lake.answer(path, body)
        if document is None:
            self._later(b"HTTP/1.1 204 No Content\r\n\r\n")
            return
        self._content(b"application/json", json.dumps(document).encode())

    def _content(self, kind: bytes, content: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
        self._later(head % (kind, len(content)) + content)

    def _refused(self, *, of_lake: bool) -> bool:
        status = self._refusals.status_of(of_lake=of_lake)
        if status is None:
            return False
        self._lake.tally["refused"] += 1
        wait = self._refusals.retry_after
        header = f"Retry-After: {wait}\r\n" if wait else ""
        self._later(f"HTTP/1.1 {status} Refused\r\n{header}Content-Length: 0\r\n\r\n".encode())
        return True

    def _put_done(self) -> None:
        if self._refused(of_lake=False):
            self._dropped = 0
            return
        self._lake.tally["put"] += 1
        self._lake.tally["requests"] += 1
        self._lake.tally["bytes_in"] += self._dropped
        self._lake.tally["put_bytes"] += self._dropped
        self._dropped = 0
        self._later(b'HTTP/1.1 200 OK\r\nETag: "dropped"\r\nContent-Length: 0\r\n\r\n')

    def _later(self, answer: bytes) -> None:
        if self._latency_s:
            self._loop.call_later(self._latency_s, self._write, answer)
        else:
            self._write(answer)

    def _write(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)


async def serve(latency_s: float, rate: float, tls: tuple[str, str] | None, listed: int, refusals: Refusals) -> None:
    lake = Lake(listed)
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(lake, latency_s, rate, refusals), "127.0.0.1", 0, ssl=context, backlog=2048
    )
    host = "localhost" if tls else "127.0.0.1"
    lake.base = f"{'https' if tls else 'http'}://{host}:{server.sockets[0].getsockname()[1]}"
    print(f"listening on {lake.base}", flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description="A fast lake to measure clients against.")
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--connection-rate", type=float, default=0.0, help="bytes per second of each connection")
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
    parser.add_argument("--listed", type=int, default=0, help="synthetic items in the collection 'many'")
    parser.add_argument("--refuse", metavar="STATUS:SHARE", help="refuse this share of all calls: 503:0.05")
    parser.add_argument("--calls-per-second", type=float, default=0.0, help="the lake's limit; refuses with 429")
    parser.add_argument("--retry-after", metavar="SECONDS", help="send this Retry-After with each refusal")
    given = parser.parse_args()
    status, _, share = (given.refuse or "503:0").partition(":")
    refusals = Refusals(int(status), float(share), given.calls_per_second, given.retry_after)
    tls = tuple(given.tls) if given.tls else None
    asyncio.run(serve(given.latency_ms / 1000, given.connection_rate, tls, given.listed, refusals))


if __name__ == "__main__":
    main()
