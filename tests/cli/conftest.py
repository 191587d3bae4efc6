"""Running commands, and an agent that gives prepared answers."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from l7proxy.cli.main import execute
from tests.cli.commands import Done, FakeAgent


@pytest.fixture
def l7proxy(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Runs a command line in this process."""

    def run(*arguments: str | Path) -> Done:
        capsys.readouterr()
        code = execute([str(argument) for argument in arguments])
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[FakeAgent]:
    """An admin socket; ``config`` is the configuration that leads to it."""
    fake = FakeAgent(tmp_path / "l7proxy.yaml")
    fake.config.write_text("state: run\n")
    (tmp_path / "run").mkdir()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, asked: Any) -> None:
            fake.asked.append((self.command, self.path, asked))
            status, document = fake.answers[self.path]
            body = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            for name, value in fake.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return "unix"

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            pass

    with socketserver.UnixStreamServer(str(tmp_path / "run" / "admin.sock"), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield fake
        server.shutdown()
        thread.join()
