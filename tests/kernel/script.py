"""What the executor makes of a stream of requests: the one meaning that every way is held to.

A script is made by the tables and the automaton (``by_tables``), or by ``l7proxy.http`` and
``policy.decide`` as the proxy does (``by_parser``). Where both know an answer it is the same one;
``tests.kernel.compare.agree`` says where only one does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from l7proxy.compiler.execute import decide_tables, verdict_of
from l7proxy.compiler.head_machine import Stopped
from l7proxy.compiler.head_meaning import RequestHead, Undecided
from l7proxy.compiler.head_sides import RequestMachine
from l7proxy.compiler.tables import Tables
from l7proxy.http.body import reader
from l7proxy.http.framing import RequestFraming
from l7proxy.http.head import check_partial, find_end
from l7proxy.http.refused import Refused
from l7proxy.http.request import Request, parse_request, refuse_early_bytes
from l7proxy.limits import Limits
from l7proxy.policy.verdict import Action, Verdict
from l7proxy.reasons import Reason

LIMITS = Limits()

Cause = Reason | Undecided


@dataclass(frozen=True)
class Head:
    """A head that was understood, with the place behind its last byte."""

    method: bytes
    target: bytes
    minor: int
    framing: RequestFraming
    keep_alive: bool
    expects: bool
    upgrade: bool
    end: int

    @property
    def has_content(self) -> bool:
        return self.framing is not None and self.framing != 0


@dataclass
class Item:
    """A request, or what came in the place of one.

    ``wire[start:end]`` is all of it; ``end`` is None where it was not whole. ``head`` is None where
    that was not understood. ``refused``: the rules refuse it. ``cause``: why reading stopped in it,
    at the latest behind ``stopped`` bytes.
    """

    start: int
    head: Head | None = None
    end: int | None = None
    refused: Reason | None = None
    cause: Cause | None = None
    location: bytes | None = None
    stopped: int = 0
    path: bytes = b""
    content: bytes = b""

    @property
    def served(self) -> bool:
        """Whether the server gets and answers it."""
        return self.refused is None and self.cause is None and self.end is not None

    @property
    def pending(self) -> bool:
        """Whether it may be served, and was not whole."""
        return self.head is not None and not self.served and self.refused is self.cause is None

    @property
    def closes(self) -> bool:
        """Whether the server closes with its answer."""
        return self.head is not None and not self.head.keep_alive

    @property
    def method(self) -> bytes:
        """Empty where there is none."""
        return b"" if self.head is None else self.head.method

    @property
    def decided(self) -> int:
        """The place in the stream behind the byte with which it was refused."""
        if self.head is not None and self.refused is not None:
            return self.head.end
        return self.stopped


@dataclass
class Script:
    """The requests of a stream in order. ``rest``: where what belongs to none of them begins."""

    wire: bytes
    items: list[Item] = field(default_factory=list)
    rest: int = 0

    def ends(self) -> list[int]:
        """The places between two messages."""
        return [item.end for item in self.items if item.end is not None]


class _Placed(RequestMachine):
    """Remembers where messages ended."""

    def __init__(self, tables: Tables) -> None:
        super().__init__(LIMITS, tables)
        self.ends: list[int] = []

    def _end(self) -> None:
        self.ends.append(self.position)
        super()._end()


def by_tables(tables: Tables, pieces: Sequence[bytes], *, answered: int = 0) -> Script:
    """``answered``: in so many pieces, from the first, each request that offers an upgrade has its
    answer, which is no, before the next piece is sent."""
    script, machine, seen = Script(b"".join(pieces)), _Placed(tables), 0
    for number, piece in enumerate(pieces):
        seen += len(piece)
        for event in machine.feed(piece):
            match event:
                case RequestHead():
                    script.items.append(
                        _item(script.wire, event, verdict_of(tables, event.matched))
                    )
                case Stopped(cause, at):
                    _stop(script, machine, cause, at)
        if number < answered:
            machine.upgrade_answered(accepted=False)
    ends = iter(machine.ends)
    for item in script.items:
        if item.head is not None and item.cause is None:
            item.end = item.head.end if item.head.upgrade else next(ends, None)
            script.rest = item.end or len(script.wire)
    return script


def _item(wire: bytes, event: RequestHead, verdict: Verdict) -> Item:
    start = event.start
    head = Head(
        wire[start + event.method[0] : start + event.method[1]],
        wire[start + event.target[0] : start + event.target[1]],
        event.minor_version,
        event.framing,
        event.keep_alive,
        event.expects_continue,
        event.upgrade,
        start + event.size,
    )
    return Item(start, head, refused=_refused(verdict), path=head.target)


def _refused(verdict: Verdict) -> Reason | None:
    return verdict.reason if verdict.action is Action.BLOCK else None


def _stop(script: Script, machine: _Placed, cause: Cause, at: int) -> None:
    """In the content of the last request, or in what should have been the next one's head."""
    items = script.items
    whole = len(machine.ends) + sum(item.head is not None and item.head.upgrade for item in items)
    # Where a limit is passed the byte that does so is not looked at.
    unseen = cause is Reason.BYTES_BEFORE_UPGRADE or machine.budget == 0
    if len(items) > whole:
        items[-1].cause, items[-1].stopped = cause, at + unseen
    else:
        start = at if cause is Reason.BYTES_BEFORE_UPGRADE else machine.message_start
        items.append(Item(start, cause=cause, stopped=at + unseen))
    script.rest = len(script.wire)


Decide = Callable[[Request], Verdict]


def by_parser(decide: Decide, pieces: Sequence[bytes], *, answered: int = 0) -> Script:
    """The same by ``l7proxy.http``, in the way of the proxy."""
    wire = b"".join(pieces)
    script, at = Script(wire), 0
    edges = _edges(pieces[:answered])
    while at < len(wire):
        item = Item(at)
        try:
            end = find_end(wire, at)
            if end < 0:
                check_partial(wire[at:], LIMITS)
                break
            request = parse_request(wire[at:end], LIMITS)
            item.head = head_of(request, end)
            item.refused = _refused(decide(request))
            item.path = request.path
            script.items.append(item)
            at = _content(item, request, wire)
            if item.end is None:
                break
            if request.upgrade is not None and end not in edges:
                item = Item(at)
                refuse_early_bytes(request, len(wire) - at)
        except Refused as refused:
            if not script.items or script.items[-1] is not item:
                script.items.append(item)
            item.cause, item.location = refused.reason, refused.location
            item.stopped = at = len(wire)
    script.rest = at
    return script


def _edges(pieces: Sequence[bytes]) -> set[int]:
    edges, at = set(), 0
    for piece in pieces:
        at += len(piece)
        edges.add(at)
    return edges


def head_of(request: Request, end: int) -> Head:
    """What matters of a request that was parsed, whose head ends at ``end``."""
    return Head(
        request.method,
        request.target,
        request.minor_version,
        request.framing,
        request.keep_alive,
        request.expects_continue,
        request.upgrade is not None,
        end,
    )


def _content(item: Item, request: Request, wire: bytes) -> int:
    """Reads the content; where it ended. Raises Refused."""
    assert item.head is not None
    at = item.head.end
    body = reader(request.framing, LIMITS)
    got, used = body.feed(wire[at:])
    item.content = b"".join(got)
    if body.done:
        item.end = at + used
        return item.end
    return len(wire)


def check_tables(tables: Tables, script: Script, decide: Decide) -> None:
    """The automaton's verdicts are those of ``policy.decide``, asked with the parsed request."""
    for item in script.items:
        if item.head is not None:
            request = parse_request(script.wire[item.start : item.head.end], LIMITS)
            for verdict in (decide(request), decide_tables(tables, request)):
                assert _refused(verdict) is item.refused, (item, verdict)
