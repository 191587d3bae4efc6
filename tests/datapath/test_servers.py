"""Real servers and clients get the same answers with and without the datapath.

Seen to fail: with a byte of each short-circuited message cut off in bpf/redirect.c.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from l7proxy.demo import servers
from l7proxy.demo.places import stop
from l7proxy.demo.pods import Node
from tests.datapath.covered import Covered

pytestmark = [pytest.mark.needs_ebpf, pytest.mark.needs_command("nginx", "node", "curl")]

MIB = 1 << 20
PORTS = {"nginx": 8001, "http.server": 8002, "asyncio": 8003, "node": 8004}
ECHO = """
import asyncio, sys

async def answer(reader, writer):
    while head := await reader.readuntil(b"\\r\\n\\r\\n"):
        length = 0
        for line in head.lower().split(b"\\r\\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % (length or len(head)))
        if not length:
            writer.write(head.split(b"\\r\\n")[0].ljust(len(head)))
        while length:
            data = await reader.read(length)
            length -= len(data)
            writer.write(data)
            await writer.drain()

async def main():
    server = await asyncio.start_server(answer, sys.argv[1], int(sys.argv[2]))
    await server.serve_forever()

asyncio.run(main())
"""
PYTHON = """
import hashlib, http.client, sys
connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=20)
body = open(sys.argv[3], "rb").read()
for method, target, data in [("GET", "/small", None), ("GET", "/large", None),
                             ("POST", "/small", body), ("GET", "/none", None)]:
    connection.request(method, target, data)
    answer = connection.getresponse()
    text = answer.read()
    print(answer.status, answer.reason, len(text), hashlib.sha256(text).hexdigest())
"""
NODE = """
const http = require('http'), fs = require('fs'), crypto = require('crypto');
const [host, port, file] = process.argv.slice(1);
const agent = new http.Agent({keepAlive: true, maxSockets: 1});
const body = fs.readFileSync(file);
const all = [['GET', '/small'], ['GET', '/large'], ['POST', '/small', body], ['GET', '/none']];
function next() {
  const one = all.shift();
  if (!one) return agent.destroy();
  const headers = one[2] ? {'Content-Length': one[2].length} : {};
  const options = {host, port, agent, method: one[0], path: one[1], headers};
  http.request(options, (answer) => {
    const hash = crypto.createHash('sha256');
    let size = 0;
    answer.on('data', (part) => { hash.update(part); size += part.length; });
    answer.on('end', () => {
      console.log(answer.statusCode, answer.statusMessage, size, hash.digest('hex'));
      next();
    });
  }).end(one[2]);
}
next();
"""
CLIENTS = {
    "curl": lambda host, port, file: [
        *(
            "bash",
            "-o",
            "pipefail",
            "-c",
            'curl "$@" | sha256sum',
            "curl",
            "-sS",
            "-g",
            "-m",
            "20",
            "-w",
            "%{http_code} %{size_download}\n",
        ),
        *(f"http://{host}:{port}/{name}" for name in ("small", "large", "none")),
        *("--next", "-sS", "-g", "-m", "20", "-H", "Expect:", "--data-binary", f"@{file}"),
        f"http://{host}:{port}/small",
    ],
    "python": lambda host, port, file: [
        *(sys.executable, "-I", "-c", PYTHON, host.strip("[]"), str(port), str(file))
    ],
    "node": lambda host, port, file: [
        *("node", "-e", NODE, host.strip("[]"), str(port), str(file))
    ],
}


@contextmanager
def serving(node: Node, folder: Path) -> Iterator[Path]:
    """All servers in pod b, IPv4 and IPv6; the file to upload."""
    _, b = node.workloads
    site = folder / "nginx" / "www"
    site.mkdir(parents=True)
    upload = folder / "upload"
    for path, size in ((site / "small", 20), (site / "large", 4 * MIB), (upload, 3 * MIB)):
        path.write_bytes(random.Random(size).randbytes(size))
    for parent in (folder, node.directory):
        parent.chmod(0o755)
    started = []
    for family, host in (("4", b.ip), ("6", b.ip6)):
        if family == "4":
            where = [(b.ip, PORTS["nginx"]), (b.ip6, PORTS["nginx"])]
            started.append(servers.nginx(b, folder / "nginx", where).process)
        named = folder / f"python{family}", "one", host, PORTS["http.server"]
        started.append(servers.python(b, *named).process)
        named = folder / f"node{family}", "two", host, PORTS["node"]
        started.append(servers.node(b, *named).process)
        argv = [sys.executable, "-I", "-c", ECHO, host, str(PORTS["asyncio"])]
        echo = b.popen(argv)
        servers.wait_ready(b, echo, [(host, PORTS["asyncio"])], folder)
        started.append(echo)
    try:
        yield upload
    finally:
        for process in started:
            stop(process)


def answers(node: Node, upload: Path) -> dict[str, str]:
    """What every client gets from every server, by names."""
    a, b = node.workloads
    found = {}
    for client, command in CLIENTS.items():
        for server, port in PORTS.items():
            for host in (b.ip, f"[{b.ip6}]"):
                done = a.run(command(host, port, upload))
                assert done.returncode == 0, (client, server, done.stderr)
                found[f"{client} {server} {host}"] = done.stdout
    return found


def test_answers_are_the_same(node: Node) -> None:
    for name in ("a", "b"):
        node.add_pod(name)
    with serving(node, node.directory / "plain") as upload:
        plain = answers(node, upload)
    covered = Covered(node)
    covered.start()
    covered.apply("")
    with serving(node, node.directory / "covered") as upload, covered.counted() as risen:
        seen = answers(node, upload)
    covered.end()
    assert seen == plain
    assert risen["paired"] >= len(plain)
    assert risen["short_circuit_bytes"] > 20 * MIB
    print(risen)
