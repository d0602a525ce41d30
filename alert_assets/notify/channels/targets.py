"""Which addresses an alert may be sent to.

A webhook's URL is configuration, but what its name resolves to is up to its owner. So a name is
resolved once, every address it has is judged, and the connection goes to an address that was judged: DNS cannot
change its answer in between. By default only public addresses pass. Others have to be configured:

- a **host name** passes with the private or loopback addresses it has;
- an **address or network** passes as it stands, and is the only way to reach link-local, multicast and the
  addresses where clouds hand out credentials. Those are not reached by DNS.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
#: Host name or address and port to the addresses it has. Raises OSError when there are none.
Resolver = Callable[[str, int], list[str]]

#: Where clouds serve instance metadata and credentials, besides link-local: AWS over IPv6, Alibaba, Oracle, Azure.
_METADATA = frozenset(map(ip_address, ("fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16")))

#: The only IPv6 space that is routed on the Internet, RFC 4291 2.4; all else is reserved or local.
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


class TargetRefused(Exception):
    """The host must not be connected to; the text says which address and why."""


def system_resolver(host: str, port: int) -> list[str]:
    """What the operating system says."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


@dataclass(frozen=True)
class Targets:
    """What may be connected to.

    Attributes:
        hosts: names that pass with private and loopback addresses, in lower case.
        networks: addresses that pass in any case.
        resolve: asked once for each connection.
    """

    hosts: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    resolve: Resolver = field(default=system_resolver, repr=False)

    @classmethod
    def parse(cls, entries: str) -> Targets:
        """From a comma-separated list of host names, addresses and networks.

        Raises:
            ValueError: names the first entry that is none of them.
        """
        hosts, networks = set(), []
        for entry in filter(None, map(str.strip, entries.split(","))):
            try:
                networks.append(ip_network(entry, strict=False))
            except ValueError:
                if not _is_host_name(entry):
                    raise ValueError(f"{entry!r} is neither a host name nor an address nor a network") from None
                hosts.add(entry.lower().rstrip("."))
        return cls(frozenset(hosts), tuple(networks))

    def addresses(self, host: str, port: int) -> list[Address]:
        """The addresses of a host, each of which may be connected to.

        Raises:
            TargetRefused: at least one of them may not; a name with good and bad addresses is a trick.
            OSError: the name has no address.
        """
        found = _distinct(ip_address(text) for text in self.resolve(host, port))
        for address in found:
            reason = self._objection(host, address)
            if reason:
                raise TargetRefused(f"{host} resolves to {address}, {reason}")
        return found

    def is_configured(self, host: str, addresses: Iterable[Address]) -> bool:
        """Whether the host, or all of its addresses, are configured."""
        return self._names(host) or all(self._covers(address) for address in addresses)

    def _objection(self, host: str, address: Address) -> str | None:
        if self._covers(address):
            return None
        reason = never_by_name(address)
        if reason or self._names(host):
            return reason
        return None if is_public(address) else "which is not a public address"

    def _names(self, host: str) -> bool:
        return host.lower().rstrip(".") in self.hosts

    def _covers(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


def never_by_name(address: Address) -> str | None:
    """Why an address is refused even to a host that is configured by name; None if it is not."""
    mapped = _embedded(address)
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return "an IPv4 address written as IPv6"
    if address in _METADATA or mapped in _METADATA:
        return "a metadata address"
    for part in (address, mapped):
        if part is not None and (part.is_link_local or part.is_multicast or part.is_unspecified):
            return "a link-local, multicast or unspecified address"
    if address == IPv4Address("255.255.255.255"):
        return "the broadcast address"
    return None


def is_public(address: Address) -> bool:
    """Whether an address is one of the Internet's, also by the IPv4 address inside it."""
    inner = _embedded(address)
    if inner is not None:
        return is_public(inner) and not never_by_name(address)
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not never_by_name(address)


def _embedded(address: Address) -> IPv4Address | None:
    """The IPv4 address that a translator on the way would connect to."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _distinct(addresses: Iterable[Address]) -> list[Address]:
    return list(dict.fromkeys(addresses))


def is_host(text: str) -> bool:
    """Whether a text can be a host: a name or an address."""
    return _is_host_name(text) or _is_address(text)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_host_name(text: str) -> bool:
    labels = text.rstrip(".").split(".")
    return len(text) <= 253 and all(re.fullmatch(r"[A-Za-z0-9_-]{1,63}", label) for label in labels)
