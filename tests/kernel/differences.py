"""The ways of a request, and every difference between them that is meant to be.

What the comparison lets pass it records by one of these names; nothing else may differ.
"""

from __future__ import annotations

from enum import Enum


class Way(Enum):
    """REDIRECT: each message that the client sends holds whole requests, and the kernel judges it
    at the client's socket. TCP: the kernel judges what arrives at the server's. MIXED: either,
    message by message. PROXY: a worker decides.
    """

    REDIRECT = "redirect"
    TCP = "tcp"
    MIXED = "mixed"
    PROXY = "proxy"

    @property
    def in_kernel(self) -> bool:
        return self is not Way.PROXY


class Difference(Enum):
    """A name, and what it stands for."""

    # Between the kernel and the proxy: what only the proxy can read it may serve.
    PATH_NOT_NORMAL = "the kernel refuses a path that the proxy would normalise"
    ABSOLUTE_FORM = "the kernel refuses a whole URI as target"
    UNDECIDABLE_HEADER = "the kernel refuses a watched header that is repeated, or not the server's"
    DOTTED_LITERAL = "the kernel refuses an IPv6 host with an IPv4 address inside"
    LARGE_CHUNK = "the kernel refuses a chunk of 2**63 bytes or more before its content comes"
    EARLY_TRAILER = "the kernel refuses a trailer by its name, before the section ends"

    # Between us and other readers.
    LLHTTP_TAB = "llhttp takes no tab behind a transfer coding, and refuses the request"
    LLHTTP_EXTENSION = (
        "llhttp takes nothing but parameters as chunk extensions, and refuses the request"
    )

    # The kernel's ways.
    CLOSES = "by TCP, a refusal that has no segment to itself ends the connection"
    TOO_SHORT = "by TCP, a refused request whose last piece has less than 17 bytes is not answered"
    BLANKED = "by TCP, what is refused behind allowed bytes reaches the server as empty lines"
    AHEAD = "on the TCP way an incomplete part of what is refused has reached the server"
    UNANSWERED_BREAK = "broken content that came by TCP ends the connection without an answer"
    LOST_BEFORE_BREAK = "what comes in one segment with broken content behind it is lost with it"
    RESET_LATER = "by TCP, a refusal that ends the connection is followed by the agent's reset"
    BEHIND_LARGE = (
        "a refusal behind an answer that is not taken in one go may only end the connection"
    )
    BEHIND_BOUNCE = "by TCP, what is pipelined behind our answer before that leaves is not served"
    IN_DELIVERY = (
        "a refusal pipelined into the delivery of an answer ends the connection without one"
    )
    HASTY = "by TCP, a client that closes its direction at once may not get our answer"
    CROWDED = "more refusals in one message than are answered by themselves end the connection"
    UPGRADE_IN_DOUBT = "an upgrade ends a connection on which answers could be mistaken"
    BREAK_TO_HEAD = "the kernel's answer to a HEAD with broken content has content"
    AFTER_CLOSE = "the kernel goes on reading after a request with which the connection closes"

    # The proxy's way.
    EARLY_BYTES = "bytes before the answer to an upgrade take its place at the proxy"
    RESET = "a client that sends on after a request that closes is reset by the proxy"
    CHUNKS_TO_HTTP10 = (
        "for a client of HTTP/1.0, an answer that comes in chunks ends with the connection"
    )
    TIMING = "whether a refused request's content has come decides if the connection goes on"

    @property
    def meaning(self) -> str:
        return self.value
