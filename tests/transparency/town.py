"""A place without the datapath and two that it covers, on one node with one agent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml
from prometheus_client.parser import text_string_to_metric_families

from l7proxy.demo import namespaces
from l7proxy.demo.agents import Agent, AgentError
from l7proxy.demo.places import Place
from l7proxy.demo.pods import WIRE_V4, Node

METRICS = (str(WIRE_V4.ip), 9965)
"""Asked from outside, so that the asking is no covered connection."""

START_PATIENCE = 60.0
"""Seconds until the agent serves: the machine may be busy."""

DIRECT, SPLICE, KERNEL = "direct", "splice", "kernel"
POLICY: dict[str, Any] = {
    "apiVersion": "l7proxy.io/v1alpha1",
    "kind": "L7Policy",
    "metadata": {"name": "kernel"},
    "spec": {
        "endpointSelector": {"matchLabels": {"app": "servers"}},
        "ingress": [
            {
                "fromEntities": ["all"],
                "toPorts": [
                    {
                        "ports": [{"port": "1", "endPort": 65535, "protocol": "TCP"}],
                        "rules": {"http": [{"name": "all"}]},
                    }
                ],
            }
        ],
    },
}
"""Every request to every port is allowed, by a rule that has to be asked."""


class Seen(NamedTuple):
    """Connections with both ends enrolled, connections on the kernel road, bytes moved socket to
    socket, and bytes of enrolled connections that went by TCP.
    """

    paired: int
    judged: int
    redirected: int
    by_tcp: int

    def since(self, before: Seen) -> Seen:
        """The difference."""
        return Seen(*(new - old for new, old in zip(self, before, strict=True)))


SERIES = (
    ("l7proxy_datapath_events_total", "paired"),
    ("l7proxy_connections_total", "kernel"),
    ("l7proxy_short_circuited_bytes_total",),
    ("l7proxy_datapath_events_total", "tcp_bytes"),
)


class Town:
    """``places`` by way.

    ``direct`` has the same links and addresses and lies outside what the agent covers. No rule
    concerns ``splice``. On the way ``kernel`` an HTTP rule governs all ports of ``servers``: a
    workload always reaches itself, so clients and servers are two, in the node's namespace.
    """

    def __init__(self, node: Node) -> None:
        # A place of its own: what is in the others' cgroups is killed behind each suite.
        self._reader = Place("reader", netns=node.outside.netns)
        self.servers = node.add_service("servers")
        self.places: Mapping[str, Place] = {
            DIRECT: node.outside,
            SPLICE: node.add_pod(SPLICE),
            KERNEL: node.add_service("clients"),
        }
        for netns in (node.outside.netns, self.places[SPLICE].netns):
            # What leads nowhere fails at once, as in the node's own namespace.
            assert netns is not None
            namespaces.batch(netns, ["route del default", "route del ::/0"])
        node.write_workloads()
        (node.directory / "policies" / "kernel.yaml").write_text(yaml.safe_dump(POLICY))
        config = node.directory / "l7proxy.yaml"
        listen = f"{METRICS[0]}:{METRICS[1]}"
        settings = node.config(metrics={"listen": listen}, access_log="off")
        config.write_text(yaml.safe_dump(settings))
        self.agent = Agent(node.agent, config)
        self.agent.start(START_PATIENCE)

    def close(self) -> None:
        """Stop the agent."""
        self._reader.close()
        self.agent.stop()

    def seen(self) -> Seen:
        """What the datapath has seen since the agent started."""
        counts = self._metrics()
        return Seen(*(counts[series] for series in SERIES))

    @contextlib.contextmanager
    def refusals(self) -> Iterator[set[str]]:
        """The reasons for which requests were refused inside the block."""
        reasons: set[str] = set()
        before = self._metrics()
        yield reasons
        for series, count in self._metrics().items():
            if series[0] == "hubble_drop_total" and count > before.get(series, 0):
                reasons.add(series[-1])

    def _metrics(self) -> dict[tuple[str, ...], int]:
        """By name and values of labels, which are in the order of their names."""
        answer = self._reader.http("GET", *METRICS, "/metrics")
        if answer.status != 200:
            raise AgentError(f"no metrics: {answer}")
        return {
            (sample.name, *sample.labels.values()): int(sample.value)
            for family in text_string_to_metric_families(answer.body.decode())
            for sample in family.samples
        }


@contextlib.contextmanager
def town() -> Iterator[Town]:
    """Ends everything that it has started."""
    with Node("transparency") as node:
        made = Town(node)
        try:
            yield made
        finally:
            made.close()
