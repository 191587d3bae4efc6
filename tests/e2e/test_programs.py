"""Programs as they are: nginx, Python and Node as servers; curl, Python and Node as clients.

Each pair meets on every road: through the proxy, short-circuited, and judged by the kernel.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
import yaml

from l7proxy.demo import servers
from l7proxy.demo.agents import Agent
from l7proxy.demo.pods import Node, Pod

pytestmark = [
    pytest.mark.needs_ebpf,
    *(pytest.mark.needs_command(name) for name in ("nginx", "node", "curl")),
]

BLOB = hashlib.shake_256(b"l7proxy").digest(3_000_000)
PORT = {"proxy": 8080, "splice": 8081, "kernel": 8082}

POLICY = """\
apiVersion: l7proxy.io/v1alpha1
kind: L7Policy
metadata: {name: programs}
spec:
  endpointSelector: {matchLabels: {role: server}}
  ingress:
  - toPorts: [{ports: [{port: "8080"}], rules: {datapath: proxy, http: [{path: "/.*"}]}}]
  - toPorts: [{ports: [{port: "8081"}]}]
  - toPorts: [{ports: [{port: "8082"}], rules: {http: [{path: "/.*"}]}}]
"""

PYTHON_SERVER = """
import http.server, pathlib, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = pathlib.Path(sys.argv[2]).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments): pass
http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[3])), Handler).serve_forever()
"""
NODE_SERVER = """
const [host, file, port] = process.argv.slice(1), fs = require('fs');
require('http').createServer((q, r) => fs.createReadStream(file).pipe(r)).listen(+port, host);
"""

CLIENTS = {
    "curl": ["sh", "-c", "curl -sS --fail $0 $0 | sha256sum | cut -d' ' -f1"],
    "python": [
        sys.executable,
        "-c",
        "import hashlib, sys, urllib.request as u; h = hashlib.sha256()\n"
        "for _ in range(2): h.update(u.urlopen(sys.argv[1]).read())\n"
        "print(h.hexdigest())",
    ],
    "node": [
        "node",
        "-e",
        "(async () => { const h = require('crypto').createHash('sha256');"
        " for (let i = 0; i < 2; i++)"
        "  h.update(Buffer.from(await (await fetch(process.argv[1])).arrayBuffer()));"
        " console.log(h.digest('hex')); })()",
    ],
}


class Programs:
    """One pod for each kind of server, each on both ports, and a client."""

    def __init__(self, node: Node) -> None:
        self.client = node.add_pod("client")
        self.blob = node.directory / "blob" / "www" / "blob"
        self.blob.parent.mkdir(parents=True)
        self.blob.write_bytes(BLOB)
        self.servers = {
            name: node.add_pod(name, {"role": "server"}) for name in ("nginx", "python", "node")
        }
        nginx = self.servers["nginx"]
        endpoints = [(nginx.ip, port) for port in PORT.values()]
        servers.nginx(nginx, node.directory / "blob", endpoints)
        for port in PORT.values():
            self._start("python", [sys.executable, "-c", PYTHON_SERVER], port, node.directory)
            self._start("node", ["node", "-e", NODE_SERVER], port, node.directory)
        node.write_workloads()
        (node.directory / "policies" / "programs.yaml").write_text(POLICY)
        config = node.directory / "l7proxy.yaml"
        config.write_text(yaml.safe_dump(node.config()))
        self.agent = Agent(node.agent, config)
        self.agent.start()
        self.roads = {
            road: self.agent.explain(
                self.client.labels, self.servers["nginx"].labels, port, "GET", "/blob"
            ).road
            for road, port in PORT.items()
        }

    def _start(self, name: str, argv: list[str], port: int, directory: Path) -> None:
        pod: Pod = self.servers[name]
        log = directory / f"{name}-{port}"
        with log.open("wb") as stream:
            process = pod.popen([*argv, pod.ip, str(self.blob), str(port)], stderr=stream)
        servers.wait_ready(pod, process, [(pod.ip, port)], log)


@pytest.fixture(scope="module")
def programs(node: Node) -> Programs:
    return Programs(node)


@pytest.mark.parametrize("road", PORT)
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("server", ["nginx", "python", "node"])
def test_two_downloads_arrive_whole(
    programs: Programs, server: str, client: str, road: str
) -> None:
    pod = programs.servers[server]
    assert programs.roads[road] == road
    done = programs.client.run([*CLIENTS[client], f"http://{pod.ip}:{PORT[road]}/blob"])
    assert done.stdout.strip() == hashlib.sha256(BLOB + BLOB).hexdigest(), done.stderr
