"""Two clusters on one machine share nothing, and no path is too long for a socket."""

import itertools
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from bed import layout as ports
from bed.layout import SLOTS, Layout

_ALL = [Layout(slot, True, Path("/bed")) for slot in range(SLOTS)]


def test_two_slots_share_no_name_and_no_network() -> None:
    for one, other in itertools.combinations(_ALL, 2):
        assert one.run != other.run
        assert one.cgroup != other.cgroup
        assert one.host_link != other.host_link
        assert not {one.host_ip, one.inner_ip} & {other.host_ip, other.inner_ip}
        networks = [
            ip_network(text)
            for layout in (one, other)
            for text in (layout.pod_network, layout.service_network, f"{layout.host_ip}/32")
        ]
        assert not any(a.overlaps(b) for a, b in itertools.combinations(networks, 2))


@pytest.mark.parametrize("layout", _ALL)
def test_the_addresses_of_a_slot_fit_its_networks(layout: Layout) -> None:
    assert ip_address(layout.node_ip) in ip_network(layout.pod_network)
    assert ip_address(layout.api_service) in ip_network(layout.service_network)
    assert len(layout.host_link) <= 15  # the kernel's limit for the name of a link


def test_unprivileged_clusters_have_ports_of_their_own() -> None:
    used = [
        Layout(slot, False, Path("/bed")).port(port)
        for slot in range(SLOTS)
        for port in (ports.API, ports.ETCD, ports.ETCD_PEER, ports.CONTROLLERS, ports.SCHEDULER)
    ]
    assert len(set(used)) == len(used)


def test_a_directory_too_long_for_a_socket_is_named() -> None:
    with pytest.raises(ValueError, match="set TMPDIR to a shorter directory"):
        Layout(0, True, Path("/") / ("x" * 100)).check()
