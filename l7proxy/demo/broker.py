"""Runs inside a pod and makes sockets there for another process, which gets them as descriptors.

A socket belongs to the network namespace and the cgroup of the process that makes and connects
it, whoever holds it later. Started as a plain file by an isolated interpreter, so that it depends
on nothing: it imports only the standard library.

Each request is one JSON datagram ``{"op": "connect"|"listen"|"socket", ...}``; each answer is
``{"errno": null|number}`` with the descriptor attached where there is one.
"""

from __future__ import annotations

import json
import socket
import sys
from typing import Any


def serve(control: socket.socket) -> None:
    """Answer requests until the other side closes."""
    while datagram := control.recv(65536):
        request = json.loads(datagram)
        try:
            made = _make(request)
        except OSError as error:
            number = error.errno
            if number is None:
                number = 110 if isinstance(error, TimeoutError) else 22
            control.send(json.dumps({"errno": number}).encode())
            continue
        with made:
            socket.send_fds(control, [b'{"errno": null}'], [made.fileno()])


def _make(request: dict[str, Any]) -> socket.socket:
    family = socket.AF_INET6 if ":" in request["host"] else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM, request.get("protocol", 0))
    try:
        for level, name, value in request.get("options", ()):
            made.setsockopt(level, name, value)
        if request.get("source"):
            made.bind(tuple(request["source"]))
        if request["op"] == "connect":
            made.settimeout(request["timeout"])
            # Resolved, because a plain pair loses the scope of a link-local address.
            numeric = socket.AI_NUMERICHOST
            found = socket.getaddrinfo(request["host"], request["port"], family, flags=numeric)
            made.connect(found[0][4])
        elif request["op"] == "listen":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.bind((request["host"], request["port"]))
            made.listen(request["backlog"])
        made.setblocking(True)
    except BaseException:
        made.close()
        raise
    return made


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as inherited:
        serve(inherited)
