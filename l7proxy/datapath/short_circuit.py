"""What a short-circuited socket does differently: the one list, for ``doctor`` and the docs."""

from __future__ import annotations

from typing import NamedTuple


class SocketDifference(NamedTuple):
    """A limit of the kernel's socket maps, which no program can repair."""

    name: str
    text: str


DIFFERENCES = (
    SocketDifference(
        "splice-out",
        "splice(2) from such a socket finds nothing (TCP relays that use it; not servers)",
    ),
    SocketDifference(
        "wait-for-all",
        "MSG_WAITALL returns what is there; SO_RCVLOWAT above 1 keeps the connection on TCP, and "
        "is ignored where a receive program is attached",
    ),
    SocketDifference("urgent-data", "urgent data (MSG_OOB) arrives in line"),
    SocketDifference("zero-copy-receive", "TCP_ZEROCOPY_RECEIVE reports nothing"),
    SocketDifference("bytes-queued-notice", "TCP_INQ reports nothing"),
    SocketDifference(
        "reset-while-waiting",
        "a blocking recv() that is waiting when a reset comes returns EAGAIN first, then "
        "ECONNRESET",
    ),
    SocketDifference(
        "close-with-unread-bytes", "a server that closes with unread data sends FIN, not RST"
    ),
    SocketDifference(
        "buffer-sizes",
        "SO_SNDBUF and SO_RCVBUF do not bound what waits for the reader, limits.redirect_credit "
        "does: more may have been sent when a reader closes, without an error",
    ),
    SocketDifference(
        "refused-options",
        "MPTCP, TCP_ULP (TLS offload), SO_ZEROCOPY and fast open are refused with EPERM to every "
        "covered socket, also with the annotation",
    ),
    SocketDifference(
        "unseen-by-tcp",
        "what is short-circuited is no TCP traffic: packet captures, byte counts of TCP_INFO and "
        "of ss, and traffic shaping do not see it",
    ),
)
OPT_OUT = 'l7proxy.io/short-circuit: "off"'
"""The annotation that leaves a workload's sockets on plain TCP."""
