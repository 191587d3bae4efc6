"""One HTTP/1.1 request over a connected socket, and what came of it."""

from __future__ import annotations

import errno
import http.client
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a client got: an answer (``status`` set) or a failure (``error`` set).

    ``stage`` is where it failed: "connect" or "exchange". ``error`` is an errno name such as
    EPERM or ECONNRESET, "closed" for an end without an answer, "timeout", or "not-http".
    ``source`` is the client's own address and port, where there was a connection.
    """

    status: int | None = None
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    stage: str = "answered"
    error: str | None = None
    source: tuple[str, int] | None = None

    @classmethod
    def failed(cls, stage: str, error: Exception) -> Self:
        """The outcome for an exception of the socket or of ``http.client``."""
        return cls(stage=stage, error=_name(error))

    def header(self, name: str) -> str | None:
        """The first value of the field ``name``, None if absent."""
        return next((v for n, v in self.headers if n.lower() == name.lower()), None)

    def __str__(self) -> str:
        if self.status is None:
            return f"{self.error} ({self.stage})"
        first = self.body.decode("latin-1").strip().splitlines()
        return f"{self.status} {first[0] if first else ''}".rstrip()


def _name(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, http.client.RemoteDisconnected):
        return "closed"
    if isinstance(error, OSError) and error.errno is not None:
        return errno.errorcode.get(error.errno, str(error.errno))
    if isinstance(error, http.client.IncompleteRead):
        return "closed"
    if isinstance(error, http.client.HTTPException):
        return "not-http"
    return type(error).__name__


def request_bytes(
    method: str,
    target: str,
    host: str,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
) -> bytes:
    """The bytes of a request; nothing in ``target`` is changed or checked.

    Host and, for a body, Content-Length are added where ``headers`` do not give them.
    """
    fields = list(headers)
    names = {name.lower() for name, _ in fields}
    if "host" not in names:
        fields.insert(0, ("Host", host))
    if body and not names & {"content-length", "transfer-encoding"}:
        fields.append(("Content-Length", str(len(body))))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def exchange(
    connection: socket.socket,
    method: str,
    target: str,
    *,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
) -> Outcome:
    """Send one request and read the whole answer; the connection stays open if the answer says so.

    Never raises for what the other side does: every failure is an Outcome.
    """
    try:
        connection.sendall(request_bytes(method, target, _host(connection), headers, body))
    except OSError as error:
        # A refusal may have come before the whole body was taken: read it if it did.
        if not isinstance(error, (BrokenPipeError, ConnectionResetError)):
            return Outcome.failed("exchange", error)
    response = http.client.HTTPResponse(connection, method=method)
    try:
        response.begin()
        return Outcome(response.status, response.read(), tuple(response.getheaders()))
    except (OSError, http.client.HTTPException) as error:
        return Outcome.failed("exchange", error)
    finally:
        response.close()


def _host(connection: socket.socket) -> str:
    """The peer's address as a Host field; "localhost" for a Unix socket or a peer that is gone."""
    try:
        peer = connection.getpeername()
    except OSError:
        peer = ""
    if not isinstance(peer, tuple):
        return "localhost"
    return f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}"
