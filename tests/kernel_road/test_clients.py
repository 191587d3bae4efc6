"""Real clients get the answers that they would get from the proxy, whichever way their bytes go.

Seen to fail: with another text in l7proxy/http/answers.py than the kernel's tables were filled with
nearly all; with ``found->keep = 0`` in bpf/message.h where a refusal keeps the connection, those
that count connections.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest

from l7proxy.demo.places import Place
from tests.datapath.covered import PATIENCE
from tests.kernel_road.answers import Answers
from tests.kernel_road.town import PORT, WAYS, Town, get

pytestmark = pytest.mark.needs_ebpf

REFUSAL = "Access denied\r\n"
STRETCHED = re.compile(r" {1024,}(?=\r\n)")
"""Fills a refusal that is in the place of much content."""
MEBIBYTE = 1 << 20
LONG_POST = ["-d", "x=" + "y" * 30_000]
needs_curl = pytest.mark.needs_command("curl")


def curl(town: Town, way: str, *arguments: str) -> tuple[list[list[str]], str]:
    """Status and number of new connections of each transfer, and what was received."""
    wanted = "%{stderr}%{http_code} %{num_connects}\n"
    command = ["curl", "-sS", "--max-time", "20", "-w", wanted, *arguments]
    with town.place(way).popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        text, report = process.communicate()
    return [line.split() for line in report.decode().splitlines()], text.decode()


def url(town: Town, path: str) -> str:
    return f"http://{town.server.ip}:{PORT}{path}"


@needs_curl
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "arguments",
    [[], ["-d", "name=value"], LONG_POST, ["--http1.0"], ["-T", "-"]],
    ids=["GET", "POST", "POST of 30 kB", "HTTP/1.0", "chunked"],
)
def test_curl(town: Town, way: str, arguments: list[str]) -> None:
    with town.recorder() as server:
        assert curl(town, way, *arguments, url(town, "/ok-1")) == ([["200", "1"]], "/ok-1\n")
        transfers, text = curl(town, way, *arguments, url(town, "/no"))
        assert transfers == [["403", "1"]]
        assert (STRETCHED.sub("", text) if arguments == LONG_POST else text) == REFUSAL
        (request,) = server.requests(1)
    body = arguments[1] if arguments[:1] == ["-d"] else ""
    assert (request.target, request.body) == ("/ok-1", body.encode())


@needs_curl
@pytest.mark.parametrize("way", WAYS)
def test_curl_head(town: Town, way: str) -> None:
    with town.recorder():
        for path, status in (("/ok-1", "200"), ("/no", "403")):
            (transfer,), heads = curl(town, way, "-I", url(town, path))
            assert transfer == [status, "1"]
            assert heads.startswith(f"HTTP/1.1 {status} ")
            assert "Content-Length: " in heads


@needs_curl
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("expect", ["Expect: 100-continue", "Expect:"])
def test_curl_with_a_large_body(town: Town, way: str, expect: str) -> None:
    """With and without waiting for 100; a refused client learns why although it is sending."""
    body = town.node.directory / "body"
    body.write_bytes(b"b" * MEBIBYTE)
    arguments = ["-H", expect, "--data-binary", f"@{body}"]
    with town.recorder() as server:
        found = curl(town, way, *arguments, url(town, "/ok-1"))
        assert found == ([["200", "1"]], "/ok-1\n")
        (request,) = server.requests(1)
        assert request.body == body.read_bytes()
        for _ in range(5):
            transfers, text = curl(town, way, *arguments, url(town, "/no"))
            assert transfers[-1][0] == "403"
            assert STRETCHED.sub("", text) == REFUSAL
        assert all(b"POST /no" not in record.data for record in server.records)


@needs_curl
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("arguments", [[], ["-d", "name=value"]], ids=["GET", "POST"])
def test_curl_goes_on_after_a_refusal(town: Town, way: str, arguments: list[str]) -> None:
    """On the same connection, wherever the refusal was answered."""
    paths = ("/no", "/ok-1", "/no", "/no", "/ok-2")
    with town.recorder() as server:
        transfers, text = curl(town, way, *arguments, *(url(town, path) for path in paths))
        assert transfers == [["403", "1"], ["200", "0"], ["403", "0"], ["403", "0"], ["200", "0"]]
        assert text == f"{REFUSAL}/ok-1\n{REFUSAL}{REFUSAL}/ok-2\n"
        assert [request.target for request in server.requests(2)] == ["/ok-1", "/ok-2"]


PYTHON = """
import http.client, json, sys, urllib.error, urllib.request
host, port = sys.argv[1], int(sys.argv[2])
found = []
kept = http.client.HTTPConnection(host, port, timeout=10)
long = b"x" * 3000
for path, body in (("/ok-1", None), ("/no", long), ("/ok-2", long), ("/no", None), ("/ok-4", None)):
    kept.request("POST" if body else "GET", path, body)
    answer = kept.getresponse()
    found.append([answer.status, answer.read().decode(), answer.will_close])
try:
    urllib.request.urlopen(f"http://{host}:{port}/no", timeout=10)
except urllib.error.HTTPError as error:
    found.append([error.code, error.read().decode(), True])
with urllib.request.urlopen(f"http://{host}:{port}/ok-3", b"data", timeout=10) as answer:
    found.append([answer.status, answer.read().decode(), True])
print(json.dumps(found))
"""


def program(place: Place, command: list[str], town: Town) -> Any:
    """What a program of the place prints, given the server's address."""
    done = place.run([*command, town.server.ip, str(PORT)])
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("way", WAYS)
def test_python(town: Town, way: str) -> None:
    """http.client sends a body apart from its head, so that by TCP a refusal of the head ends the
    connection; a request without a body does not. urllib sends both together."""
    with town.recorder() as server:
        found = program(town.place(way), [sys.executable, "-I", "-c", PYTHON], town)
        targets = sorted(request.target for request in server.requests(4))
        assert len(server.records) == (3 if way == "redirect" else 4)
    assert [each[:2] for each in found] == [
        [200, "/ok-1\n"],
        [403, REFUSAL],
        [200, "/ok-2\n"],
        [403, REFUSAL],
        [200, "/ok-4\n"],
        [403, REFUSAL],
        [200, "/ok-3\n"],
    ]
    assert [each[2] for each in found[:5]] == [False, way == "tcp", False, False, False]
    assert targets == ["/ok-1", "/ok-2", "/ok-3", "/ok-4"]


NODE = """
const http = require("http");
const [host, port] = process.argv.slice(1);
const agent = new http.Agent({keepAlive: true, maxSockets: 1});
const ask = (path, body) => new Promise((done) => {
  const options = {host, port, path, agent, method: body ? "POST" : "GET"};
  const request = http.request(options, (answer) => {
    let text = "";
    answer.on("data", (piece) => text += piece);
    answer.on("end", () => done([answer.statusCode, text]));
  });
  request.on("error", (error) => done([0, error.code]));
  if (body) request.write(body.slice(0, 10));
  if (body) setImmediate(() => request.end(body.slice(10))); else request.end();
});
(async () => {
  const found = [];
  const body = "x".repeat(5000);
  for (const each of [["/no"], ["/ok-1", body], ["/ok-2"], ["/no", body], ["/ok-3"]])
    found.push(await ask(...each));
  console.log(JSON.stringify(found));
  process.exit();
})();
"""


@pytest.mark.needs_command("node")
@pytest.mark.parametrize("way", WAYS)
def test_node(town: Town, way: str) -> None:
    """A body is sent in chunks as it comes."""
    with town.recorder() as server:
        found = program(town.place(way), ["node", "-e", NODE], town)
        bodies = [len(request.body) for request in server.requests(3)]
    assert found == [
        [403, REFUSAL],
        [200, "/ok-1\n"],
        [200, "/ok-2\n"],
        [403, REFUSAL],
        [200, "/ok-3\n"],
    ]
    assert bodies == [5000, 0, 0]


ASYNC = """
import asyncio, json, sys
paths = ("/ok-1", "/ok-2", "/no", "/ok-3")
async def main():
    reader, writer = await asyncio.open_connection(sys.argv[1], int(sys.argv[2]))
    for path in paths:
        fields = "Host: x\\r\\nUser-Agent: " + "x" * 70
        writer.write(f"GET {path} HTTP/1.1\\r\\n{fields}\\r\\n\\r\\n".encode())
        await writer.drain()
    found = []
    for _ in paths:
        try:
            head = (await reader.readuntil(b"\\r\\n\\r\\n")).decode()
        except asyncio.IncompleteReadError as error:
            assert not error.partial
            break
        size = int(head.partition("Content-Length: ")[2].split("\\r\\n")[0])
        found.append([int(head.split()[1]), (await reader.readexactly(size)).decode()])
        if "Connection: close" in head:
            break
    print(json.dumps(found))
asyncio.run(asyncio.wait_for(main(), 10))
"""


@pytest.mark.parametrize("way", WAYS)
def test_asyncio_pipeline(town: Town, way: str) -> None:
    """A send() for each request, without waiting; answers come in their order. A refusal may end
    the connection: by TCP if the next request is too close behind; else without an answer if it
    would meet one that is being delivered."""
    with town.recorder():
        found = program(town.place(way), [sys.executable, "-I", "-c", ASYNC], town)
    expected = [[200, "/ok-1\n"], [200, "/ok-2\n"], [403, REFUSAL], [200, "/ok-3\n"]]
    assert found in (expected, expected[:3], *([expected[:2]] if way == "redirect" else []))


def posted(sock: socket.socket, path: str, body: bytes) -> tuple[int, bytes]:
    """As Go's client: the head in one write, the body in another, from another thread."""
    length = b"Content-Length: %d\r\n\r\n" % len(body)
    for part in (get(path, "POST").removesuffix(b"\r\n") + length, body):
        thread = threading.Thread(target=sock.sendall, args=(part,))
        thread.start()
        thread.join(PATIENCE)
    return Answers(sock).next().said


@pytest.mark.parametrize("way", WAYS)
def test_body_from_another_thread(town: Town, way: str) -> None:
    with town.recorder() as server:
        sock = town.connect(way)
        with sock:
            for number in range(20):
                answer = posted(sock, f"/ok-{number}", b"b" * 5000)
                assert answer == (200, b"/ok-%d\n" % number)
            assert posted(sock, "/no", b"b" * 5000) == (403, REFUSAL.encode())
        assert all(len(request.body) == 5000 for request in server.requests(20))
