"""The forms of a request target (RFC 9112 3.2) and what they ask for."""

from __future__ import annotations

import re
from typing import NamedTuple

from l7proxy.http.authority import is_authority
from l7proxy.http.normalize import has_escaped_slash, normalize
from l7proxy.http.refused import Refused
from l7proxy.reasons import Reason

_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp]://([^/?]*)([^?]*)(\?.*)?")


class Target(NamedTuple):
    """What a target asks for: normalised path with the query as sent, and the authority if given.

    ``escaped_slash`` is true when the path as sent held ``%2F`` or ``%5C``.
    """

    path: bytes
    authority: bytes | None = None
    escaped_slash: bool = False


def read_target(method: bytes, target: bytes) -> Target:
    """Read a target made of the bytes that the grammar allows.

    Raises Refused: METHOD_CONNECT, BAD_TARGET for a form that the method does not take, an
    absolute form that is not http or has no plain authority, BAD_PATH_ENCODING.
    """
    if method == b"CONNECT":
        raise Refused(Reason.METHOD_CONNECT, "CONNECT is not served")
    if target[0] == 0x2F:
        # RFC 9112 3.2.1: origin-form = absolute-path [ "?" query ]
        if not (b"%" in target or b"//" in target or b"/." in target):
            return Target(target)
        path, mark, query = target.partition(b"?")
        return Target(normalize(path) + mark + query, None, has_escaped_slash(path))
    if target == b"*":
        # RFC 9112 3.2.4: "The asterisk-form of request-target is only used for a server-wide
        # OPTIONS request".
        if method != b"OPTIONS":
            raise Refused(Reason.BAD_TARGET, "the target * belongs to OPTIONS only")
        return Target(target)
    return _read_absolute(method, target)


def _read_absolute(method: bytes, target: bytes) -> Target:
    """RFC 9112 3.2.2: "a server MUST accept the absolute-form in requests"."""
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise Refused(Reason.BAD_TARGET, "the target is neither a path nor an http:// URI")
    authority, path, query = match.groups()
    if not is_authority(authority):
        # RFC 9110 4.2.4: "a recipient SHOULD parse for userinfo and treat its presence as an
        # error; it is likely being used to obscure the authority".
        raise Refused(Reason.BAD_TARGET, "the authority of the target is not host[:port]")
    if not path and query is None and method == b"OPTIONS":
        # RFC 9112 3.2.4: for OPTIONS of a URI with neither path nor query "the last proxy on the
        # request chain MUST send a request-target of "*"".
        return Target(b"*", authority)
    # RFC 9110 4.2.3: "an empty path component is equivalent to an absolute path of "/"".
    path = path or b"/"
    return Target(normalize(path) + (query or b""), authority, has_escaped_slash(path))
