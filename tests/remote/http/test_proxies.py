"""Proxies of the environment: which requests go through them, the same for both HTTP libraries."""

from __future__ import annotations

import pytest

from metalake_sync.errors import ExitCode, UsageError
from metalake_sync.remote.address import LakeAddress, Trust
from metalake_sync.remote.http.environment import bypasses, proxy_for
from metalake_sync.remote.retry import RetryPolicy
from tests.remote.bare_server import Line, serve
from tests.remote.both_clients import API_KEY, BOTH, SECRET, Call
from tests.remote.http.test_async_http import PROXIES

PROXY = "http://proxy.example:3128"
IMPATIENT = RetryPolicy(give_up_after_s=0)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in PROXIES:
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "a.localhost", "localhost.", "127.0.0.1", "127.8.9.1", "[::1]", "[::ffff:127.0.0.1]"],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_this_machine_is_never_reached_through_a_proxy(scheme: str, host: str) -> None:
    assert proxy_for(f"{scheme}://{host}:8080/x", {"http": PROXY, "https": PROXY, "all": PROXY}) == ""


@pytest.mark.parametrize(
    ("proxies", "url", "proxy"),
    [
        ({}, "https://lake.example", ""),
        ({"https": PROXY}, "https://lake.example", PROXY),
        ({"https": PROXY}, "http://lake.example", ""),
        ({"all": PROXY}, "http://lake.example", PROXY),
        ({"http": PROXY, "all": "http://other"}, "http://lake.example", PROXY),
        ({"https": "proxy.example:3128"}, "https://lake.example", "http://proxy.example:3128"),
        ({"https": "http://user:word@proxy.example"}, "https://lake.example", "http://user:word@proxy.example"),
        ({"https": PROXY, "no": "lake.example"}, "https://lake.example", ""),
        ({"https": "socks5://proxy.example", "no": "lake.example"}, "https://lake.example", ""),
    ],
)
def test_the_proxy_of_the_scheme_takes_precedence_over_all_proxy(proxies: dict[str, str], url: str, proxy: str) -> None:
    assert proxy_for(url, proxies) == proxy


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "bypassed"),
    [
        ("", "lake.example", 443, False),
        ("*", "lake.example", 443, True),
        (" * ", "lake.example", 443, True),
        ("lake.example", "lake.example", 443, True),
        ("LAKE.example", "Lake.Example", 443, True),
        ("example", "lake.example", 443, True),
        (".example", "lake.example", 443, True),
        (".lake.example", "lake.example", 443, True),
        ("lake.example.", "lake.example", 443, True),
        ("ake.example", "lake.example", 443, False),
        ("lake.example", "lake.example.org", 443, False),
        ("a.example,lake.example", "lake.example", 443, True),
        ("a.example, lake.example", "lake.example", 443, True),
        ("a.example lake.example", "lake.example", 443, True),
        ("lake.example:443", "lake.example", 443, True),
        ("lake.example:8443", "lake.example", 443, False),
        ("localhost:8080", "lake.example", 443, False),
        ("10.1.2.3", "10.1.2.3", 80, True),
        ("10.1.2.3:80", "10.1.2.3", 80, True),
        ("10.0.0.0/8", "10.1.2.3", 80, True),
        ("10.0.0.0/16", "10.1.2.3", 80, False),
        ("10.0.0.0/8", "ten.example", 80, False),
        ("2.3", "10.1.2.3", 80, False),
        ("fd00::/8", "fd00::5", 80, True),
        ("[fd00::5]", "fd00::5", 80, True),
        ("[fd00::5]:80", "fd00::5", 80, True),
        ("fd00::5", "fd00::5", 80, True),
        ("10.0.0.0/many,,lake.example", "lake.example", 443, True),
    ],
)
def test_no_proxy_is_interpreted_as_by_curl(no_proxy: str, host: str, port: int, bypassed: bool) -> None:
    assert bypasses(no_proxy, host, port) is bypassed


@pytest.mark.parametrize("scheme", ["socks", "socks4", "socks5", "socks5h"])
@pytest.mark.parametrize("call", BOTH)
def test_a_socks_proxy_is_rejected_with_a_remedy(call: Call, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", f"{scheme}://user:word@127.0.0.1:9")
    with pytest.raises(
        UsageError, match=f"all_proxy names a SOCKS proxy .{scheme}://., which is not supported"
    ) as caught:
        call(LakeAddress("https://lake.example", API_KEY, SECRET), IMPATIENT)
    assert caught.value.exit_code is ExitCode.USAGE
    assert "no_proxy" in (caught.value.remedy or "")
    assert "word" not in str(caught.value)


@pytest.mark.parametrize("proxy", ["ftp://proxy.example", "http://", "http://proxy.example:port", "http://["])
def test_an_unusable_proxy_is_reported_with_its_variable(proxy: str) -> None:
    with pytest.raises(UsageError, match="the proxy cannot be used: https_proxy"):
        proxy_for("https://lake.example", {"https": proxy})


@pytest.mark.parametrize("no_proxy", ["", "localhost:8080", "127.0.0.0/8", "other.example"])
@pytest.mark.parametrize("call", BOTH)
def test_a_lake_on_this_machine_gets_no_credentials_through_a_proxy(
    call: Call, no_proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def good(line: Line) -> None:
        line.read_all()
        line.answer(200, b'{"isSuccess": true}')

    with serve(good) as lake, serve(good) as proxy:
        for variable in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(variable, proxy.url)
        monkeypatch.setenv("no_proxy", no_proxy)
        call(LakeAddress(lake.url, API_KEY, SECRET), IMPATIENT)
        assert (len(lake.asked), proxy.connections) == (1, 0)


@pytest.mark.parametrize("call", BOTH)
def test_both_clients_use_and_bypass_a_proxy_alike(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def good(line: Line) -> None:
        line.read_all()
        line.answer(200, b'{"isSuccess": true}')

    address = LakeAddress("http://lake.invalid:8080", API_KEY, SECRET, Trust(allow_insecure=True))
    with serve(good) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        call(address, IMPATIENT)
        assert len(proxy.asked) == 1
        monkeypatch.setenv("no_proxy", ".invalid:8080")
        with pytest.raises(Exception, match="could not be reached"):
            call(address, IMPATIENT)
        assert len(proxy.asked) == 1
