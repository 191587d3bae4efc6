"""Asking the running agent: HTTP over the Unix socket in its state directory."""

from __future__ import annotations

import http.client
import json
import socket
from http import HTTPStatus
from pathlib import Path
from typing import Any

from l7proxy.cli.errors import CommandError

_SECONDS = 10.0
_USAGE = 2


class NoAgent(CommandError):
    """No agent answers on the socket."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_SECONDS)
        self.sock.connect(str(self._path))


def ask(path: Path, question: str, body: Any = None) -> Any:
    """The JSON document that the agent on the socket ``path`` answers to ``question``.

    GET without ``body``, else POST of ``body`` as JSON. Raises NoAgent, and CommandError with
    what the agent said if it refused.
    """
    connection = _UnixConnection(path)
    try:
        if body is None:
            connection.request("GET", question)
        else:
            text = json.dumps(body)
            connection.request("POST", question, text, {"Content-Type": "application/json"})
        response = connection.getresponse()
        status, answer = response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        raise NoAgent(_no_agent(path, error)) from None
    finally:
        connection.close()
    try:
        document = json.loads(answer)
    except ValueError:
        raise CommandError(f"{path}: the agent's answer is not JSON") from None
    if status != 200:
        said = document.get("error") if isinstance(document, dict) else None
        # A question that cannot be asked is wrong usage, here as without an agent.
        code = _USAGE if status == HTTPStatus.BAD_REQUEST else 1
        raise CommandError(f"the agent says: {said or f'status {status}'}", code)
    return document


def answers(path: Path) -> bool:
    """Whether an agent answers on the socket ``path``."""
    try:
        ask(path, "/status")
    except CommandError as error:
        return not isinstance(error, NoAgent)
    return True


def _no_agent(path: Path, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return f"{path}: permission denied; ask as the user that runs the agent"
    reason = (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
    return f"no agent answers at {path} ({reason}); start one with: l7proxy run"
