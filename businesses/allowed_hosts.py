"""Which hosts HTTP tools may ask: the entries of settings.HTTP_TOOL_HOSTS, and what each of them allows.

An entry is a host's exact name, or ".example.com" for every name below example.com (not for example.com itself), or an
address. Ports are not part of it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
# The last label begins with a letter: "127.1", "2130706433" and "0x7f.0.0.1" are addresses to some, and no names to us.
_NAME = re.compile(rf"(?=.{{1,253}}\Z)({_LABEL}\.)+[a-z]([a-z0-9-]{{0,61}}[a-z0-9])?\Z")


def is_name(host: str) -> bool:
    """Whether `host` is a name in the domain name system: lower case, ASCII (xn-- for others), with a dot in it."""
    return _NAME.match(host) is not None


def literal(host: str) -> IPAddress | None:
    """Return the address that `host` is written as, with or without brackets; None for anything else, a name too."""
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def is_allowed(host: str, entries: Iterable[str]) -> bool:
    """Whether one of the entries allows `host`, which is in lower case."""
    address = literal(host)
    if address is not None:
        return any(literal(entry) == address for entry in entries)
    return any(host == entry or (entry.startswith(".") and host.endswith(entry)) for entry in entries)


def problem(entry: str) -> str:
    """Return what is wrong with an entry, as the end of a sentence; empty when nothing is."""
    if literal(entry) is not None or is_name(entry.removeprefix(".")):
        return ""
    if "/" in entry:
        return "is no host name: leave out the scheme and the path"
    if re.search(r"[^:]:\d+\Z", entry):
        return "is no host name: leave out the port, every port is allowed"
    if "*" in entry:
        return "is no host name: write .example.com for every name below example.com"
    return "is no host name with a dot in it, in plain ASCII"
