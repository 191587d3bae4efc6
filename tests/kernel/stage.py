"""Where the cases are played: pods with a running agent, and a road for each way of a request."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import yaml

from l7proxy.compiler.admission import compile_admission
from l7proxy.compiler.tables import Tables
from l7proxy.demo.agents import Agent
from l7proxy.demo.places import Place
from l7proxy.demo.pods import Node, Pod
from l7proxy.http.request import Request
from l7proxy.policy.decide import Decider, admit
from l7proxy.policy.documents import load_paths
from l7proxy.policy.verdict import Verdict
from l7proxy.workloads.documents import load
from tests.datapath.covered import LIMITS, PATIENCE
from tests.kernel.differences import Way
from tests.kernel.play import Road
from tests.kernel.recorder import Server

KERNEL_PORT, PROXY_PORT = 8080, 8081

_LINGER = 1.0  # seconds: nobody reads as slowly here
_PATIENT_START = 60.0  # seconds; the machine may be busy with other tests

_METRICS_PORT = 9965
_EVENTS = re.compile(
    r'^l7proxy_(?:datapath_events|connections)_total{(?:event|road)="(\w+)"} (\S+)$', re.MULTILINE
)
_RULES = """        http:
        - {name: plain, method: "GET|HEAD|OPTIONS|PUT", path: "[^~]*"}
        - {name: hosted, method: POST, host: "users(:80)?"}
        - {name: keyed, headers: ["X-Key: v"]}
        - {name: no-matrix, path: ".*;.*", action: block}
        - {name: no-delete, method: DELETE, action: block}
        - {name: not-w, headers: ["X-Key: w"], action: block}
"""
POLICY = f"""
apiVersion: l7proxy.io/v1alpha1
kind: L7Policy
metadata: {{name: server}}
spec:
  endpointSelector: {{matchLabels: {{app: server}}}}
  ingress:
  - fromEntities: [all]
    toPorts:
    - ports: [{{port: "{KERNEL_PORT}", protocol: TCP}}]
      rules:
{_RULES}
    - ports: [{{port: "{PROXY_PORT}", protocol: TCP}}]
      rules:
        datapath: proxy
{_RULES}
"""


@dataclass(frozen=True, eq=False)
class Stage:
    """``roads`` by name. ``tables`` and ``decide``: the policy, as each way reads it."""

    agent: Agent
    node: Node
    roads: Mapping[str, Road]
    tables: Tables
    decide: Callable[[Request], Verdict]

    def counters(self) -> Counter[str]:
        """What the agent's metrics say of the kernel's programs; ``kernel`` and ``proxy`` are
        connections."""
        told = self.node.host.http("GET", "127.0.0.1", _METRICS_PORT, "/metrics").body.decode()
        found = Counter({name: int(float(value)) for name, value in _EVENTS.findall(told)})
        assert "judged" in found or "kernel" in found, told
        return found


@contextmanager
def staged() -> Iterator[Stage]:
    """``pod`` and ``guest`` are covered clients, one in its own namespace and one on loopback of
    the server's; ``outside`` is not covered; ``proxied`` is ``pod`` on the port of the proxy."""
    with Node("meaning") as node, ExitStack() as stack:
        server, client = node.add_pod("server", {"app": "server"}), node.add_pod("client")
        inn = node.add_pod("inn", {"app": "server"})
        guest = node.add_service("guest", pod=inn)
        workloads = node.write_workloads()
        policy = node.directory / "policies" / "server.yaml"
        policy.write_text(POLICY)
        config = node.directory / "l7proxy.yaml"
        config.write_text(
            yaml.safe_dump(
                node.config(limits=LIMITS | {"linger_timeout": _LINGER}, proxy={"workers": 1})
            )
        )
        for place in (client, inn, node.outside, server):
            _many_ports(place)

        def serve(pod: Pod, port: int) -> Server:
            return stack.enter_context(Server(pod.listen("0.0.0.0", port)))

        def road(
            name: str, place: Place, host: str, server: Server, way: Way | None = None
        ) -> Road:
            port = PROXY_PORT if way is Way.PROXY else KERNEL_PORT
            return Road(name, lambda: place.connect(host, port, timeout=PATIENCE), server, way)

        kernel, behind = serve(server, KERNEL_PORT), serve(server, PROXY_PORT)
        near = serve(inn, KERNEL_PORT)
        agent = Agent(node.agent, config)
        agent.start(_PATIENT_START)
        stack.callback(agent.stop)
        found = {each.name: each for each in load(workloads).workloads}
        admission = admit(load_paths([policy]), (), found["client"], found["server"], KERNEL_PORT)
        decider = Decider(admission, ())
        roads = (
            road("pod", client, server.ip, kernel),
            road("guest", guest, "127.0.0.1", near),
            road("outside", node.outside, server.ip, kernel, Way.TCP),
            road("proxied", client, server.ip, behind, Way.PROXY),
        )
        yield Stage(
            agent,
            node,
            {each.name: each for each in roads},
            compile_admission(admission),
            decider.decide,
        )


def _many_ports(place: Place) -> None:
    """Thousands of short connections: each leaves a port behind for a minute."""
    script = (
        "echo 1 >/proc/sys/net/ipv4/tcp_tw_reuse && "
        "echo 1024 65000 >/proc/sys/net/ipv4/ip_local_port_range"
    )
    done = place.run(["sh", "-c", script])
    assert done.returncode == 0, done.stderr
