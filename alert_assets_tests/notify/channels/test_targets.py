"""Which addresses may be connected to: the rules, with DNS answers made up."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.notify.channels.targets import TargetRefused, Targets, is_public, never_by_name

#: IANA's special-purpose registries, https://www.iana.org/assignments/iana-ipv4-special-registry/ and -ipv6-:
#: blocks that are not globally reachable, and multicast.
NOT_PUBLIC = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.2.0/24"),
    *("192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    *("::/128", "::1/128", "::ffff:0:0/96", "::/96", "64:ff9b:1::/48", "100::/64", "2001:db8::/32", "fc00::/7"),
    *("fe80::/10", "fec0::/10", "ff00::/8", "4000::/2", "8000::/1"),
]
PUBLIC = ["8.8.8.8", "93.184.215.14", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001:80f::200e", "64:ff9b::808:808"]


def answering(*addresses: str, allowed: str = "") -> Targets:
    parsed = Targets.parse(allowed)
    return Targets(parsed.hosts, parsed.networks, lambda host, port: list(addresses))


@st.composite
def addresses_in(draw: st.DrawFn, networks: list[str]) -> IPv4Address | IPv6Address:
    network = ip_network(draw(st.sampled_from(networks)))
    return network[draw(st.integers(0, network.num_addresses - 1))]


@given(addresses_in(NOT_PUBLIC))
def test_no_special_address_is_public(address: IPv4Address | IPv6Address) -> None:
    assert not is_public(address)
    with pytest.raises(TargetRefused, match="resolves to"):
        answering(str(address)).addresses("x.example.test", 443)


@given(addresses_in([network for network in NOT_PUBLIC if ":" not in network]))
def test_no_translation_of_a_special_address_is_public(address: IPv4Address) -> None:
    inner = int(address)
    for outer in (
        IPv6Address(int(IPv6Address("::ffff:0:0")) | inner),
        IPv6Address(int(IPv6Address("64:ff9b::")) | inner),
        IPv6Address(int(IPv6Address("2002::")) | inner << 80),
    ):
        assert not is_public(outer)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass(address: str) -> None:
    assert answering(address).addresses("x.example.test", 443) == [ip_address(address)]


@given(st.lists(addresses_in(NOT_PUBLIC), min_size=1), st.lists(st.sampled_from(PUBLIC)), st.randoms())
def test_one_bad_address_spoils_the_name(bad: list, good: list[str], random) -> None:
    answer = [str(address) for address in bad] + good
    random.shuffle(answer)
    with pytest.raises(TargetRefused):
        answering(*answer).addresses("x.example.test", 443)


@pytest.mark.parametrize("address", ["10.0.0.5", "127.0.0.1", "192.168.7.7", "fd12::1", "::1"])
@pytest.mark.parametrize("host", ["relay.internal", "RELAY.internal", "relay.internal."])
def test_a_host_that_is_configured_may_be_private(address: str, host: str) -> None:
    assert answering(address, allowed="Relay.Internal").addresses(host, 25) == [ip_address(address)]
    with pytest.raises(TargetRefused):
        answering(address, allowed="Relay.Internal").addresses("not-" + host, 25)
    with pytest.raises(TargetRefused):
        answering(address, allowed="internal").addresses(host, 25)


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "169.254.0.1", "fe80::1", "fd00:ec2::254", "100.100.100.200", "168.63.129.16"),
        *("192.0.0.192", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "::ffff:10.0.0.5", "64:ff9b::a9fe:a9fe"),
        *("255.255.255.255", "fe80::1%eth0"),
    ],
)
def test_a_name_never_leads_to_metadata_or_link_local(address: str) -> None:
    with pytest.raises(TargetRefused):
        answering(address, allowed="relay.internal").addresses("relay.internal", 443)
    assert never_by_name(ip_address(address))


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("10.0.0.5", "not a public address"),
        ("169.254.169.254", "link-local"),
        ("fd00:ec2::254", "a metadata address"),
        ("168.63.129.16", "a metadata address"),
        ("::ffff:a00:5", "an IPv4 address written as IPv6"),
        ("255.255.255.255", "the broadcast address"),
    ],
)
def test_a_refusal_says_why(address: str, reason: str) -> None:
    with pytest.raises(TargetRefused, match=f"x.example.test resolves to {address}, .*{reason}"):
        answering(address).addresses("x.example.test", 443)


@given(addresses_in(NOT_PUBLIC))
def test_a_network_that_is_configured_passes(address: IPv4Address | IPv6Address) -> None:
    targets = answering(str(address), allowed=f"relay.internal, {address}")
    assert targets.addresses("x.example.test", 443) == [address]


def test_a_network_covers_its_own_and_no_more() -> None:
    targets = answering("10.1.2.3", "10.2.0.0", allowed="10.1.0.0/16")
    with pytest.raises(TargetRefused, match=r"10\.2\.0\.0"):
        targets.addresses("x.example.test", 443)


def test_plain_http_is_for_what_is_configured() -> None:
    targets = answering(allowed="relay.internal,10.1.0.0/16")
    assert targets.is_configured("relay.internal", [ip_address("8.8.8.8")])
    assert targets.is_configured("x", [ip_address("10.1.0.1")])
    assert not targets.is_configured("x", [ip_address("10.1.0.1"), ip_address("8.8.8.8")])


def test_an_address_is_tried_once() -> None:
    assert answering("8.8.8.8", "8.8.8.8").addresses("x", 1) == [ip_address("8.8.8.8")]


@pytest.mark.parametrize("entry", ["*", "a b", "http://x/", "10.0.0.0/99", "-/-", "é.test", "a..b"])
def test_an_entry_that_is_nothing_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="neither a host name nor an address"):
        Targets.parse(f"relay.internal,{entry}")


def test_blank_entries_are_nothing() -> None:
    assert Targets.parse(" , ,") == Targets()
