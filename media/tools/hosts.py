"""Where an HTTP tool may go: its address taken apart, and which network addresses its host may have.

Pure: nothing here resolves or connects. The parts of an address are handed on as parts and never put together and taken
apart again, so that nobody can read another host in it than the one that was looked at here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from businesses.allowed_hosts import IPAddress, is_allowed, is_name, literal
from media.tools.base import ToolRefused

# The characters of RFC 3986 and the braces of {name}. No "#", which is never sent, and no backslash, a slash to some.
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::(?P<port>\d{1,5}))?"
    r"(?P<path>/[A-Za-z0-9._~!$&'()*+,;=:@%{}/-]*)?(?:\?(?P<query>[A-Za-z0-9._~!$&'()*+,;=:@%{}/?\[\]|-]*))?"
)
_SCHEME_AND_HOST = re.compile(r"[A-Za-z]+://[^/?#]*")

# The only IPv6 addresses of the public internet; what is mapped, compatible, local or multicast lies elsewhere.
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
# Through which IPv6-only networks reach IPv4: the last 32 bits are the address.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# What ipaddress calls global, in some version of Python or in all: relays (6to4), documentation, identifiers (ORCHID).
_NOT_GLOBAL = [
    ipaddress.ip_network(network)
    for network in (
        *("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "224.0.0.0/3"),
        *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
    )
]


@dataclass(frozen=True, slots=True)
class Target:
    """A tool's address. `path` and `query` may still have {name} in them; `query` is None without a "?"."""

    scheme: str
    host: str
    port: int | None  # None: the scheme's own
    path: str
    query: str | None


def target(url: str, allowed: Sequence[str], *, allow_local: bool) -> Target:
    """Take apart the address of a tool. Raise ToolRefused when it is none, or not on an allowed host.

    Plain http only to this machine itself, named by an address that is `allowed`, and only with `allow_local`.
    """
    lowered = _SCHEME_AND_HOST.sub(lambda found: found[0].lower(), url, count=1)
    parts = _URL.fullmatch(lowered)
    if parts is None:
        raise ToolRefused("address_is_malformed")
    scheme, host, port = parts["scheme"], parts["host"], parts["port"]
    address = literal(host)
    if (address is None and not is_name(host)) or (port is not None and not 0 < int(port) < 65536):
        raise ToolRefused("address_is_malformed")
    if not is_allowed(host, allowed):
        raise ToolRefused("host_not_allowed")
    is_local = address is not None and is_this_machine(address)
    if is_local and not allow_local:
        raise ToolRefused("host_not_allowed")
    if scheme == "http" and not is_local:
        raise ToolRefused("address_is_not_https")
    host = host.removeprefix("[").removesuffix("]")
    return Target(scheme, host, int(port) if port else None, parts["path"] or "/", parts["query"])


def is_this_machine(address: IPAddress) -> bool:
    """Whether it is a loopback address, written as such."""
    return address in ipaddress.ip_network("127.0.0.0/8" if address.version == 4 else "::1/128")


def is_public(address: IPAddress) -> bool:
    """Whether it belongs to the public internet: not to this machine, its network, a test network, or many at once."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return False
        if address in _NAT64:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address not in _GLOBAL_UNICAST:
            return False
    if any(address in network for network in _NOT_GLOBAL if network.version == address.version):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved
