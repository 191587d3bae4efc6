"""A request's body on its way to the backend, and the response on its way back: bytes in, bytes
out, no I/O."""

from __future__ import annotations

from l7proxy.http.body import BodyReader, LengthBody, chunk, last_chunk, reader
from l7proxy.http.forward import response_framing, response_head
from l7proxy.http.framing import CHUNKED, UNTIL_CLOSE, Framing
from l7proxy.http.head import check_partial_response, find_end
from l7proxy.http.request import Request
from l7proxy.http.response import Response, parse_response
from l7proxy.limits import Limits


class RequestRelay:
    """Reads the body of one request and frames it anew for the backend.

    done: nothing more of it will come. content: bytes of content read so far.
    """

    __slots__ = ("_chunked", "_reader", "content", "done")

    def __init__(self, request: Request, limits: Limits) -> None:
        self._reader = reader(request.framing, limits)
        self._chunked = request.framing is CHUNKED
        self.content = 0
        self.done = self._reader.done

    def take(self, buffer: bytes) -> tuple[bytes, bytes]:
        """What the backend gets for ``buffer``, and what is left of that. Raises Refused."""
        body = self._reader
        pieces, used = body.feed(buffer)
        for piece in pieces:
            self.content += len(piece)
        self.done = body.done
        if self._chunked:
            pieces = [chunk(piece) for piece in pieces]
            if body.done:
                pieces.append(last_chunk(body.trailers))
        sent = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return sent, buffer[used:]

    def ends_within(self, size: int) -> bool:
        """Whether at most ``size`` more bytes are certain to complete it."""
        body = self._reader
        return body.done or (isinstance(body, LengthBody) and body.remaining <= size)


class ResponseRelay:
    """Reads one response, interim ones before it, and writes it anew for the client.

    heard: the backend sent at least one byte. status: of the final response, None before it.
    done: the response is whole. keep: the client was told that its connection goes on.
    reusable: the backend's connection may serve another request. upgraded: the backend switched
    protocols; what follows belongs to a tunnel. content: bytes of content passed on.
    """

    __slots__ = (
        "_checked",
        "_chunked",
        "_content",
        "_limits",
        "_partial",
        "_request",
        "content",
        "done",
        "heard",
        "keep",
        "reusable",
        "status",
        "upgraded",
    )

    def __init__(self, request: Request, limits: Limits) -> None:
        self._request = request
        self._limits = limits
        self._partial = b""  # of the response head
        self._checked = 0  # bytes of it that were found good so far
        self._content: BodyReader | None = None
        self._chunked = False  # towards the client
        self.content = 0
        self.done = False
        self.heard = False
        self.keep = False
        self.reusable = False
        self.status: int | None = None
        self.upgraded = False

    def feed(self, data: bytes, may_keep: bool) -> bytes:
        """What the client gets for ``data``. ``may_keep``: its connection could go on.

        Raises Refused(UPSTREAM_NOT_HTTP); nothing that this call has read is passed on then.
        """
        if self._content is not None:
            return self._feed_content(self._content, data, b"")
        self.heard = True
        request, limits = self._request, self._limits
        if self._partial:
            data = self._partial + data
            self._partial = b""
        interim = b""
        while True:
            end = find_end(data, max(self._checked - 3, 0))
            if end < 0:
                self._checked = check_partial_response(data, limits, self._checked)
                self._partial = data
                return interim
            self._checked = 0
            response = parse_response(data[:end], request.method, limits, upgrade=request.upgrade)
            data = data[end:]
            if not response.informational:
                return interim + self._begin(response, data, may_keep)
            # RFC 9110 15.2: "A server MUST NOT send a 1xx response to an HTTP/1.0 client."
            if request.minor_version == 1:
                interim += response_head(response, client_minor=1, keep_alive=True)
            if not data:
                return interim

    def eof(self) -> bytes | None:
        """The rest for the client if the response ends with its connection; None: it was cut."""
        content = self._content
        if content is None or self.done or not content.eof():
            return None
        self.done = True
        self.reusable = False
        return last_chunk() if self._chunked else b""

    def _begin(self, response: Response, data: bytes, may_keep: bool) -> bytes:
        minor = self._request.minor_version
        sent = response_framing(response, minor)
        keep = may_keep and sent is not UNTIL_CLOSE
        head = response_head(response, client_minor=minor, keep_alive=keep)
        framing = response.framing
        size = framing or 0
        if response.upgrade is not None:
            self.upgraded = True
            self.status = response.status
            return head + data
        self.keep = keep
        self.reusable = response.keep_alive
        if isinstance(size, Framing) or len(data) < size:
            content = self._content = reader(framing, self._limits, upstream=True)
            self._chunked = sent is CHUNKED
            head = self._feed_content(content, data, head)
            self.status = response.status
            return head
        # All of it is here.
        self.status = response.status
        self.done = True
        self.content = size
        if len(data) == size:
            return head + data
        # More than the response: whose answer that is, nobody knows.
        self.reusable = False
        return head + data[:size]

    def _feed_content(self, content: BodyReader, data: bytes, head: bytes) -> bytes:
        pieces, used = content.feed(data)
        for piece in pieces:
            self.content += len(piece)
        if self._chunked:
            pieces = [chunk(piece) for piece in pieces]
            if content.done:
                pieces.append(last_chunk(content.trailers))
        if content.done:
            self.done = True
            self.reusable = self.reusable and used == len(data)
        if head:
            pieces.insert(0, head)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
