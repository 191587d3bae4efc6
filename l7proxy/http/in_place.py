"""Our answers in exactly as many bytes as what they refuse.

The kernel can send an answer over TCP only in the place of bytes that the client has sent: it
counts them as read, and a count that does not come out even leaves the server's socket readable
without anything to read, or later bytes unseen. So an answer is stretched by spaces in its reason
phrase, or by spaces at the end of its content if there are many; and where the refused bytes are
few it goes without what a client can do without.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from l7proxy.http.answers import answer
from l7proxy.reasons import Reason

LENGTH_DIGITS = 7
"""Of Content-Length in the form that is stretched in its content, leading zeros included."""

_STRETCHED_PHRASE = 1024
"""Spaces that a reason phrase takes; clients limit the bytes of a status line."""

_LINE_END = b"\r\n"


@dataclass(frozen=True, slots=True)
class Form:
    """One form of an answer: ``head``, any number of spaces, ``tail``.

    ``least``      it is for at least so many bytes
    ``length_at``  where in ``head`` the digits of Content-Length are to be written, 0: nowhere
    ``content``    bytes of content, without the spaces
    ``is_open``    it ends where the connection does, which it does not say
    """

    head: bytes
    tail: bytes
    least: int
    length_at: int = 0
    content: int = 0
    is_open: bool = False

    def filled(self, size: int) -> bytes:
        """The answer in ``size`` bytes, which are at least ``least``."""
        spaces = size - len(self.head) - len(self.tail)
        head = self.head
        if self.length_at:
            digits = b"%0*d" % (LENGTH_DIGITS, self.content + spaces)
            head = head[: self.length_at] + digits + head[self.length_at + LENGTH_DIGITS :]
        return head + b" " * spaces + self.tail


def forms(reason: Reason, *, keep_alive: bool, head: bool) -> Iterator[Form]:
    """The forms of an answer, those for the most bytes first.

    ``keep_alive``, to a client of HTTP/1.1, and ``head``: as ``answer`` has them. Raises ValueError
    for a reason that has no HTTP answer.
    """
    return forms_of(answer(reason, keep_alive=keep_alive, head=head))


def forms_of(text: bytes) -> Iterator[Form]:
    """The forms of the answer ``text``; one without content is to HEAD."""
    lines, _, content = text.partition(2 * _LINE_END)
    head = not content
    status, *fields = lines.split(_LINE_END)
    length = next(field for field in fields if field.startswith(b"Content-Length:"))
    close = [field for field in fields if field == b"Connection: close"]
    if not head:
        yield _stretched_content(status, fields, content, len(text) + _STRETCHED_PHRASE)
    yield _form(status, fields, content)
    yield _form(status, [length, *close], content)
    if not head:
        length = b"Content-Length: 0"
    yield _form(status, [length, *close], b"")
    status = status[: len("HTTP/1.1 403 ")]
    yield _form(status, [length, *close], b"")
    if close:
        bare = 2 * _LINE_END
        yield Form(status, bare, len(status) + len(bare), is_open=True)


def _form(status: bytes, fields: list[bytes], content: bytes) -> Form:
    tail = _LINE_END + b"".join(field + _LINE_END for field in fields) + _LINE_END + content
    return Form(status, tail, len(status) + len(tail))


def _stretched_content(status: bytes, fields: list[bytes], content: bytes, least: int) -> Form:
    fields = [field for field in fields if not field.startswith(b"Content-Length:")]
    head = _LINE_END.join([status, *fields, b"Content-Length: "])
    at = len(head)
    text = content.removesuffix(_LINE_END)
    head += b"0" * LENGTH_DIGITS + 2 * _LINE_END + text
    return Form(head, _LINE_END, least, at, len(text) + len(_LINE_END))


def filled(reason: Reason, size: int, *, keep_alive: bool, head: bool) -> bytes | None:
    """The answer in ``size`` bytes; None where they are too few for any form."""
    for form in forms(reason, keep_alive=keep_alive, head=head):
        if size >= form.least:
            return form.filled(size)
    return None
