"""A lake with TLS: which certificates are trusted, and the errors for others."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from metalake_sync.embedded_lake import EmbeddedLake
from tests.embedded_lake.talk import settings, talk_to
from tests.end_to_end.world import BIRDS, World

CREDENTIALS = {"api_key": "${LAYERNEXT_API_KEY}", "secret": "${LAYERNEXT_SECRET}"}


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[World]:
    """A lake that speaks TLS, and its stores too; the CA that signed for it lies in ca.pem."""
    folder = tmp_path / "project"
    folder.mkdir()
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    with EmbeddedLake(settings(tmp_path / "lake", tls=context)) as lake, talk_to(lake.url) as talk:
        talk.http.verify = str(folder / "ca.pem")
        world = World(folder, lake, talk)
        world.images("crow.png", "jay.png")
        yield world


def test_every_call_of_an_apply_trusts_the_ca_of_the_manifest(secure: World) -> None:
    secure.manifest(BIRDS, remote={"url": secure.lake.url, "ca_file": "ca.pem", **CREDENTIALS})
    secure.good("apply", "manifest.yaml")
    assert secure.names() == ["crow.png", "jay.png"]
    secure.good("check", "manifest.yaml", "--download")
    assert "crow.png" in secure.good("item", "list", "--collection", "birds", "--manifest", "manifest.yaml").out


def test_a_ca_of_the_environment_is_trusted_too(secure: World) -> None:
    secure.manifest(BIRDS, remote={"url": secure.lake.url, **CREDENTIALS})
    secure.good("apply", "manifest.yaml", SSL_CERT_FILE=str(secure.folder / "ca.pem"))
    assert secure.names() == ["crow.png", "jay.png"]


def test_an_untrusted_certificate_ends_the_run_at_once_with_a_remedy(secure: World) -> None:
    secure.manifest(BIRDS, remote={"url": secure.lake.url, **CREDENTIALS})
    done = secure.run("apply", "manifest.yaml")
    assert done.code == 5
    assert "the certificate of the lake is not accepted" in done.err
    assert "'remote.ca_file'" in done.err
    assert secure.lake.requests.writes == 0


@pytest.mark.parametrize(
    ("remote", "words"),
    [
        ({"url": "https://lake.example", "ca_file": "gone.pem"}, "the CAs of 'remote.ca_file' cannot be used"),
        ({"url": "http://lake.example"}, "'url' is plain HTTP to another machine"),
    ],
)
def test_insecure_settings_of_the_manifest_are_reported_with_their_line(
    world: World, remote: dict[str, str], words: str, tmp_path: Path
) -> None:
    world.manifest(BIRDS, remote={**remote, **CREDENTIALS})
    done = world.run("plan", "manifest.yaml")
    assert done.code == 64
    line = 4 if "ca_file" in remote else 3
    assert f"manifest.yaml:{line}:" in done.err
    assert words in done.err
