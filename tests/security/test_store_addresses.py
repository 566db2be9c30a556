"""Which addresses of object stores a lake may give."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from metalake_sync.errors import LakeAnswerInvalid
from metalake_sync.remote.address import LakeAddress, Trust
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.content_proof import Pair, hash_of_object, same_bytes
from metalake_sync.remote.retry import RetryPolicy
from tests.remote.bare_server import Line, serve
from tests.remote.both_clients import API_KEY, SECRET, Store

IMPATIENT = RetryPolicy(give_up_after_s=0)
PORT = 9


def lake(url: str = "https://lake.example", **trust: Any) -> LakeAddress:
    return LakeAddress(url, API_KEY, SECRET, Trust(allow_insecure=True, **trust))


def good(line: Line) -> None:
    line.read_all()
    line.answer(200, b"bytes")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "x.localhost",
        "169.254.169.254",
        "[fe80::1]",
        "[::ffff:169.254.169.254]",
    ],
)
def test_a_remote_lake_cannot_name_a_store_on_this_machine(host: str) -> None:
    url = f"http://{host}:{PORT}/latest/meta-data?sig=1"
    store = Store(lake(), IMPATIENT)
    for ask in (lambda: store.get(url), lambda: store.put(url, b"x")):
        with pytest.raises(LakeAnswerInvalid, match="leads to this machine or its own link") as caught:
            ask()
        assert "allow_local_store" in (caught.value.remedy or "")
        assert "sig=" not in str(caught.value)
    assert hash_of_object(url, store.address, 10)[1] is None


@pytest.mark.parametrize("url", ["https://user:pa55@store.example/o", "https://user@store.example/o"])
def test_an_address_with_credentials_is_an_error(url: str) -> None:
    store = Store(lake(), IMPATIENT)
    with pytest.raises(LakeAnswerInvalid, match="user name or password") as caught:
        store.get(url)
    assert "pa55" not in str(caught.value)
    assert hash_of_object(url, store.address, 10)[1] is None


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver in which every name resolves to this machine."""
    real = socket.getaddrinfo

    def resolve(host: Any, *args: Any, **options: Any) -> Any:
        return real("127.0.0.1" if host == "store.example" else host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.mark.usefixtures("names")
def test_a_name_that_resolves_to_this_machine_is_refused_at_connection(tmp_path: Path) -> None:
    with serve(good) as server:
        url = server.url.replace("127.0.0.1", "store.example") + "/o?sig=1"
        assert hash_of_object(url, lake(allow_local_store=True), 10)[1] is not None
        asked = len(server.asked)
        assert hash_of_object(url, lake(), 10) == (0, None, "ConnectionError")
        (tmp_path / "a").write_bytes(b"bytes")
        with LakeClient(lake()) as client:
            assert same_bytes(client, [Pair("a", str(tmp_path / "a"), 5, url)], 2) == set()
        assert len(server.asked) == asked


def test_a_name_that_libcurl_resolves_to_this_machine_is_refused() -> None:
    # The name of this machine is usually in /etc/hosts, with its own address.
    name = socket.gethostname()
    try:
        addresses = {str(info[4][0]) for info in socket.getaddrinfo(name, PORT, proto=socket.IPPROTO_TCP)}
    except OSError:
        addresses = set()
    if not addresses or not all(address.startswith(("127.", "::1", "fe80:")) for address in addresses):
        pytest.skip("no name on this machine leads to it")
    with pytest.raises(LakeAnswerInvalid, match="leads to this machine"):
        Store(lake(), IMPATIENT).get(f"http://{name}:{PORT}/o?sig=1")


def test_allowed_addresses() -> None:
    with serve(good) as server:
        url = server.url + "/o?sig=1"
        for address in (lake(allow_local_store=True), lake(server.url), lake("http://localhost:8080")):
            assert Store(address, IMPATIENT).get(url) == (200, b"bytes")
            assert hash_of_object(url, address, 10)[1] is not None
    for url in ("http://10.0.0.1/o", "https://store.example/o", "https://lake.example:9000/o"):
        lake().check_store(url)


@pytest.mark.parametrize("url", ["http://[", "file:///etc/passwd", "", "//x"])
def test_an_invalid_address_is_an_error_of_one_file(url: str, tmp_path: Path) -> None:
    assert hash_of_object(url, lake(), 10)[1] is None
    (tmp_path / "a").write_bytes(b"bytes")
    with LakeClient(lake(), retry=IMPATIENT) as client:
        if url:
            assert same_bytes(client, [Pair("a", str(tmp_path / "a"), 5, url)], 2) == set()
