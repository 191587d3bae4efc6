"""Asking the running agent: HTTP over the Unix socket in its state directory."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

from l7proxy.cli.errors import CommandError

_SECONDS = 10.0
_USAGE = 2


class NoAgent(CommandError):
    """No agent answers on the socket."""


class BadQuestion(CommandError):
    """The agent cannot be asked this, which is wrong usage here as without an agent; ``said`` are
    its words."""

    def __init__(self, said: str) -> None:
        super().__init__(_said(said), _USAGE)
        self.said = said


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, seconds: float | None = _SECONDS) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._path = path
        self._seconds = seconds

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_SECONDS)
        self.sock.connect(str(self._path))
        self.sock.settimeout(self._seconds)


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
    return _document(path, status, answer)


@contextlib.contextmanager
def stream(path: Path, question: str) -> Iterator[http.client.HTTPResponse]:
    """The open answer to a GET, to be read for as long as it goes on; it may be silent for long.

    Raises NoAgent and CommandError as ``ask``.
    """
    connection = _UnixConnection(path, None)
    try:
        try:
            connection.request("GET", question)
            response = connection.getresponse()
            refused = b"" if response.status == HTTPStatus.OK else response.read()
        except (OSError, http.client.HTTPException) as error:
            raise NoAgent(_no_agent(path, error)) from None
        if refused:
            _document(path, response.status, refused)
        yield response
    finally:
        connection.close()


def _document(path: Path, status: int, answer: bytes) -> Any:
    """Raises CommandError with what the agent said if it refused."""
    try:
        document = json.loads(answer)
    except ValueError:
        raise CommandError(f"{path}: the agent's answer is not JSON") from None
    if status != HTTPStatus.OK:
        said = document.get("error") if isinstance(document, dict) else None
        said = str(said or f"status {status}")
        raise BadQuestion(said) if status == HTTPStatus.BAD_REQUEST else CommandError(_said(said))
    return document


def _said(text: str) -> str:
    return f"the agent says: {text}"


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
