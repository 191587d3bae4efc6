"""Content as it arrives, piece by piece, and as it is sent on in chunks.

A reader is fed whatever came and answers with the pieces of content in it and the number of bytes
that were its own: all of them, until the content ends. What it keeps back is at most one chunk
line, or one trailer section.
"""

from __future__ import annotations

import re
from typing import Protocol

from l7proxy.http.framing import Framing, ResponseFraming
from l7proxy.http.grammar import FIELD_BYTE, Fields, fields_of
from l7proxy.http.head import scan_fields
from l7proxy.http.refused import Refused
from l7proxy.limits import Limits
from l7proxy.reasons import Reason

# RFC 9112 7.1: chunk = chunk-size [ chunk-ext ] CRLF; chunk-size = 1*HEXDIG. Sixteen digits are
# more than any length needs. No whitespace is taken around the size. RFC 9112 7.1.1: "A recipient
# MUST ignore unrecognized chunk extensions": they are read over and not sent on.
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;" + FIELD_BYTE + rb"*)?\r\n")
_CHUNK_LINE_START = re.compile(rb"[0-9A-Fa-f]{1,16}(?:\r|;" + FIELD_BYTE + rb"*\r?)?")

# RFC 9110 6.5.1: "Many fields cannot be processed outside the header section because their
# evaluation is necessary prior to receiving the content, such as those that describe message
# framing, routing, authentication, request modifiers, response controls, or content format."
# Rules look at the head only; a server that merges trailers into it must not find these there.
FORBIDDEN_TRAILERS = frozenset(
    (
        b"authorization",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"expect",
        b"forwarded",
        b"host",
        b"keep-alive",
        b"max-forwards",
        b"proxy-authorization",
        b"proxy-connection",
        b"range",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-request-id",
    )
)

Pieces = tuple[list[bytes], int]

LAST_CHUNK = b"0\r\n\r\n"


class BodyReader(Protocol):
    """What the readers of this module have in common."""

    @property
    def done(self) -> bool:
        """Whether the content has ended; ``feed`` then takes nothing more."""

    @property
    def trailers(self) -> Fields:
        """The trailer fields, once ``done``."""

    def feed(self, data: bytes) -> Pieces:
        """The pieces of content in ``data`` and how many bytes of it were used. Raises Refused."""

    def eof(self) -> bool:
        """Tell that no more bytes will come. True if the content is whole."""


def reader(framing: ResponseFraming, limits: Limits, *, upstream: bool = False) -> BodyReader:
    """The reader for ``framing``, a request's or a response's.

    ``upstream`` says that a server sends the content: its faults are UPSTREAM_NOT_HTTP.
    """
    if framing is Framing.CHUNKED:
        return ChunkedBody(limits, upstream=upstream)
    if framing is Framing.UNTIL_CLOSE:
        return UntilCloseBody()
    return LengthBody(framing or 0)


class LengthBody:
    """Content of a known length (RFC 9112 6.2); 0 for a message without content."""

    __slots__ = ("remaining",)

    trailers: Fields = ()

    def __init__(self, length: int) -> None:
        self.remaining = length

    @property
    def done(self) -> bool:
        return self.remaining == 0

    def feed(self, data: bytes) -> Pieces:
        size = len(data)
        if size > self.remaining:
            size = self.remaining
            data = data[:size]
        self.remaining -= size
        return ([data] if size else []), size

    def eof(self) -> bool:
        return self.remaining == 0


class UntilCloseBody:
    """Content that ends with the connection (RFC 9112 6.3, rule 8); responses only."""

    __slots__ = ("done",)

    trailers: Fields = ()

    def __init__(self) -> None:
        self.done = False

    def feed(self, data: bytes) -> Pieces:
        return ([data] if data else []), len(data)

    def eof(self) -> bool:
        self.done = True
        return True


class ChunkedBody:
    """Content in the chunked transfer coding (RFC 9112 7.1), with its trailers.

    Raises Refused: BAD_CHUNK for broken framing or a chunk line over ``limits.chunk_line_bytes``,
    BAD_TRAILER for a malformed, forbidden or oversized trailer section.
    """

    __slots__ = (
        "_buffer",
        "_limits",
        "_need",
        "_state",
        "_trailer_bytes",
        "_trailer_lines",
        "_upstream",
        "trailers",
    )

    def __init__(self, limits: Limits, *, upstream: bool = False) -> None:
        self.trailers: Fields = ()
        self._limits = limits
        self._upstream = upstream
        self._buffer = b""
        self._need = 0
        self._trailer_bytes = 0
        self._trailer_lines: list[bytes] = []
        self._state = _SIZE

    @property
    def done(self) -> bool:
        return self._state is _DONE

    def eof(self) -> bool:
        return self._state is _DONE

    def feed(self, data: bytes) -> Pieces:
        if self._state is _DONE:
            return [], 0
        kept = len(self._buffer)
        if kept:
            data = self._buffer + data
            self._buffer = b""
        pieces: list[bytes] = []
        at, size = 0, len(data)
        while at < size:
            if self._state is _DATA:
                end = min(at + self._need, size)
                pieces.append(data if at == 0 and end == size else data[at:end])
                self._need -= end - at
                at = end
                if self._need == 0:
                    self._state = _DATA_END
                continue
            step = self._line(data, at)
            if step == 0:
                self._buffer = data[at:]
                break
            at += step
            if self._state is _DONE:
                return pieces, at - kept
        return pieces, size - kept

    def _line(self, data: bytes, at: int) -> int:
        """The bytes taken by what is not content at ``at``; 0 when it is incomplete."""
        if self._state is _SIZE:
            return self._size_line(data, at)
        if self._state is _DATA_END:
            # RFC 9112 7.1: chunk-data is followed by CRLF, and by nothing else.
            if data[at : at + 2] == b"\r\n":
                self._state = _SIZE
                return 2
            if data[at:] == b"\r":
                return 0
            raise self._refused(Reason.BAD_CHUNK, "no CRLF after the data of a chunk")
        return self._trailer_section(data, at)

    def _size_line(self, data: bytes, at: int) -> int:
        limit = self._limits.chunk_line_bytes
        match = _CHUNK_LINE.match(data, at, at + limit)
        if match is None:
            start = _CHUNK_LINE_START.match(data, at)
            if start is None or (start.end() < len(data) and start.end() - at < limit):
                raise self._refused(Reason.BAD_CHUNK, f"a chunk starts {data[at : at + 20]!r}")
            if len(data) - at >= limit:
                raise self._refused(Reason.BAD_CHUNK, f"a chunk line is over {limit} bytes")
            return 0
        self._need = int(match[1], 16)
        self._state = _DATA if self._need else _TRAILERS
        return match.end() - at

    def _trailer_section(self, data: bytes, at: int) -> int:
        """RFC 9112 7.1.2: trailer-section = *( field-line CRLF ), ended by an empty line.

        Lines are taken as they become complete, so that none is looked at again.
        """
        limit = self._limits.trailer_bytes
        section = data[at : at + limit - self._trailer_bytes]
        try:
            end, complete = scan_fields(section, 0)
        except Refused as refused:
            raise self._refused(Reason.BAD_TRAILER, refused.detail) from None
        if not complete and self._trailer_bytes + len(data) - at >= limit:
            raise self._refused(Reason.BAD_TRAILER, f"the trailers are over {limit} bytes")
        if end:
            self._take_trailers(section[:end], complete)
        return end

    def _take_trailers(self, lines: bytes, complete: bool) -> None:
        self._trailer_bytes += len(lines)
        self._trailer_lines += lines.splitlines(keepends=True)
        count = len(self._trailer_lines) - complete
        if count > self._limits.head_fields:
            raise self._refused(Reason.BAD_TRAILER, f"more than {count - 1} trailer fields")
        if complete:
            self.trailers = self._read_trailers(b"".join(self._trailer_lines)) if count else ()
            self._trailer_lines = []
            self._state = _DONE

    def _read_trailers(self, section: bytes) -> Fields:
        trailers = fields_of(section, 0)
        for name, _ in trailers:
            if name.lower() in FORBIDDEN_TRAILERS:
                raise self._refused(Reason.BAD_TRAILER, f"{name[:40].decode()} as a trailer")
        return trailers

    def _refused(self, reason: Reason, detail: str) -> Refused:
        return Refused(Reason.UPSTREAM_NOT_HTTP if self._upstream else reason, detail)


_SIZE, _DATA, _DATA_END, _TRAILERS, _DONE = "size", "data", "data-end", "trailers", "done"


def chunk(piece: bytes) -> bytes:
    """``piece`` as a chunk; nothing for no bytes, since an empty chunk would end the content."""
    return b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""


def last_chunk(trailers: Fields = ()) -> bytes:
    """The end of chunked content, with ``trailers`` as a reader gave them."""
    if not trailers:
        return LAST_CHUNK
    return b"0\r\n" + b"".join(b"%b: %b\r\n" % field for field in trailers) + b"\r\n"
