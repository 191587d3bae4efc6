"""``Host``, and the authority of an absolute-form target."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address

# RFC 9110 7.2: Host = uri-host [ ":" port ]. RFC 3986 3.2.2: host = IP-literal / IPv4address /
# reg-name. Of reg-name only the unreserved characters are accepted: percent-encoding would be a
# second spelling of a name that policies match, a comma is what a repeated Host looks like, and
# no name in DNS holds one of the others. Userinfo ("@") never belongs in Host. A port is one to
# five digits without leading zeros: an empty one would be a second spelling too.
_AUTHORITY = re.compile(
    rb"(?:[A-Za-z0-9\-._~]{1,255}|\[([0-9A-Fa-f:.]{2,45})\])(?::(0|[1-9][0-9]{0,4}))?"
)


def is_authority(value: bytes) -> bool:
    """Whether ``value`` is a host name or address with an optional port, and nothing else."""
    match = _AUTHORITY.fullmatch(value)
    if match is None:
        return False
    literal, port = match.groups()
    if port is not None and int(port) > 65535:
        return False
    return literal is None or _is_ipv6(literal)


def _is_ipv6(literal: bytes) -> bool:
    try:
        IPv6Address(literal.decode("ascii"))
    except AddressValueError:
        return False
    return True
