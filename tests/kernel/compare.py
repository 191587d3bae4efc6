"""Holds what was seen of a connection to the script of its requests: one pure function."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from l7proxy.compiler.head_meaning import Undecided
from l7proxy.http.answers import CONTINUE
from l7proxy.reasons import Reason
from tests.kernel.choices import Choice, Kind, Step, asked_by_proxy
from tests.kernel.differences import Difference, Way
from tests.kernel.replies import reply
from tests.kernel.script import Item, Script
from tests.kernel.stream import Answer, Garbled, split

EOF, RESET, HANG = "EOF", "reset", "hang"


@dataclass(frozen=True)
class Message:
    """A whole request as the server read it."""

    method: bytes
    path: bytes
    content: bytes


@dataclass(frozen=True)
class Seen:
    """What came of a connection.

    ``client``: all that the client received; ``end``: how that ended. ``server``: all that the
    server received on this connection, in the kernel's ways; ``server_end`` likewise. ``messages``
    and ``faults``: what the server made of it.
    """

    client: bytes
    end: str
    server: bytes = b""
    server_end: str = EOF
    messages: tuple[Message, ...] = ()
    faults: tuple[str, ...] = ()

    def __str__(self) -> str:
        return (
            f"client got {_short(self.client)}, then {self.end}; "
            f"server got {_short(self.server)}, then {self.server_end}; read {self.messages}"
        )


def _short(data: bytes) -> str:
    return repr(data if len(data) < 1500 else data[:1000] + b" ... " + data[-400:])


class Disagreement(AssertionError):
    """``kind`` is the same for cases that likely have the same cause."""

    def __init__(self, kind: str, detail: object = "") -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail


@dataclass
class _Told:
    """How far the comparison has come."""

    names: set[Difference] = field(default_factory=set)
    served: list[Item] = field(default_factory=list)
    last: Step | None = None
    choice: Choice | None = None
    closed: bool = False
    is_open: bool = False
    """The last answer does not say where it ends."""


def compare(
    script: Script, way: Way, plan: Sequence[Step], seen: Seen, *, slow: bool = False
) -> frozenset[Difference]:
    """The differences that were seen between the script and a connection that took a way; ``plan``
    has the steps of that. ``slow``: the client may take longer than it is given after a refusal.
    Raises Disagreement for one that has no name.
    """
    try:
        return _compare(script, way, plan, seen, slow=slow)
    except Disagreement as found:
        raise Disagreement(found.kind, f"{found.detail}\n{seen}") from None


def _compare(
    script: Script, way: Way, plan: Sequence[Step], seen: Seen, *, slow: bool
) -> frozenset[Difference]:
    if seen.faults:
        raise Disagreement("the server cannot read what it got", seen.faults)
    if seen.end == HANG or seen.server_end == HANG:
        raise Disagreement("nothing more happens")
    told = _Told()
    first_closed = next(
        (n for n, each in enumerate(plan) if each.item.served and each.item.closes), len(plan)
    )
    answers, rest = _answers(plan[: first_closed + 1], seen.client)
    _tell(plan, answers, rest, told)
    if way.in_kernel:
        _client_rest(plan, rest, told)
        _server_bytes(script, way, plan, seen.server, told)
    else:
        _nothing_left(rest, told)
        _messages(told, seen.messages)
    _ends(way, seen, told, slow=slow)
    return frozenset(told.names)


def _answers(plan: Sequence[Step], stream: bytes) -> tuple[list[Answer], bytes]:
    def ours(number: int, rest: bytes) -> bytes | None:
        refused = [each for each in plan[number].choices if each.kind is Kind.REFUSED]
        known = [raw for each in refused if (raw := each.begins(rest))]
        return max(known, key=len, default=None)

    try:
        return split(stream, [each.item.method for each in plan], ours)
    except Garbled as garbled:
        raise Disagreement("the client got no answer but this", garbled) from None


def _tell(plan: Sequence[Step], answers: Sequence[Answer], rest: bytes, told: _Told) -> None:
    """Walks over the steps as far as the connection went."""
    for number, step in enumerate(plan):
        answer = answers[number] if number < len(answers) else None
        choice = next((each for each in step.choices if _fits(each, step.item, answer)), None)
        if choice is None:
            wanted = " or ".join(str(each) for each in step.choices)
            got = repr(answer.raw[:300]) if answer else f"nothing but {rest[:300]!r}"
            raise Disagreement(_kind(step, answer), f"request {number}: {wanted}; got {got}")
        told.last, told.choice = step, choice
        told.is_open = answer is not None and b"\r\n" not in answer.raw.partition(b"\r\n\r\n")[0]
        told.names |= choice.names
        if choice.kind is Kind.SERVED:
            told.served.append(step.item)
            if step.item.closes:
                told.closed = True
                return
        if choice.ends:
            if number + 1 < len(answers):
                raise Disagreement("an answer after the last", answers[number + 1].raw[:300])
            return


def _kind(step: Step, answer: Answer | None) -> str:
    wanted = step.choices[0]
    due = wanted.kind.value
    if wanted.kind is Kind.REFUSED:
        due = f"{due} {step.item.refused or step.item.cause}"
    return f"{due} wanted, {answer.status if answer else 'no answer'}"


def _fits(choice: Choice, item: Item, answer: Answer | None) -> bool:
    match choice.kind:
        case Kind.SILENT:
            return answer is None
        case Kind.REFUSED:
            return answer is not None and choice.begins(answer.raw) == answer.raw
        case Kind.SERVED if answer is not None:
            assert item.head is not None
            if choice.raw:
                return answer.raw == reply(item.head).wire
            want = reply(asked_by_proxy(item))
            return (answer.status, answer.content) == (want.status, want.content)
    return False


def _nothing_left(rest: bytes, told: _Told) -> None:
    item = None if told.last is None or told.choice is None else told.last.item
    silent = told.choice is not None and told.choice.kind is Kind.SILENT
    if rest == CONTINUE and silent and item and item.head and item.head.expects:
        return
    if rest:
        raise Disagreement("the client got more than is due", rest[:300])


def _client_rest(plan: Sequence[Step], rest: bytes, told: _Told) -> None:
    """What came behind an answer that closes: refusals, which no client takes for anything."""
    if not told.closed:
        _nothing_left(rest, told)
        return
    assert told.last is not None
    for step in plan[plan.index(told.last) + 1 :]:
        for choice in step.choices:
            if choice.kind is Kind.REFUSED and (raw := choice.begins(rest)):
                rest = rest[len(raw) :]
                told.names.add(Difference.AFTER_CLOSE)
                break
    if rest:
        raise Disagreement("the client got more than is due after the last answer", rest[:300])


def _server_bytes(script: Script, way: Way, plan: Sequence[Step], got: bytes, told: _Told) -> None:
    """Exactly what is allowed, in order; then at most what could not be judged yet."""
    want = b"".join(script.wire[item.start : item.end] for item in told.served)
    if not got.startswith(want):
        raise Disagreement("the server did not get what is allowed", (want, got))
    rest = got[len(want) :]
    if told.closed:
        _after_close(script, way, plan, rest, told)
        return
    step, choice = told.last, told.choice
    if step is None or choice is None or choice.kind is Kind.SERVED or not choice.ends:
        if rest != script.wire[script.rest :]:
            raise Disagreement("the server got what nobody asked for", (want, rest))
        return
    item = step.item
    if item.pending and Difference.UPGRADE_IN_DOUBT not in choice.names:
        if rest != script.wire[item.start :]:
            raise Disagreement("the server did not get what came of a request", (want, rest))
        return
    if _is_blanked(way, rest):
        if len(rest) > len(script.wire) - item.start:
            raise Disagreement("the server got more empty lines than bytes are refused", rest)
        told.names.add(Difference.BLANKED)
    elif rest:
        _ahead(script, way, item, rest)
        told.names.add(Difference.AHEAD)


def _ahead(script: Script, way: Way, item: Item, rest: bytes) -> None:
    """``rest`` of what is refused has reached the server: less than could be judged."""
    may = script.wire[item.start : item.decided - 1]
    if way is Way.REDIRECT:
        raise Disagreement("the server got some of what is refused", rest)
    if not may.startswith(rest):
        raise Disagreement("the server got more of what is refused than may be ahead", rest)


def _is_blanked(way: Way, rest: bytes) -> bool:
    """Whether the server got empty lines in the place of what is refused."""
    return way is not Way.REDIRECT and rest != b"" and not rest.strip(b"\r\n")


def _after_close(script: Script, way: Way, plan: Sequence[Step], rest: bytes, told: _Told) -> None:
    """Behind a request that closes the server listens to nobody, but what it gets is allowed."""
    assert told.last is not None
    following = plan[plan.index(told.last) + 1 :]
    if rest:
        told.names.add(Difference.AFTER_CLOSE)
    for step in following:
        item = step.item
        if item.served:
            own = script.wire[item.start : item.end]
            if not rest.startswith(own):
                if not own.startswith(rest):
                    raise Disagreement("the server got what is not allowed after the last", rest)
                return
            rest = rest[len(own) :]
        elif item.pending:
            break
        elif _is_blanked(way, rest):
            told.names.add(Difference.BLANKED)
            return
        elif rest and script.wire[item.start : item.end].startswith(rest):
            _ahead(script, way, item, rest)
            return
    last = following[-1].item if following and following[-1].item.pending else None
    if not script.wire[script.rest if last is None else last.start :].startswith(rest):
        raise Disagreement("the server got what nobody asked for after the last", rest)


def _messages(told: _Told, got: Sequence[Message]) -> None:
    """The server behind the proxy read what is allowed, and what may have been cut short."""
    want = [_message(item) for item in told.served]
    if told.choice is not None and Difference.EARLY_BYTES in told.choice.names:
        assert told.last is not None
        if len(got) > len(want):
            want.append(_message(told.last.item))
    if list(got) != want:
        raise Disagreement("the server behind the proxy got something else", (want, got))


def _message(item: Item) -> Message:
    return Message(item.method, item.path, item.content)


def _ends(way: Way, seen: Seen, told: _Told, *, slow: bool) -> None:
    unfinished = told.choice is not None and told.choice.kind is Kind.SILENT
    for who, end in (("client", seen.end), ("server", seen.server_end)):
        if end == EOF or unfinished:
            continue
        choice = told.choice
        if choice is not None and choice.by_tcp and choice.ends and (slow or told.is_open):
            told.names.add(Difference.RESET_LATER)
            continue
        if told.closed and told.last is not None and told.last.more:
            told.names.add(Difference.AFTER_CLOSE if way.in_kernel else Difference.RESET)
        elif Difference.AFTER_CLOSE not in told.names:
            raise Disagreement(f"a reset at the {who}", (way, end))


_NAMED = {
    Undecided.PATH_NOT_NORMAL: Difference.PATH_NOT_NORMAL,
    Reason.ESCAPED_SLASH: Difference.PATH_NOT_NORMAL,
    Undecided.ABSOLUTE_FORM: Difference.ABSOLUTE_FORM,
    Undecided.DOTTED_LITERAL: Difference.DOTTED_LITERAL,
    Undecided.NAMES_WATCHED: Difference.UNDECIDABLE_HEADER,
    Undecided.REPEATED: Difference.UNDECIDABLE_HEADER,
    Undecided.LARGE_CHUNK: Difference.LARGE_CHUNK,
}


def agree(tables: Script, parser: Script) -> frozenset[Difference]:
    """The differences between what the tables and what the proxy's code make of a stream."""
    for number, item in enumerate(tables.items):
        other = parser.items[number] if number < len(parser.items) else None
        if item.cause in _NAMED:
            return frozenset([_NAMED[item.cause]])
        if item.cause is Reason.BAD_TRAILER and (other is None or other.cause is not item.cause):
            return frozenset([Difference.EARLY_TRAILER])
        if other is None or _facts(item) != _facts(other):
            raise Disagreement("the tables and the parser disagree", (item, other))
    if len(parser.items) != len(tables.items):
        raise Disagreement("the parser finds more requests", parser.items[len(tables.items) :])
    return frozenset()


def _facts(item: Item) -> Iterable[object]:
    return item.start, item.head, item.end, item.refused, item.cause
