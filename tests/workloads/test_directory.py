"""Looking workloads up."""

from __future__ import annotations

from ipaddress import ip_address

from l7proxy.workloads.directory import Directory
from l7proxy.workloads.model import HOST, Workload, World

USERS = Workload(
    "default",
    "users",
    {"app": "users"},
    addresses=(ip_address("10.0.0.4"), ip_address("fd00::4")),
    netns="users",
)
SERVICE = Workload("default", "service", {}, cgroup="/system.slice/service")
INNER = Workload("default", "inner", {}, cgroup="/system.slice/service/inner")
DIRECTORY = Directory([USERS, SERVICE, INNER], [ip_address("192.0.2.10")])


def test_an_address_is_a_workload_this_node_or_the_world() -> None:
    assert DIRECTORY.identify(ip_address("10.0.0.4")) is USERS
    assert DIRECTORY.identify(ip_address("fd00::4")) is USERS
    assert DIRECTORY.identify(ip_address("192.0.2.10")) is HOST
    assert DIRECTORY.identify(ip_address("127.0.0.1")) is HOST
    assert DIRECTORY.identify(ip_address("::1")) is HOST
    assert DIRECTORY.identify(ip_address("10.0.0.5")) == World(ip_address("10.0.0.5"))


def test_an_address_in_ipv6_clothes_is_nobody_else() -> None:
    assert DIRECTORY.identify(ip_address("::ffff:10.0.0.4")) is USERS
    assert DIRECTORY.identify(ip_address("::ffff:127.0.0.1")) is HOST
    assert DIRECTORY.identify(ip_address("::ffff:8.8.8.8")) == World(ip_address("8.8.8.8"))


def test_a_workload_may_have_a_loopback_address() -> None:
    local = Workload("default", "local", {}, addresses=(ip_address("127.0.0.2"),))
    assert Directory([local]).identify(ip_address("127.0.0.2")) is local


def test_the_nearest_cgroup_above_decides() -> None:
    assert DIRECTORY.by_cgroup("/system.slice/service") is SERVICE
    assert DIRECTORY.by_cgroup("/system.slice/service/other/deep") is SERVICE
    assert DIRECTORY.by_cgroup("/system.slice/service/inner/deep") is INNER
    assert DIRECTORY.by_cgroup("/system.slice/service2") is None
    assert DIRECTORY.by_cgroup("/") is None
    assert DIRECTORY.by_cgroup("") is None


def test_names() -> None:
    assert DIRECTORY.by_netns("users") is USERS
    assert DIRECTORY.by_netns("other") is None
    assert DIRECTORY.by_id("default/users") is USERS
    assert DIRECTORY.by_id("users") is None
