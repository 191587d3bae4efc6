"""What may become of each request, by the way that it takes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import accumulate

from l7proxy.compiler.head_meaning import refusal
from l7proxy.http.answers import CONTINUE, answer
from l7proxy.http.in_place import forms_of
from l7proxy.reasons import Reason
from tests.kernel.differences import Difference, Way
from tests.kernel.replies import reply
from tests.kernel.script import LIMITS, Cause, Head, Item, Script

_COPIED = 16384  # WHOLE_BYTES of bpf/response.c

DROPS = 4
"""Refusals in one message that are each answered by themselves."""


SHORTEST = 17
"""Bytes of the shortest answer."""


class Kind(Enum):
    SERVED = "the server's answer"
    REFUSED = "our answer"
    SILENT = "no answer"


@dataclass(frozen=True)
class Choice:
    """``raw``: the answer's bytes; empty where the proxy writes a head of its own. ``ends``: the
    connection serves nothing after it. ``by_tcp``: the answer is as long as what it refuses."""

    kind: Kind
    raw: bytes = b""
    ends: bool = False
    names: frozenset[Difference] = frozenset()
    by_tcp: bool = False

    def begins(self, stream: bytes) -> bytes | None:
        """The answer if ``stream`` begins with it, as long as it is there."""
        if stream.startswith(self.raw):
            return self.raw
        interim = CONTINUE if self.raw.startswith(CONTINUE) else b""
        if not self.by_tcp or not stream.startswith(interim):
            return None
        stream = stream[len(interim) :]
        for form in forms_of(self.raw[len(interim) :]):
            spaces = len(stream[len(form.head) :]) - len(stream[len(form.head) :].lstrip(b" "))
            size = len(form.head) + spaces + len(form.tail)
            if size >= form.least and stream.startswith(form.filled(size)):
                return interim + stream[:size]
        return None

    def __str__(self) -> str:
        names = "".join(f" ({name.name})" for name in self.names)
        line = self.raw.partition(b"\r\n")[0].decode() if self.kind is Kind.REFUSED else ""
        return f"{self.kind.value} {line}{' and the end' if self.ends else ''}{names}"


@dataclass(frozen=True)
class Step:
    """A request with what may become of it."""

    item: Item
    choices: tuple[Choice, ...]
    more: bool = False
    """Whether something is sent behind it."""


def steps(
    script: Script,
    way: Way,
    pieces: Sequence[bytes],
    *,
    hasty: bool = False,
    merged: bool = False,
    waits: bool = True,
    reads: bool = True,
) -> Iterator[Step]:
    """The requests of a script, up to the one that ends the connection in any case.

    ``hasty``: the client does not wait for answers before it closes its direction. ``merged``: the
    server's end may see several pieces as one. ``waits``: the client sends nothing while an answer
    of the server is on its way, ``reads``: nor one of ours.
    """
    edges = list(accumulate(map(len, pieces)))
    crowded = _crowded(script, edges)
    in_doubt = may_bounce = behind_large = False
    breaks = _breaks(script, edges)
    for item in script.items:
        choices = _Choices(item, way, edges).all()
        if way in (Way.TCP, Way.MIXED) and any(each.kind is Kind.REFUSED for each in choices):
            choices = [replace(each, by_tcp=each.kind is Kind.REFUSED) for each in choices]
            if _size(edges, item.decided) < SHORTEST:
                choices.append(_silent(Difference.TOO_SHORT))
        if way in (Way.TCP, Way.MIXED) and item.served and breaks:
            assert item.end is not None
            if merged or _piece(edges, item.end) in breaks:
                choices.append(_silent(Difference.LOST_BEFORE_BREAK))
        if way in (Way.REDIRECT, Way.MIXED) and _piece(edges, item.start + 1) in crowded:
            choices.append(_silent(Difference.CROWDED))
        if way in (Way.TCP, Way.MIXED) and in_doubt and item.head is not None and item.head.upgrade:
            choices.append(_silent(Difference.UPGRADE_IN_DOUBT))
        if not waits and way is Way.MIXED and choices[0].kind is Kind.REFUSED:
            choices.append(_silent(Difference.IN_DELIVERY))
        if not reads and way in (Way.TCP, Way.MIXED) and may_bounce:
            choices.append(_silent(Difference.BEHIND_BOUNCE))
        may_bounce |= any(each.by_tcp and not each.ends for each in choices)
        if behind_large and way in (Way.TCP, Way.MIXED) and choices[0].kind is Kind.REFUSED:
            choices.append(_silent(Difference.BEHIND_LARGE))
        behind_large |= _is_large(item)
        if hasty and way in (Way.TCP, Way.MIXED) and choices[0].kind is Kind.REFUSED:
            choices.append(_silent(Difference.HASTY))
        in_doubt |= _leaves_doubt(item)
        more = item.end is not None and item.end < len(script.wire)
        if way is Way.PROXY and item.served and item.closes and more:
            choices.append(_silent(Difference.RESET))
        yield Step(item, tuple(choices), more)
        if all(choice.ends for choice in choices):
            return


def _breaks(script: Script, edges: Sequence[int]) -> set[int]:
    """The pieces in which the content of an allowed request turns out to be none."""
    return {
        _piece(edges, item.stopped)
        for item in script.items
        if item.head is not None and item.refused is None and item.cause is not None
    }


def _leaves_doubt(item: Item) -> bool:
    """Whether a faulty server could answer with content that is taken for the next answer; content
    that is not copied is in doubt too."""
    if not item.served or item.head is None:
        return False
    due = reply(item.head)
    return item.method == b"HEAD" or due.status in (204, 304) or _is_large(item)


def _is_large(item: Item) -> bool:
    """Whether its answer may be taken in parts."""
    return item.served and item.head is not None and len(reply(item.head).content) > _COPIED


def goes_by_redirect(script: Script, pieces: Sequence[bytes]) -> bool:
    """Whether every piece holds whole requests, as far as the connection goes on: then each of
    them is judged at the client's socket."""
    edges = list(accumulate(map(len, pieces)))
    for item in script.items:
        begins = _piece(edges, item.start + 1)
        if item.head is not None and item.head.upgrade and item.refused is None:
            return False
        if item.served:
            assert item.end is not None
            if _piece(edges, item.end) != begins:
                return False
            continue
        if item.pending or _piece(edges, item.decided) != begins:
            return False
        if _Choices(item, Way.REDIRECT, edges).all()[0].ends or item.end is None:
            return True
    return script.rest == len(script.wire)


def _piece(edges: Sequence[int], place: int) -> int:
    """The number of the piece with the byte before ``place``."""
    return bisect_left(edges, place)


def _size(edges: Sequence[int], place: int) -> int:
    """Of the piece with the byte before ``place``."""
    number = _piece(edges, place)
    return edges[number] - (edges[number - 1] if number else 0)


def _crowded(script: Script, edges: Sequence[int]) -> set[int]:
    counts: dict[int, int] = {}
    for item in script.items:
        if not item.served and not item.pending:
            number = _piece(edges, item.start + 1)
            counts[number] = counts.get(number, 0) + 1
    return {number for number, count in counts.items() if count > DROPS}


def _silent(*names: Difference) -> Choice:
    return Choice(Kind.SILENT, ends=True, names=frozenset(names))


def _refused(raw: bytes, *names: Difference, ends: bool = True) -> Choice:
    return Choice(Kind.REFUSED, raw, ends, frozenset(names))


def asked_by_proxy(item: Item) -> Head:
    """What the proxy asks the server is HTTP/1.1, on a connection of its own."""
    assert item.head is not None
    return replace(item.head, target=item.path, minor=1, keep_alive=True)


class _Choices:
    """Those of one request."""

    def __init__(self, item: Item, way: Way, edges: Sequence[int]) -> None:
        self.item = item
        self.way = way
        self._edges = edges

    def all(self) -> list[Choice]:
        item, head = self.item, self.item.head
        if head is None:
            return [_refused(self._stopped(item.cause))]
        if item.refused is not None:
            return self._denied(item.refused)
        if item.cause is not None:
            return self._broken()
        if item.pending:
            return [_silent()]
        served = Choice(Kind.SERVED, b"exactly" if self.way.in_kernel else b"")
        if self.way is Way.PROXY and head.upgrade:
            early = answer(Reason.BYTES_BEFORE_UPGRADE, head=head.method == b"HEAD")
            return [served, _refused(early, Difference.EARLY_BYTES)]
        if self.way is Way.PROXY and self._has_no_length():
            names = frozenset([Difference.CHUNKS_TO_HTTP10])
            return [Choice(Kind.SERVED, ends=True, names=names)]
        return [served]

    def _has_no_length(self) -> bool:
        """Whether the proxy's client cannot be told how long the answer is that the proxy gets."""
        head = self.item.head
        if head is None or head.minor or head.method == b"HEAD":
            return False
        return b"Transfer-Encoding" in reply(asked_by_proxy(self.item)).wire

    def _stopped(self, cause: Cause | None, *, head: bool = False) -> bytes:
        assert cause is not None
        if self.way.in_kernel:
            return answer(refusal(cause), head=head)
        assert isinstance(cause, Reason)
        return answer(cause, location=self.item.location, head=head)

    def _denied(self, reason: Reason) -> list[Choice]:
        item, head = self.item, self.item.head
        assert head is not None
        is_head = head.method == b"HEAD"
        closing = answer(reason, head=is_head)
        keeping = answer(reason, keep_alive=True, client_minor=head.minor, head=is_head)
        can_keep = head.keep_alive and not head.upgrade
        by_tcp = [_refused(closing, *([Difference.CLOSES] if can_keep else []))]
        if can_keep:
            by_tcp.insert(0, _refused(keeping, ends=False))
        if self.way is Way.TCP:
            return by_tcp
        here = self._edges[_piece(self._edges, head.end)]
        left = None if item.end is None else max(item.end - here, 0)
        if isinstance(head.framing, int):
            left = max(head.end + head.framing - here, 0)
        keeps = can_keep and (
            left == 0
            or (
                isinstance(head.framing, int)
                and not head.expects
                and left is not None
                and left <= LIMITS.refused_body
            )
        )
        choices = [_refused(keeping, ends=False) if keeps else _refused(closing)]
        if item.cause is not None:
            broken = [_refused(self._stopped(item.cause))]
            if self.way is Way.PROXY and is_head:
                broken = [_refused(self._stopped(item.cause, head=True))]
            choices = broken if item.stopped <= here else choices + self._named(broken)
        if self.way is Way.MIXED:
            choices += by_tcp
        if self.way is Way.PROXY and head.has_content and can_keep:
            choices += self._named([_refused(keeping, ends=False), _refused(closing)])
        return choices

    def _named(self, choices: list[Choice]) -> list[Choice]:
        return [
            Choice(each.kind, each.raw, each.ends, frozenset([Difference.TIMING]))
            for each in choices
        ]

    def _broken(self) -> list[Choice]:
        """Allowed, and then the content was none."""
        item, head = self.item, self.item.head
        assert head is not None
        is_head = head.method == b"HEAD"
        if not self.way.in_kernel:
            choices = [_refused(self._stopped(item.cause, head=is_head))]
        elif is_head:
            choices = [_refused(self._stopped(item.cause), Difference.BREAK_TO_HEAD)]
        else:
            choices = [_refused(self._stopped(item.cause))]
        if self.way in (Way.TCP, Way.MIXED):
            choices.append(_silent(Difference.UNANSWERED_BREAK))
        if head.expects:
            choices += [
                Choice(each.kind, CONTINUE + each.raw, each.ends, each.names)
                for each in choices
                if each.kind is Kind.REFUSED
            ]
        return choices
