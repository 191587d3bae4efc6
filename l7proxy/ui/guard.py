"""What a browser may ask here, and what it is told about every answer.

The server has no log-in, so it relies on two things: who can reach it, and that a page of another
site cannot read it through the browser of somebody who can. The second is what is checked here.
"""

from __future__ import annotations

from ipaddress import ip_address

from l7proxy.http.request import Request

BODY_BYTES = 65536
"""The largest body that is read: a question to explain has a head's size at most."""

# The page runs scripts and styles of its own files alone, and no text can become markup in it.
_CONTENT_POLICY = "; ".join(
    (
        "default-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)

HEADERS: tuple[tuple[str, str], ...] = (
    ("Content-Security-Policy", _CONTENT_POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)
"""On every answer. That there is no Access-Control-Allow-Origin is on purpose."""

_OWN_SITES = (None, b"same-origin", b"none")


class NotAllowed(Exception):
    """A question that is not answered: ``status`` and, as text, why.

    ``allow`` is the method that is allowed, where the method is at fault.
    """

    def __init__(self, status: int, message: str, allow: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.allow = allow


def check(request: Request, arrived_at: str) -> None:
    """Refuse what a page of another site could have sent. Raises NotAllowed.

    ``arrived_at`` is the address that the connection was made to.
    """
    if not is_own_name(request.host, arrived_at):
        # A name of somebody else's that was made to point here (DNS rebinding) makes the browser
        # take this server for theirs; the name that it then sends is what tells.
        raise NotAllowed(403, "ask for this server by its address or as localhost")
    if request.path.startswith(b"/api/") and request.header(b"sec-fetch-site") not in _OWN_SITES:
        raise NotAllowed(403, "a page of another site may not ask")
    if request.method == b"POST":
        # No form can send this type, and a script of another site must ask first, in vain.
        kind = (request.header(b"content-type") or b"").partition(b";")[0]
        if kind.strip().lower() != b"application/json":
            raise NotAllowed(415, "the question must be application/json")
    framing = request.framing
    if framing is not None and not isinstance(framing, int):
        raise NotAllowed(411, "send a Content-Length")
    if (framing or 0) > BODY_BYTES:
        raise NotAllowed(413, f"the question is over {BODY_BYTES} bytes")


def is_own_name(host: bytes, arrived_at: str) -> bool:
    """Whether ``host``, a Host with or without port, is loopback or the address ``arrived_at``.

    The port does not matter: a forwarded one is another.
    """
    text = host.decode("latin-1")
    name = text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0]
    if name == "localhost":
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address == ip_address(arrived_at.partition("%")[0])
