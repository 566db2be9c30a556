"""Host names and addresses that belong to this machine or its local network link.

Owns: the classification. Must not: resolve names.
"""

from __future__ import annotations

import ipaddress
import re

_NUMBER = re.compile(r"0x[0-9a-f]{1,8}|0[0-7]{0,11}|[1-9][0-9]{0,9}")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_loopback(host: str) -> bool:
    """Return whether a host name means this machine, so that traffic to it never leaves the machine."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = literal_address(name)
    return address is not None and address.is_loopback


def is_local_address(address: Address) -> bool:
    """Return whether an address is on this machine or its link: loopback, unspecified or link-local."""
    return address.is_loopback or address.is_unspecified or address.is_link_local


def literal_address(host: str) -> Address | None:
    """Return the address that a host's text denotes, or None for a name.

    It accepts all forms that the system's resolver accepts: 127.1, 0x7f000001, ::ffff:127.0.0.1.
    """
    text = host.strip("[]").partition("%")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return _numeric(text)
    return getattr(address, "ipv4_mapped", None) or address


def _numeric(text: str) -> ipaddress.IPv4Address | None:
    """Return an IPv4 address of one to four numbers, each decimal, octal or hexadecimal.

    The last number fills the remaining bytes. Source: inet_aton(3).
    """
    numbers = text.lower().split(".")
    if len(numbers) > 4 or not all(_NUMBER.fullmatch(number) for number in numbers):
        return None
    *first, last = (int(number, _base(number)) for number in numbers)
    if any(number > 255 for number in first) or last >= 256 ** (4 - len(first)):
        return None
    value = last
    for place, number in enumerate(first):
        value += number << (24 - 8 * place)
    return ipaddress.IPv4Address(value)


def _base(number: str) -> int:
    return 16 if number.startswith("0x") else 8 if number.startswith("0") else 10
