"""Takes uploads as fast as it can and answers 204. Started as a plain file, needs no package.

``python upload_server.py HOST PORT``. It does no more than it must to find the end of a body:
a Content-Length, or the last chunk, which it takes for the end wherever it stands.
"""

from __future__ import annotations

import socket
import socketserver
import sys

BUFFER = 1 << 18
HEAD_BYTES = 1 << 16
END = b"\r\n0\r\n\r\n"
ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class Uploads(socketserver.BaseRequestHandler):
    """One connection, a thread of its own."""

    request: socket.socket

    def handle(self) -> None:
        """Until the client closes."""
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buffer = memoryview(bytearray(BUFFER))
        while self._one(buffer):
            pass

    def _one(self, buffer: memoryview) -> bool:
        """One upload; False at the end of the connection."""
        got = b""
        while b"\r\n\r\n" not in got:
            count = self.request.recv_into(buffer)
            if not count or len(got) > HEAD_BYTES:
                return False
            got += buffer[:count]
        head, _, body = got.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((x for x in lines if x.startswith(b"content-length:")), None)
        if length is not None:
            left = int(length.partition(b":")[2]) - len(body)
            while left > 0:
                count = self.request.recv_into(buffer)
                if not count:
                    return False
                left -= count
        elif b"transfer-encoding: chunked" in lines:
            tail = (b"\r\n" + body)[-len(END) :]
            while tail != END:
                count = self.request.recv_into(buffer)
                if not count:
                    return False
                tail = (tail + bytes(buffer[max(0, count - len(END)) : count]))[-len(END) :]
        self.request.sendall(ANSWER)
        return True


class Server(socketserver.ThreadingTCPServer):
    """A threading server."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    with Server((sys.argv[1], int(sys.argv[2])), Uploads) as server:
        server.serve_forever()
