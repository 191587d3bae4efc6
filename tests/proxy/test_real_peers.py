"""Servers and clients that others wrote, unchanged, at both ends of the proxy."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import h11
import pytest

from tests.proxy.harness import Proxy, proxied, run

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
CURL = shutil.which("curl")
PAGE = bytes(range(256)) * 4000

NGINX_CONF = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log; {user}
events {{ worker_connections 256; }}
http {{
  access_log off; keepalive_requests 5;
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  server {{
    listen 127.0.0.1:{port};
    location / {{ root {folder}/www; }}
    location /chunked/ {{ alias {folder}/www/; gzip on; gzip_types *; gzip_min_length 1; }}
  }}
}}
"""


async def output(*command: str) -> bytes:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0, command
    return out


@contextlib.asynccontextmanager
async def served(folder: Path, kind: str) -> AsyncIterator[Proxy]:
    """A proxy whose backend is a real server that serves ``page``, at the same address."""
    async with proxied(folder) as proxy:
        # The port that the policy is about, now given to somebody else.
        port = proxy.backend.port
        await proxy.backend.stop()
        www = folder / "www"
        www.mkdir()
        (www / "page").write_bytes(PAGE)
        if kind == "nginx":
            user = "user root;" if os.geteuid() == 0 else ""
            conf = folder / "nginx.conf"
            conf.write_text(NGINX_CONF.format(folder=folder, port=port, user=user))
            command = [str(NGINX), "-c", str(conf)]
        else:
            command = [sys.executable, "-m", "http.server", str(port)]
            command += ["--bind", "127.0.0.1", "--directory", str(www), "--protocol", "HTTP/1.1"]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            await listening(port)
            yield proxy
        finally:
            process.terminate()
            await process.wait()


async def listening(port: int) -> None:
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.01)


@pytest.mark.skipif(NGINX is None, reason="needs nginx")
def test_nginx_behind_an_h11_client(tmp_path: Path) -> None:
    """nginx closes its connection after five requests; the client's goes on."""

    async def test() -> None:
        async with served(tmp_path, "nginx") as proxy:
            client = await proxy.client()
            connection = h11.Connection(h11.CLIENT)
            paths = [b"/page", b"/missing", b"/page", b"/chunked/page"] * 4
            for path in paths:
                headers = [("Host", "users"), ("Accept-Encoding", "gzip")]
                request = h11.Request(method="GET", target=path, headers=headers)
                await client.send(connection.send(request) or b"")
                await client.send(connection.send(h11.EndOfMessage()) or b"")
                content = b""
                status = 0
                while True:
                    event = connection.next_event()
                    if event is h11.NEED_DATA:
                        connection.receive_data(await client.reader.read(65536))
                    elif isinstance(event, h11.Response):
                        status = event.status_code
                    elif isinstance(event, h11.Data):
                        content += bytes(event.data)
                    elif isinstance(event, h11.EndOfMessage):
                        break
                assert status == (404 if path == b"/missing" else 200)
                if path == b"/page":
                    assert content == PAGE
                connection.start_next_cycle()
            assert proxy.witness.connects >= 3

    run(test())


@pytest.mark.skipif(CURL is None, reason="needs curl")
@pytest.mark.parametrize("server", ["nginx", "http.server"])
def test_curl(tmp_path: Path, server: str) -> None:
    if server == "nginx" and NGINX is None:
        pytest.skip("needs nginx")

    async def test() -> None:
        async with served(tmp_path, server) as proxy:
            url = f"http://127.0.0.1:{proxy.port}/page"
            assert await output("curl", "-sS", "--fail", url) == PAGE
            assert await output("curl", "-sS", "--fail", "--http1.0", url) == PAGE
            twice = await output("curl", "-sS", "--fail", url, url)
            assert twice == PAGE * 2
            head = await output("curl", "-sS", "--fail", "--head", url)
            assert b"Content-Length: %d" % len(PAGE) in head
            # A large upload that the server does not want; curl sends Expect: 100-continue.
            big = tmp_path / "big"
            big.write_bytes(bytes(3_000_000))
            status = await output(
                "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-T", str(big), url
            )
            assert status in (b"413", b"501")

    run(test())
