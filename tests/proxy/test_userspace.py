"""Who is at the ends of a connection to an explicit listener."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any

import pytest

from l7proxy.limits import Limits
from l7proxy.proxy.ports import Endpoint
from l7proxy.proxy.userspace import Adapter, ListenSpec, endpoint
from l7proxy.workloads.model import HOST, Workload, World
from tests.proxy.harness import run

USERS = Workload("default", "users", {"app": "users"}, (ip_address("10.0.0.1"),))
CLIENT = Workload("shop", "client", {}, (ip_address("10.0.0.2"), ip_address("fd00::2")))
TO = Endpoint(ip_address("10.0.0.1"), 80)


class Named:
    """A socket that only has names."""

    def __init__(self, peer: tuple[Any, ...], own: tuple[Any, ...] = ("192.0.2.1", 8000)) -> None:
        self.getpeername = lambda: peer
        self.getsockname = lambda: own


def resolved(spec: ListenSpec, sock: Named) -> Any:
    adapter = Adapter({"host_addresses": [ip_address("192.0.2.99")]}, Limits())
    adapter.update((USERS, CLIENT))
    return adapter.resolver(spec).resolve(sock)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        (("10.0.0.2", 5), CLIENT),
        (("fd00::2", 5, 0, 0), CLIENT),
        (("::ffff:10.0.0.2", 5, 0, 0), CLIENT),
        (("127.0.0.1", 5), HOST),
        (("::1", 5, 0, 0), HOST),
        (("192.0.2.1", 5), HOST),
        (("192.0.2.99", 5), HOST),
        (("198.51.100.7", 5), World(ip_address("198.51.100.7"))),
    ],
)
def test_clients_are_known_by_address(peer: tuple[Any, ...], client: object) -> None:
    found = resolved(ListenSpec(TO, "users"), Named(peer))
    assert found.client == client
    assert (found.server, found.destination, found.netns) == (USERS, TO, None)


def test_servers_are_known_by_name_or_by_address() -> None:
    sock = Named(("10.0.0.2", 5))
    assert resolved(ListenSpec(TO, "default/users"), sock).server is USERS
    assert resolved(ListenSpec(TO), sock).server is USERS
    elsewhere = Endpoint(ip_address("203.0.113.5"), 80)
    assert resolved(ListenSpec(elsewhere), sock).server == World(elsewhere.address)
    assert resolved(ListenSpec(TO, "nobody"), sock) is None


def test_a_listener_needs_its_spec() -> None:
    with pytest.raises(TypeError, match="ListenSpec"):
        Adapter({}, Limits()).resolver({"to": "10.0.0.1:80"})


def test_connect() -> None:
    async def test() -> None:
        adapter = Adapter({}, Limits(connect_timeout=0.05))
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
            sock = await adapter.connect(endpoint(server.getsockname()), None)
            assert sock.getpeername()[:2] == server.getsockname()[:2]
            sock.close()
            port = server.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            await adapter.connect(Endpoint(ip_address("::1"), port), None)

    run(test())
