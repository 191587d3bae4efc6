"""A node in miniature: pods, processes of the node itself, and a client on another machine.

The node is a network namespace with a bridge, each pod a namespace on that bridge, each with a
cgroup below one private folder, which is what an agent covers. The machine's own namespace,
addresses, routes, root cgroup and /sys/fs/bpf are left alone, and any number of nodes live side
by side.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from pathlib import Path
from typing import Any, Self

import yaml

from l7proxy.demo import cgroups, mounts, namespaces
from l7proxy.demo.places import Place

PREFIX = "l7pods-"
NODE_V4 = IPv4Interface("10.99.0.1/24")
NODE_V6 = IPv6Interface("fd00:99::1/64")
WIRE_V4 = IPv4Interface("192.0.2.1/24")
WIRE_V6 = IPv6Interface("2001:db8:99::1/64")
FIRST_POD = 10


class Pod(Place):
    """A workload: where it runs, and what a policy knows about it."""

    def __init__(
        self,
        name: str,
        *,
        labels: Mapping[str, str],
        namespace: str = "default",
        v4: IPv4Address | None = None,
        v6: IPv6Address | None = None,
        netns: str | None = None,
        cgroup: Path | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name, netns=netns, cgroup=cgroup)
        self.labels = dict(labels)
        self.namespace = namespace
        self.v4 = v4
        self.v6 = v6
        self.annotations = dict(annotations or {})

    @property
    def ip(self) -> str:
        """The IPv4 address as text."""
        return str(self.v4)

    @property
    def ip6(self) -> str:
        """The IPv6 address as text."""
        return str(self.v6)

    def manifest(self) -> dict[str, Any]:
        """The Kubernetes Pod object that names this workload."""
        metadata: dict[str, Any] = {
            "name": self.name,
            "namespace": self.namespace,
            "labels": self.labels,
        }
        if self.annotations:
            metadata["annotations"] = self.annotations
        made: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
        addresses = [str(address) for address in (self.v4, self.v6) if address is not None]
        if addresses:
            made["status"] = {
                "podIP": addresses[0],
                "podIPs": [{"ip": address} for address in addresses],
            }
        return made


class Node:
    """A context manager; everything that it made is gone afterwards, whatever happened inside.

    ``cgroup``     the folder to cover: the agent, the pods and the node's own processes are in it
    ``directory``  a private folder; ``state`` and ``bpffs`` (mounted) are in it
    ``host``       the node itself: its namespace, and a cgroup that belongs to no workload
    ``agent``      where the agent runs: the node's namespace and a cgroup of its own
    ``outside``    another machine, one router hop away, outside ``cgroup``

    ``cache``: where agents keep what they compile, if not in ``directory``.
    """

    def __init__(self, label: str = "node", cache: Path | None = None) -> None:
        self.id = f"{PREFIX}{label}-{os.getpid()}-{secrets.token_hex(3)}"
        self.netns = self.id
        self.directory = Path(tempfile.gettempdir()) / self.id
        self.state = self.directory / "state"
        self.bpffs = self.directory / "bpf"
        self.cache = cache or self.directory / "cache"
        self.workloads: list[Pod] = []
        self._stack = ExitStack()
        self._next = FIRST_POD

    def __enter__(self) -> Self:
        sweep()
        try:
            self._set_up()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop, unmount and remove everything. Signals to end are put off until it is done."""
        if threading.current_thread() is not threading.main_thread():
            self._stack.close()
            return
        received: list[int] = []
        before = {
            number: signal.signal(number, lambda number, frame: received.append(number))
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
        try:
            self._stack.close()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if received:
            signal.raise_signal(received[0])

    def add_pod(
        self, name: str, labels: Mapping[str, str] | None = None, namespace: str = "default"
    ) -> Pod:
        """A pod with its own namespace, cgroup, IPv4 and IPv6 address; ``app: NAME`` by default."""
        number = self._take_number()
        v4 = IPv4Interface(f"{NODE_V4.network[number]}/{NODE_V4.network.prefixlen}")
        v6 = IPv6Interface(f"{NODE_V6.network[number]}/{NODE_V6.network.prefixlen}")
        netns = f"{self.id}-{name}"
        self._namespace(netns)
        namespaces.join(
            self.netns,
            namespaces.Link(f"veth{number}", bridge="pods"),
            netns,
            namespaces.Link("eth0", v4, v6),
        )
        namespaces.default_route(netns, NODE_V4, NODE_V6)
        pod = Pod(
            name,
            labels=labels or {"app": name},
            namespace=namespace,
            v4=v4.ip,
            v6=v6.ip,
            netns=netns,
            cgroup=self._folder(f"node/pods/{namespace}_{name}"),
            annotations={"l7proxy.io/netns": netns},
        )
        return self._adopt(pod)

    def add_service(
        self,
        name: str,
        labels: Mapping[str, str] | None = None,
        namespace: str = "default",
        pod: Pod | None = None,
    ) -> Pod:
        """A workload known by its cgroup that shares the node's network, or that of ``pod``."""
        cgroup = self._folder(f"node/services/{name}")
        service = Pod(
            name,
            labels=labels or {"app": name},
            namespace=namespace,
            netns=pod.netns if pod else self.netns,
            cgroup=cgroup,
            annotations={"l7proxy.io/cgroup": cgroups.path_below_mount(cgroup)},
        )
        return self._adopt(service)

    def write_workloads(self, path: Path | None = None) -> Path:
        """Write the workloads file, ``directory/workloads.yaml`` by default, in one step."""
        path = path or self.directory / "workloads.yaml"
        listed = {
            "apiVersion": "v1",
            "kind": "List",
            "items": [pod.manifest() for pod in self.workloads],
        }
        fresh = path.with_name(path.name + ".new")
        fresh.write_text(yaml.safe_dump(listed, sort_keys=False))
        return fresh.replace(path)

    def config(self, **overrides: Any) -> dict[str, Any]:
        """The settings of an agent for this node; ``overrides`` replace whole keys."""
        return {
            "node": "demo-node",
            "policies": str(self.directory / "policies"),
            "workloads": str(self.directory / "workloads.yaml"),
            "datapath": "ebpf",
            "cgroup": str(self.cgroup),
            "state": str(self.state),
            "bpffs": str(self.bpffs / "l7proxy"),
            "cache": str(self.cache),
            **overrides,
        }

    def _set_up(self) -> None:
        claim = cgroups.claim(cgroups.mount_point() / self.id)
        # The claim is the last to go: until then nobody else takes what is left for abandoned.
        self._stack.callback(os.close, claim)
        self._stack.callback(cgroups.remove, cgroups.mount_point() / self.id)
        self._stack.callback(cgroups.kill, cgroups.mount_point() / self.id)
        self.directory.mkdir(mode=0o700)
        self._stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self.bpffs.mkdir()
        mounts.mount_bpffs(self.bpffs)
        self._stack.callback(mounts.unmount, self.bpffs)
        (self.directory / "policies").mkdir()
        self.cgroup = self._folder("node")
        self._namespace(self.netns)
        namespaces.bridge(self.netns, namespaces.Link("pods", NODE_V4, NODE_V6))
        self.host = self._place("host", self.netns, "node/host")
        self.agent = self._place("agent", self.netns, "node/agent")
        self._set_up_outside()

    def _set_up_outside(self) -> None:
        netns = f"{self.id}.outside"
        self._namespace(netns)
        namespaces.join(
            self.netns,
            namespaces.Link("wire", WIRE_V4, WIRE_V6),
            netns,
            namespaces.Link(
                "eth0",
                IPv4Interface(f"{WIRE_V4.ip + 1}/{WIRE_V4.network.prefixlen}"),
                IPv6Interface(f"{WIRE_V6.ip + 1}/{WIRE_V6.network.prefixlen}"),
            ),
        )
        namespaces.forward(self.netns)
        namespaces.default_route(netns, WIRE_V4, WIRE_V6)
        outside = Pod(
            "outside",
            labels={},
            v4=WIRE_V4.ip + 1,
            v6=WIRE_V6.ip + 1,
            netns=netns,
            cgroup=self._folder("outside"),
        )
        self._stack.callback(outside.close)
        self.outside = outside

    def _take_number(self) -> int:
        self._next += 1
        return self._next - 1

    def _namespace(self, name: str) -> None:
        self._stack.callback(namespaces.delete, name)
        namespaces.create(name)

    def _folder(self, below: str) -> Path:
        folder = cgroups.mount_point() / self.id / below
        folder.mkdir(parents=True)
        return folder

    def _place(self, name: str, netns: str, below: str) -> Place:
        place = Place(name, netns=netns, cgroup=self._folder(below))
        self._stack.callback(place.close)
        return place

    def _adopt(self, pod: Pod) -> Pod:
        self._stack.callback(pod.close)
        self.workloads.append(pod)
        return pod


def sweep() -> None:
    """Remove what nodes left behind whose process was killed outright. Live ones are kept."""
    for folder in cgroups.abandoned(PREFIX):
        with suppress(cgroups.CgroupError, namespaces.NamespaceError, OSError):
            cgroups.kill(folder)
            directory = Path(tempfile.gettempdir()) / folder.name
            mounts.unmount(directory / "bpf")
            shutil.rmtree(directory, ignore_errors=True)
            for path in namespaces.RUN.glob(f"{folder.name}*"):
                namespaces.delete(path.name)
            cgroups.remove(folder)
