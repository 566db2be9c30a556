"""`metalake-sync ui` as a process: the address that it prints, its options, and how it ends."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import pytest

from metalake_sync.errors import ExitCode
from tests.end_to_end.world import PROGRAM, World

TIMEOUT_S = 60


@contextmanager
def started(world: World, *options: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [PROGRAM, "ui", "manifest.yaml", *options],
        cwd=world.folder,
        env=world.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ask(address: str, path: str = "", **headers: str) -> tuple[int, str, http.client.HTTPMessage]:
    found = urlsplit(address)
    with closing(http.client.HTTPConnection(found.netloc, timeout=TIMEOUT_S)) as connection:
        connection.request("GET", path or f"{found.path}?{found.query}", headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_its_address_serves_and_ends_cleanly(annotated: World, number: signal.Signals) -> None:
    with started(annotated) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith("Open http://127.0.0.1:")
        assert "Ctrl-C ends the server" in process.stdout.readline()
        address = first.removeprefix("Open ").strip()
        status, _, headers = ask(address)
        assert status == 200
        cookie = headers["Set-Cookie"].partition(";")[0]
        status, page, _ = ask(address, "/history", Cookie=cookie)
        assert (status, "apply manifest.yaml" in page) == (200, True)
        process.send_signal(number)
        _, err = process.communicate(timeout=TIMEOUT_S)
        assert (process.returncode, err) == (0, "")


def test_it_prints_json_and_keeps_a_port(annotated: World) -> None:
    with started(annotated, "--json", "--host", "localhost", "--read-only") as process:
        assert process.stdout is not None
        address = json.loads(process.stdout.readline())["address"]
        assert ask(address)[0] == 200
        taken = annotated.run("ui", "manifest.yaml", "--port", str(urlsplit(address).port))
        assert taken.code == ExitCode.USAGE
        assert "cannot listen on 127.0.0.1" in taken.err


def test_what_cannot_be_served_is_an_error_at_once(annotated: World) -> None:
    other = annotated.run("ui", "manifest.yaml", "--host", "0.0.0.0")
    assert other.code == ExitCode.USAGE
    assert "'--host 0.0.0.0' is not a loopback address" in other.err
    stream = annotated.run("ui", "-", stdin="version: 1\n")
    assert stream.code == ExitCode.USAGE
    assert "cannot be read again" in stream.err
    annotated.write("manifest.yaml", "version: 1\ncolections: []\n")
    assert "colections" in annotated.run("ui", "manifest.yaml").err
