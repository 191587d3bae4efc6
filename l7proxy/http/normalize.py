"""The one spelling of a path, so that a rule and the server cannot read it differently.

The order is Envoy's (and so Cilium's): percent-encoded unreserved characters are decoded, escaped
slashes unescaped (which ``request`` answers with a redirect), dot segments removed, and then
repeated slashes merged. The order shows in ``/a//../b``: RFC 3986 removes the empty segment and
leaves ``/a/b``.

The case of hexadecimal digits stays as sent: RFC 3986 6.2.2.1 makes ``%c3`` and ``%C3``
equivalent, but clients that sign their paths and policies written for Envoy, which keeps the
case, depend on it. The query is never touched.
"""

from __future__ import annotations

import re

from l7proxy.http.refused import Refused
from l7proxy.reasons import Reason

_UNRESERVED = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"  # RFC 3986 2.3
)
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")
_ESCAPED_SLASH = re.compile(rb"%(?:2[Ff]|5[Cc])")
_SLASHES = re.compile(rb"//+")

# Escapes that a normal path does not hold: of unreserved characters (-, ., 0-9, A-Z, _, a-z, ~),
# of "/" and "\", of NUL, and incomplete ones.
_NOT_NORMAL = re.compile(
    rb"//|/\.\.?(?:/|\Z)"
    rb"|%(?:2[DdEeFf]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaCcFf]|6[1-9A-Fa-f]|7[0-9AaEe]|00"
    rb"|(?![0-9A-Fa-f]{2}))"
)


def is_normal(path: bytes) -> bool:
    """Whether ``path`` (a query may follow) starts with ``/`` and is what ``normalize`` gives."""
    path = path.partition(b"?")[0]
    return path[:1] == b"/" and not _NOT_NORMAL.search(path)


def has_escaped_slash(path: bytes) -> bool:
    """Whether ``path`` (without its query) holds ``%2F`` or ``%5C``, in either case.

    To some servers these separate segments, to others they do not: such a path has two meanings.
    """
    return _ESCAPED_SLASH.search(path) is not None


def normalize(path: bytes) -> bytes:
    """The normal spelling of ``path``, which starts with ``/`` and has no query.

    Escaped slashes become ``/``, an escaped backslash too, as browsers and Envoy read it.
    Idempotent. Raises Refused(BAD_PATH_ENCODING) for ``%`` without two hex digits, which RFC 3986
    2.1 does not know, and for ``%00``, which ends the path in servers written in C.
    """
    if b"%" in path:
        path = _ESCAPE.sub(_decoded, path)
    if b"/." in path:
        path = _without_dot_segments(path)
    if b"//" in path:
        path = _SLASHES.sub(b"/", path)
    return path


def _decoded(escape: re.Match[bytes]) -> bytes:
    """RFC 3986 6.2.2.2: escapes of unreserved characters "should be normalized by decoding"."""
    digits = escape[1]
    if digits is None:
        raise Refused(Reason.BAD_PATH_ENCODING, "a percent sign without two hexadecimal digits")
    byte = int(digits, 16)
    if byte in _UNRESERVED:
        return bytes((byte,))
    if byte == 0:
        raise Refused(Reason.BAD_PATH_ENCODING, "%00 in the path")
    if byte in b"/\\":
        return b"/"
    return escape[0]


def _without_dot_segments(path: bytes) -> bytes:
    """RFC 3986 5.2.4, by segments; ``..`` above the root stays at the root."""
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            if kept:
                kept.pop()
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)
