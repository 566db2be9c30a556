"""Which hosts are this machine, however they are spelled."""

from __future__ import annotations

import pytest

from metalake_sync.core.hosts import is_local_address, is_loopback, literal_address


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("0x7f.0.0x0.1", "127.0.0.1"),
        ("10.258", "10.0.1.2"),
        ("0", "0.0.0.0"),
        ("[::1]", "::1"),
        ("::ffff:169.254.1.1", "169.254.1.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("lake.example", None),
        ("127.0.0.1.example", None),
        ("1.2.3.4.5", None),
        ("256.1.1.1", None),
        ("4294967296", None),
        ("09.1.1.1", None),
        ("", None),
    ],
)
def test_an_address_is_known_in_every_form_of_the_resolver(host: str, address: str | None) -> None:
    found = literal_address(host)
    assert (None if found is None else str(found)) == address


@pytest.mark.parametrize(
    ("host", "loopback", "local"),
    [
        ("127.9.9.9", True, True),
        ("::1", True, True),
        ("0.0.0.0", False, True),
        ("169.254.169.254", False, True),
        ("fe80::1", False, True),
        ("10.0.0.1", False, False),
        ("fd00::1", False, False),
    ],
)
def test_loopback_and_link_local_addresses_are_local(host: str, loopback: bool, local: bool) -> None:
    address = literal_address(host)
    assert address is not None
    assert is_loopback(host) is loopback
    assert is_local_address(address) is local


@pytest.mark.parametrize(("host", "loopback"), [("localhost", True), ("db.localhost.", True), ("mylocalhost", False)])
def test_names_of_this_machine(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
