"""The node configuration: defaults, every field, and how mistakes are told."""

from __future__ import annotations

import pickle
import socket
from dataclasses import fields
from ipaddress import ip_address
from pathlib import Path

import pytest

from l7proxy.config import Config, ConfigErrors, find_cgroup2, load, parse
from l7proxy.limits import Limits
from l7proxy.proxy.ports import Endpoint

FILE = Path("/etc/l7proxy/l7proxy.yaml")


def read(text: str) -> Config:
    return parse(text.encode(), FILE)


def error(text: str) -> str:
    with pytest.raises(ConfigErrors) as caught:
        read(text)
    return str(caught.value)


def test_every_field_is_optional() -> None:
    config = load(None)
    assert config.node == socket.gethostname()
    assert config.policies == Path("policies")
    assert config.workloads == Path("workloads.yaml")
    assert config.datapath == "auto"
    assert config.cgroup is None
    assert config.admin_socket == Path("/run/l7proxy/admin.sock")
    assert config.bpffs == Path("/sys/fs/bpf/l7proxy")
    assert (config.proxy.workers, config.proxy.listen) == (1, ())
    assert config.metrics.listen == Endpoint(ip_address("127.0.0.1"), 9965)
    assert config.limits == Limits()


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "node:\npolicies: ~\nlimits:\n"])
def test_a_field_without_a_value_means_its_default(text: str) -> None:
    config = read(text)
    assert config.node == socket.gethostname()
    assert config.policies == Path("/etc/l7proxy/policies")
    assert config.limits == Limits()


def test_every_field_can_be_set() -> None:
    config = read(
        """
        node: worker-1
        policies: rules
        workloads: /var/lib/pods.json
        datapath: userspace
        cgroup: /sys/fs/cgroup/system.slice
        state: run
        bpffs: /mnt/bpf/l7proxy
        proxy:
          workers: 2
          listen:
          - {address: "127.0.0.1:8000", to: "[::1]:8080", workload: users}
          - {address: "[::]:0", to: "127.0.0.1:8081", workload: shop/auth}
        metrics: {listen: off}
        limits: {head_bytes: 65536, idle_timeout: 5, head_timeout: 0.5}
        """
    )
    assert config.node == "worker-1"
    assert config.policies == Path("/etc/l7proxy/rules")
    assert config.workloads == Path("/var/lib/pods.json")
    assert config.datapath == "userspace"
    assert config.cgroup_folder() == Path("/sys/fs/cgroup/system.slice")
    assert config.state == Path("/etc/l7proxy/run")
    assert config.bpffs == Path("/mnt/bpf/l7proxy")
    first, second = config.proxy.listen
    assert first.address == Endpoint(ip_address("127.0.0.1"), 8000)
    assert first.to == Endpoint(ip_address("::1"), 8080)
    assert (first.workload, second.workload) == ("default/users", "shop/auth")
    assert config.metrics.listen is None
    assert (config.limits.head_bytes, config.limits.idle_timeout) == (65536, 5.0)
    assert config.limits.head_timeout == 0.5
    assert config.limits.head_fields == Limits().head_fields


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("stderr", "stderr"),
        ("off", "off"),
        ("log/requests", "/etc/l7proxy/log/requests"),
        ("/var/log/requests", "/var/log/requests"),
    ],
)
def test_the_access_log_is_a_stream_or_a_file(written: str, meant: str) -> None:
    assert read(f"access_log: {written}").access_log == meant
    assert read("").access_log == "stdout"


def test_a_configuration_can_be_handed_to_another_process() -> None:
    config = read("limits: {pool_idle: 3}")
    assert pickle.loads(pickle.dumps(config)) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: ]", "1: not valid YAML: did not find expected node content"),
        ("[1]", "1: must be a map of fields, as node: worker-1"),
        ("node: a\n---\nnode: b", "3: a second document: there can be one only"),
        ("node: a\nnode: b", "2: the key 'node' is repeated (first on line 1)"),
        ("node: ''", "1: node: must have at least 1 character"),
        ("\npolicy: x", "2: policy: unknown field; did you mean policies?"),
        ("zzz: x", "1: zzz: unknown field"),
        ("datapath: kernel", "1: datapath: must be 'auto', 'ebpf' or 'userspace'"),
        ("cgroup: users", "1: cgroup: must be auto or the absolute path of a cgroup v2 folder"),
        ("proxy:\n  workers: 0", "2: proxy.workers: must be greater than or equal to 1"),
        ("proxy:\n  workers: yes", "2: proxy.workers: must be a valid integer"),
        (
            "proxy:\n  listen:\n  - address: localhost:80\n    to: 127.0.0.1:80\n    workload: a",
            "3: proxy.listen[0].address: must be an IP address and a port, "
            "as 127.0.0.1:8000 or [::1]:8000, not 'localhost:80'",
        ),
        (
            "proxy: {listen: [{address: '127.0.0.1:1', to: '127.0.0.1:0', workload: a}]}",
            "1: proxy.listen[0].to: must have a port from 1 to 65535",
        ),
        (
            "proxy: {listen: [{address: '127.0.0.1:1', to: '127.0.0.1:1', workload: a/b/c}]}",
            "1: proxy.listen[0].workload: must be a workload's name or namespace/name",
        ),
        ("metrics: off", "1: metrics: must be a map of fields"),
        ("policies: 5", "1: policies: must be a path"),
        (
            "flows: {redact: {headers: ['a b']}}",
            "1: flows.redact.headers[0]: must be the name of a header",
        ),
        ("flows: {redact: {headers: a}}", "1: flows.redact.headers: must be a list"),
        ("flows: {redact: {query: 1}}", "1: flows.redact.query: must be a valid boolean"),
        (
            "flows: {redact: {querry: 1}}",
            "1: flows.redact.querry: unknown field; did you mean query?",
        ),
        (
            "metrics: {listen: '::1:9965'}",
            "1: metrics.listen: must be an IP address and a port, "
            "as 127.0.0.1:8000 or [::1]:8000, not '::1:9965'",
        ),
        (
            "limits:\n  head_byte: 4096",
            "2: limits.head_byte: unknown field; did you mean head_bytes?",
        ),
        ("limits: {head_bytes: 10}", "1: limits.head_bytes: must be greater than or equal to 1024"),
        ("limits: {pool_idle: 1.5}", "1: limits.pool_idle: must be a valid integer"),
        ("limits: {idle_timeout: 30s}", "1: limits.idle_timeout: must be a valid number"),
        (
            "limits: {idle_timeout: 0}",
            "1: limits.idle_timeout: must be greater than or equal to 0.001",
        ),
        (
            "limits: {head_bytes: 4096}",
            "1: limits: target_bytes must be less than head_bytes, which holds the target",
        ),
    ],
)
def test_a_mistake_is_told_with_line_and_field(text: str, message: str) -> None:
    assert error(text) == f"{FILE}:{message}"


def test_every_mistake_is_told_at_once_in_order_of_lines() -> None:
    told = error("limits: {a: 1}\nnodes: x\ndatapath: y\n").splitlines()
    assert [line.split(":")[1] for line in told] == ["1", "2", "3"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match=r"gone\.yaml: cannot be read: no such file"):
        load(tmp_path / "gone.yaml")


def test_every_default_is_within_its_own_range() -> None:
    text = "".join(f"  {limit.name}: {limit.default}\n" for limit in fields(Limits))
    assert read(f"limits:\n{text}").limits == Limits()


def test_the_cgroup2_mount_need_not_be_in_its_usual_place(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n"
        "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"
        "cgroup2 /mnt/a\\040b cgroup2 rw 0 0\n"
    )
    assert find_cgroup2(mounts) == Path("/mnt/a b")
    mounts.write_text("proc /proc proc rw 0 0\n")
    assert find_cgroup2(mounts) is None
