"""The answers by Python's own http.server: python plain.py HOST PORT."""

from __future__ import annotations

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from answers import Answer, answer


class Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 with chunks both ways and trailers, which http.server leaves to its user."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _answer(self) -> None:
        found = answer(self.command, self.path, self.headers.items(), self._body())
        trailers = self.path == "/trailers" and self.request_version == "HTTP/1.1"
        if trailers:
            head = [("Trailer", "X-Sum"), ("Content-Type", "text/plain")]
            found = Answer(200, head, [b"with a trailer\n"], False)
        chunked = not found.sized and self.request_version == "HTTP/1.1"
        self.send_response(found.status)
        for name, value in found.fields():
            self.send_header(name, value)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif not found.sized:
            self.send_header("Connection", "close")
        elif self.request_version == "HTTP/1.0" and not self.close_connection:
            # http.server keeps the connection and does not say so; ab would wait for its end.
            self.send_header("Connection", "keep-alive")
        self.end_headers()
        if self.command == "HEAD":
            return
        for part in found.parts:
            time.sleep(found.pause)
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
        if chunked:
            self.wfile.write(b"0\r\nX-Sum: 15\r\n\r\n" if trailers else b"0\r\n\r\n")

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _answer  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body


if __name__ == "__main__":
    ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
