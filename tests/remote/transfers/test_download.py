"""Downloads over real HTTP from a store that breaks connections, lets its URLs expire, and sends wrong ranges."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from metalake_sync.errors import LakeUnreachable, StateLocked, SyncError
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.retry import RetryPolicy
from metalake_sync.remote.transfers.download import Downloads, FetchFailed, FetchOutcome
from metalake_sync.remote.transfers.file_download import FileFetched, FileToFetch
from metalake_sync.remote.transfers.partial import FOLDER, partial_files

CONTENT = os.urandom(3 << 20)


@dataclass
class Store:
    """A lake that signs URLs and a store that serves them, in a thread.

    `break_after`: for each of the first GETs, the bytes of its body until the connection breaks. `expire`: how many
    GETs are rejected with `expired_status`.
    """

    content: bytes = CONTENT
    etag: str | None = '"v1"'
    break_after: list[int] = field(default_factory=list)
    expire: int = 0
    expired_status: int = 403
    ranges: bool = True
    failing: int = 0
    asked: list[str] = field(default_factory=list)
    signed: int = 0
    url: str = ""

    async def sign(self, request: web.Request) -> web.Response:
        if request.query["file_key"] == "gone":
            return web.json_response({"error": {"message": "No such file"}}, status=404)
        self.signed += 1
        return web.json_response({"url": f"{self.url}/o?signature={self.signed}"})

    async def give(self, request: web.Request) -> web.StreamResponse:
        wanted = request.headers.get("Range", "")
        self.asked.append(wanted)
        assert "Authorization" not in request.headers, "credentials are not sent to a signed URL"
        if self.failing:
            self.failing -= 1
            return web.Response(status=503)
        if self.expire:
            self.expire -= 1
            return web.Response(status=self.expired_status)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        if request.headers.get("If-Range") != self.etag:
            start = 0
        total = len(self.content)
        headers = {"ETag": self.etag} if self.etag else {}
        if start and start >= total:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{total}"})
        if start:
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        response.content_length = total - start
        await response.prepare(request)
        end = start + self.break_after.pop(0) if self.break_after else total
        await response.write(self.content[start:end])
        if end < total:
            assert request.transport is not None
            await asyncio.sleep(0.05)
            request.transport.abort()
        return response


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        app = web.Application()
        app.router.add_get("/datalake/api/client/downloadUrl", store.sign)
        app.router.add_get("/o", store.give)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        store.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    ready.wait()
    yield store
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


def fetch(store: Store, folder: Path, *names: str, url: str = "", retry_timeout_s: float = 5) -> list[FetchOutcome]:
    """Download files with these unique names into the folder, under the same names."""

    async def run() -> list[FetchOutcome]:
        retry = RetryPolicy(give_up_after_s=retry_timeout_s, base_s=0.01)
        address = LakeAddress(store.url, "key", "secret")
        with partial_files(folder) as partials:
            async with Downloads(address, retry=retry, parallelism=4) as downloads:
                files = [FileToFetch(name, folder / name, f"id of {name}", url) for name in names]
                return [outcome async for outcome in downloads.fetch(files, partials)]

    return asyncio.run(run())


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_complete_and_leaves_no_temporary_files(store: Store, tmp_path: Path) -> None:
    (outcome,) = fetch(store, tmp_path, "a.jpg")
    assert isinstance(outcome, FileFetched)
    assert (tmp_path / "a.jpg").read_bytes() == CONTENT
    assert outcome.fingerprint.size_bytes == len(CONTENT)
    assert left_in(tmp_path) == ["a.jpg"]


@pytest.mark.parametrize("content", [b"", b"x", b"x" * (1 << 20)])
def test_empty_and_small_files_arrive(store: Store, tmp_path: Path, content: bytes) -> None:
    store.content = content
    fetch(store, tmp_path, "a.jpg")
    assert (tmp_path / "a.jpg").read_bytes() == content


def test_a_broken_download_continues_where_it_stopped(store: Store, tmp_path: Path) -> None:
    store.break_after = [1 << 20, 1 << 20]
    fetch(store, tmp_path, "a.jpg")
    assert (tmp_path / "a.jpg").read_bytes() == CONTENT
    starts = [int(asked.removeprefix("bytes=").rstrip("-") or 0) for asked in store.asked]
    assert len(starts) == 3
    assert 0 < starts[1] < starts[2]


def test_the_next_run_continues_the_downloads_of_an_aborted_run(store: Store, tmp_path: Path) -> None:
    store.break_after = [1 << 20, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    with pytest.raises(LakeUnreachable):
        fetch(store, tmp_path, "a.jpg", retry_timeout_s=0)
    assert left_in(tmp_path) == [FOLDER]
    store.break_after = []
    store.asked.clear()
    fetch(store, tmp_path, "a.jpg")
    assert store.asked[0].startswith("bytes=")
    assert (tmp_path / "a.jpg").read_bytes() == CONTENT
    assert left_in(tmp_path) == ["a.jpg"]


def test_bytes_of_two_versions_of_an_object_are_never_mixed(store: Store, tmp_path: Path) -> None:
    store.break_after = [1 << 20]
    with pytest.raises(LakeUnreachable):
        fetch(store, tmp_path, "a.jpg", retry_timeout_s=0)
    store.content, store.etag = os.urandom(2 << 20), '"v2"'
    fetch(store, tmp_path, "a.jpg")
    assert (tmp_path / "a.jpg").read_bytes() == store.content


@pytest.mark.parametrize("etag", [None, 'W/"weak"', '"../../x"'])
def test_a_broken_download_without_a_strong_etag_starts_again(store: Store, tmp_path: Path, etag: str | None) -> None:
    store.etag, store.break_after = etag, [1 << 20]
    fetch(store, tmp_path, "a.jpg")
    assert store.asked == ["", ""]
    assert (tmp_path / "a.jpg").read_bytes() == CONTENT


def test_a_store_without_ranges_sends_the_whole_file_again(store: Store, tmp_path: Path) -> None:
    store.ranges, store.break_after = False, [1 << 20]
    fetch(store, tmp_path, "a.jpg")
    assert (tmp_path / "a.jpg").read_bytes() == CONTENT


def test_a_complete_partial_file_is_used_without_receiving_bytes(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").mkdir()
    (failed,) = fetch(store, tmp_path, "a.jpg")
    assert isinstance(failed, FetchFailed)
    (tmp_path / "a.jpg").rmdir()
    store.asked.clear()
    fetch(store, tmp_path, "a.jpg")
    assert store.asked == [f"bytes={len(CONTENT)}-"]
    assert (tmp_path / "a.jpg").read_bytes() == CONTENT


@pytest.mark.parametrize("status", [400, 401, 403])
def test_an_expired_url_is_signed_again(store: Store, tmp_path: Path, status: int) -> None:
    store.expire, store.expired_status = 2, status
    (outcome,) = fetch(store, tmp_path, "a.jpg", url=f"{store.url}/o?signature=old")
    assert isinstance(outcome, FileFetched)
    assert store.signed == 2


def test_a_file_whose_urls_are_all_rejected_fails_without_showing_a_signature(store: Store, tmp_path: Path) -> None:
    store.expire = 1000
    (failed,) = fetch(store, tmp_path, "a.jpg", url=f"{store.url}/o?signature=old")
    assert isinstance(failed, FetchFailed)
    assert failed.retryable
    assert "signature=" not in str(failed.error) + repr(failed)
    assert store.signed == 5


def test_temporary_failures_of_a_store_are_retried(store: Store, tmp_path: Path) -> None:
    store.failing = 2
    (outcome,) = fetch(store, tmp_path, "a.jpg")
    assert isinstance(outcome, FileFetched)


def test_a_failed_file_does_not_affect_the_others(store: Store, tmp_path: Path) -> None:
    outcomes = {outcome.file.unique_name: outcome for outcome in fetch(store, tmp_path, "a.jpg", "gone", "b.jpg")}
    assert isinstance(outcomes["gone"], FetchFailed)
    assert left_in(tmp_path) == ["a.jpg", "b.jpg"]


def test_a_link_at_the_target_path_is_replaced_and_not_followed(store: Store, tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.jpg").symlink_to(tmp_path / "precious")
    fetch(store, tmp_path / "out", "a.jpg")
    assert (tmp_path / "precious").read_bytes() == b"mine"
    assert (tmp_path / "out" / "a.jpg").read_bytes() == CONTENT


def test_two_runs_cannot_download_into_one_folder(store: Store, tmp_path: Path) -> None:
    with partial_files(tmp_path), pytest.raises(StateLocked, match="another run"), partial_files(tmp_path):
        pass
    fetch(store, tmp_path, "a.jpg")


def test_a_partial_folder_that_is_a_link_is_rejected_and_its_target_does_not_change(
    store: Store, tmp_path: Path
) -> None:
    precious, out = tmp_path / "precious", tmp_path / "out"
    precious.mkdir()
    out.mkdir()
    (precious / "key").write_text("mine")
    (precious / ("0" * 32)).write_text("named as a partial file is")
    (out / FOLDER).symlink_to(precious)
    for _ in range(2):
        with pytest.raises(SyncError, match=f"{FOLDER}' is a link or a file"):
            fetch(store, out, "a.jpg")
    assert left_in(precious) == ["0" * 32, "key"]
    assert left_in(out) == [FOLDER]


def test_a_partial_folder_replaced_by_a_link_during_downloads_is_not_followed(store: Store, tmp_path: Path) -> None:
    precious, out = tmp_path / "precious", tmp_path / "out"
    precious.mkdir()
    with partial_files(out) as partials:
        partial = partials.new("id", '"v1"')
        (out / FOLDER).rename(out / "moved")
        (out / FOLDER).symlink_to(precious)
        os.close(partials.open(partial))
        with partials.scratch() as scratch:
            (scratch / "a.txt").write_text("0 1 1 1 1")
            partials.move_in(scratch, "a.txt")
        partials.put_in_place(partial, "a.jpg")
    assert left_in(precious) == []
    assert {"a.jpg", "a.txt"} <= set(left_in(out))


def test_only_files_of_downloads_are_removed_from_the_partial_folder(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    for name in ("notes.txt", "f" * 32, "backup.part", f"{'e' * 32}.v1.bak"):
        (folder / name).write_text("x")
    (folder / "annotations-abcd_123").mkdir()
    (folder / ("d" * 32)).symlink_to(tmp_path / "precious")
    (tmp_path / "precious").write_text("mine")
    fetch(store, tmp_path, "a.jpg")
    assert sorted(set(left_in(folder)) - {"lock"}) == ["backup.part", f"{'e' * 32}.v1.bak", "notes.txt"]
    assert (tmp_path / "precious").read_text() == "mine"


def test_annotations_are_not_written_through_a_link_inside_the_target(tmp_path: Path) -> None:
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
    elsewhere.mkdir()
    out.mkdir()
    (out / "labels").symlink_to(elsewhere)
    with partial_files(out) as partials, partials.scratch() as scratch:
        (scratch / "labels").mkdir()
        (scratch / "labels" / "a.txt").write_text("0 1 1 1 1")
        with pytest.raises(NotADirectoryError):
            partials.move_in(scratch, "labels/a.txt")
    assert left_in(elsewhere) == []
