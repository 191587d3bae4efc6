"""Connection options, and the fields that end at this hop."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from l7proxy.http.grammar import TOKEN

# RFC 9110 7.6.1: "intermediaries SHOULD remove or replace fields that are known to require removal
# before forwarding, whether or not they appear as a connection-option": Proxy-Connection,
# Keep-Alive, TE, Transfer-Encoding, Upgrade. HTTP2-Settings belongs to the h2c upgrade (RFC 7540
# 3.2.1), which is never taken: the requests inside it would be decided by nobody.
HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"proxy-connection",
        b"keep-alive",
        b"te",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    )
)

# RFC 9110 7.6.1: "A sender MUST NOT send a connection option corresponding to a field that is
# intended for all recipients of the content." Naming one of these would make the proxy cut the
# message's meaning, its framing or its origin.
PROTECTED = frozenset(
    (
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"content-type",
        b"content-encoding",
        b"authorization",
        b"cookie",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-request-id",
    )
)

# The only protocol that a connection may be upgraded to, as Cilium's Envoy has it. Others, h2c
# before all, would carry requests past the policy.
UPGRADABLE = frozenset((b"websocket",))


class Options(NamedTuple):
    """What a Connection field asks for.

    ``dropped``: lower-case names of the fields that are not sent on. ``faulty``: an option that
    is no token or names a protected field (which is then not in ``dropped``).
    """

    close: bool = False
    keep_alive: bool = False
    upgrade: bool = False
    dropped: frozenset[bytes] = HOP_BY_HOP
    faulty: bytes | None = None


NO_OPTIONS = Options()


@lru_cache(maxsize=256)
def read_options(value: bytes) -> Options:
    """Read a Connection field, its repeats joined: Connection = [ connection-option *( "," ) ]."""
    tokens = [token.strip(b" \t") for token in value.lower().split(b",")]
    names = frozenset(token for token in tokens if token)
    faulty = sorted(n for n in names if n in PROTECTED or not TOKEN.fullmatch(n))
    named = names - PROTECTED - HOP_BY_HOP - {b"close"}
    return Options(
        close=b"close" in names,
        keep_alive=b"keep-alive" in names,
        upgrade=b"upgrade" in names,
        dropped=HOP_BY_HOP | named if named else HOP_BY_HOP,
        faulty=faulty[0] if faulty else None,
    )


def keeps_alive(options: Options, minor_version: int) -> bool:
    """Whether the connection persists after the message (RFC 9112 9.3)."""
    if options.close:
        return False
    return minor_version == 1 or options.keep_alive


def upgrade_offer(value: bytes | None) -> bytes | None:
    """The protocol of an Upgrade field that may be taken, lower-cased; None if there is none.

    RFC 9110 7.8: "A server MAY ignore a received Upgrade header field".
    """
    if value is None:
        return None
    for protocol in value.lower().split(b","):
        if protocol.strip(b" \t") in UPGRADABLE:
            return protocol.strip(b" \t")
    return None
