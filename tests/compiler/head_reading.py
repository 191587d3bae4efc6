"""What ``l7proxy.http`` and the automata make of the same stream, in the same words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from l7proxy.compiler.head_machine import (
    Content,
    MessageEnd,
    Stopped,
)
from l7proxy.compiler.head_meaning import RequestHead, ResponseHead, Undecided
from l7proxy.compiler.head_sides import RequestMachine, ResponseMachine
from l7proxy.http.body import BodyReader, reader
from l7proxy.http.framing import UNTIL_CLOSE
from l7proxy.http.head import check_partial, check_partial_response, find_end
from l7proxy.http.refused import Refused
from l7proxy.http.request import Request, parse_request
from l7proxy.http.response import parse_response
from l7proxy.limits import Limits
from l7proxy.reasons import Reason

LIMITS = Limits()

Facts = tuple[object, ...]


@dataclass
class Story:
    """What became of a stream: the facts of each head, the content of each message, which were
    whole, and why reading stopped, None where more was wanted."""

    heads: list[Facts] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    whole: int = 0
    cause: Reason | Undecided | None = None


def request_by_http(wire: bytes, limits: Limits = LIMITS) -> tuple[Story, list[Request]]:
    """Request after request, by ``l7proxy.http``; and what was parsed."""
    story, found = Story(), []
    try:
        while wire:
            end = find_end(wire)
            if end < 0:
                check_partial(wire, limits)
                break
            request = parse_request(wire[:end], limits)
            found.append(request)
            story.heads.append(
                (
                    request.method,
                    request.target,
                    request.minor_version,
                    request.framing,
                    request.keep_alive,
                    request.expects_continue,
                    request.upgrade is not None,
                )
            )
            wire = wire[end:]
            body = reader(request.framing, limits)
            story.sizes.append(0)
            wire = _read(story, body, wire)
            if not body.done:
                break
            if request.upgrade is not None and wire:
                story.cause = Reason.BYTES_BEFORE_UPGRADE
                break
    except Refused as refused:
        story.cause = refused.reason
    return story, found


def response_by_http(
    wire: bytes, methods: Iterable[bytes], limits: Limits = LIMITS, upgrade: bytes | None = None
) -> Story:
    """Response after response to requests of ``methods``, all of which offered ``upgrade``."""
    story, asked = Story(), list(methods)
    try:
        while wire:
            if not asked:
                story.cause = Reason.UPSTREAM_NOT_HTTP
                break
            end = find_end(wire)
            if end < 0:
                check_partial_response(wire, limits)
                break
            response = parse_response(wire[:end], asked[0], limits, upgrade=upgrade)
            wire = wire[end:]
            switched = response.upgrade is not None
            story.heads.append(
                (
                    response.status,
                    response.minor_version,
                    response.framing,
                    response.keep_alive,
                    switched,
                )
            )
            if response.informational:
                continue
            story.sizes.append(0)
            if switched or response.framing is UNTIL_CLOSE:
                story.sizes[-1] = len(wire)
                break
            asked.pop(0)
            body = reader(response.framing, limits, upstream=True)
            wire = _read(story, body, wire)
            if not body.done:
                break
    except Refused as refused:
        story.cause = refused.reason
    return story


def _read(story: Story, body: BodyReader, wire: bytes) -> bytes:
    """Feed ``body`` byte by byte until it is done, for the size of what came before a fault."""
    at = 0
    while not body.done and at < len(wire):
        pieces, used = body.feed(wire[at : at + 1])
        story.sizes[-1] += sum(map(len, pieces))
        at += used
    if body.done:
        story.whole += 1
    return wire[at:]


def request_by_machine(
    pieces: Iterable[bytes], machine: RequestMachine | None = None
) -> tuple[Story, list[RequestHead]]:
    """The same by the automaton, fed with ``pieces``."""
    machine = machine or RequestMachine(LIMITS)
    story, found, seen = Story(), [], b""
    for piece in pieces:
        seen += piece
        for event in machine.feed(piece):
            match event:
                case RequestHead():
                    found.append(event)
                    method, target = (
                        seen[event.start + first : event.start + last]
                        for first, last in (event.method, event.target)
                    )
                    assert event.is_head is (method == b"HEAD")
                    story.heads.append(
                        (
                            method,
                            target,
                            event.minor_version,
                            event.framing,
                            event.keep_alive,
                            event.expects_continue,
                            event.upgrade,
                        )
                    )
                    story.sizes.append(0)
                case Content(size):
                    story.sizes[-1:] = [sum(story.sizes[-1:]) + size]
                case MessageEnd():
                    story.whole += 1
                case Stopped(cause, at):
                    assert at <= len(seen)
                    assert story.cause is None
                    story.cause = cause
    return story, found


def response_by_machine(
    pieces: Iterable[bytes], methods: Iterable[bytes], *, upgrade: bool = False
) -> Story:
    machine = ResponseMachine(LIMITS)
    for method in methods:
        assert machine.owe(is_head=method == b"HEAD", upgrade=upgrade)
    story = Story()
    for piece in pieces:
        for event in machine.feed(piece):
            match event:
                case ResponseHead():
                    story.heads.append(
                        (
                            event.status,
                            event.minor_version,
                            event.framing,
                            event.keep_alive,
                            event.upgrade,
                        )
                    )
                    if not event.informational:
                        story.sizes.append(0)
                case Content(size):
                    story.sizes[-1:] = [sum(story.sizes[-1:]) + size]
                case MessageEnd():
                    story.whole += 1
                case Stopped(cause):
                    story.cause = cause
    return story
