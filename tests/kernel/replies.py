"""What the test's server answers: known from the request alone, and of every kind there is."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from l7proxy.http.answers import CONTINUE
from tests.kernel.script import Head

_LARGE = 70_000
_SHOWN = 60


@dataclass(frozen=True)
class Reply:
    """``hint`` goes out when the head is there, ``writes`` when the content is, each by itself."""

    status: int
    content: bytes
    hint: bytes
    writes: tuple[bytes, ...]

    @property
    def wire(self) -> bytes:
        return self.hint + b"".join(self.writes)


def reply(head: Head) -> Reply:
    """The answer to a request, which names it; one in sixteen is large, some have no content."""
    name = head.method[:_SHOWN] + b" " + head.target[:_SHOWN]
    text = name + b"\n"
    kind = zlib.crc32(name) % 16
    fields, early, hint = b"", b"", b""
    if not head.keep_alive:
        fields = b"Connection: close\r\n"
    elif head.minor == 0:
        fields = b"Connection: keep-alive\r\n"
    if head.expects:
        hint = CONTINUE
    if head.minor == 0 and kind in (9, 12, 14):
        kind = 0  # chunks and interim answers are not for HTTP/1.0
    status, length = b"200 OK", b"Content-Length: %d\r\n"
    match kind:
        case 9 | 14:
            fields += b"Transfer-Encoding: chunked\r\n"
            chunk = b"%x\r\n%b\r\n" % (len(text), text)
            writes = [b"", chunk, chunk, b"0\r\nX-Sum: 1\r\n\r\n"]
            text = text + text
        case 10:
            status, text, writes = b"204 No Content", b"", [b""]
        case 11:
            status, writes = b"304 Not Modified", [b""]
            fields += length % len(text)
            text = b""
        case 13:
            text, writes = b"", [b""]
            fields += length % 0
        case _:
            if kind == 12:
                early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
            if kind == 15:
                text = text.ljust(_LARGE, b".")
            fields += length % len(text)
            writes = [b"", text]
    if head.method == b"HEAD":
        text, writes = b"", [b""]
    writes[0] = early + b"HTTP/1.1 " + status + b"\r\n" + fields + b"\r\n"
    if kind in (0, 1, 2, 3, 4, 9, 15):
        writes = [b"".join(writes)]
    return Reply(int(status[:3]), text, hint, tuple(writes))
