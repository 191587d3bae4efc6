"""What a client sends and what a server answers, followed as the kernel follows them."""

from __future__ import annotations

from dataclasses import replace

from l7proxy.compiler.head_actions import Slot
from l7proxy.compiler.head_automaton import Entry
from l7proxy.compiler.head_machine import Machine, MessageEnd, Phase
from l7proxy.compiler.head_meaning import RequestHead, request_meaning, response_meaning
from l7proxy.compiler.head_request import request_grammar
from l7proxy.compiler.head_response import response_grammar
from l7proxy.compiler.head_walk import FieldBank
from l7proxy.compiler.tables import Tables, slots, watched
from l7proxy.limits import Limits
from l7proxy.reasons import Reason


class RequestMachine(Machine):
    """Follows what a client sends.

    ``tables``: of the rules that are to be looked at; a head's ``matched`` tells which apply.
    """

    def __init__(self, limits: Limits, tables: Tables | None = None) -> None:
        """Raises Unsupported or TooLarge where no grammar can serve ``tables``."""
        fields = () if tables is None else tables.fields
        self.tables = tables
        self._slots = slots(fields)
        bank = FieldBank({slot: each.dfa for slot, each in zip(self._slots, fields, strict=True)})
        super().__init__(request_grammar(watched(fields)), bank, limits)

    def _matched(self, present: tuple[bool, ...]) -> int:
        if self.tables is None:
            return 0
        found = (1 << len(self.tables.rules)) - 1
        for slot, each in zip(self._slots, self.tables.fields, strict=True):
            if slot < Slot.HEADER or present[slot - Slot.HEADER]:
                found &= each.dfa.accepted(self.state.kept[slot])
            else:
                found &= each.absent
        return found

    def upgrade_answered(self, *, accepted: bool) -> None:
        """The final answer to a request that offered an upgrade: the bytes that follow are the
        new protocol's, or the next request."""
        if self.phase is Phase.HELD:
            self._begin()
            if accepted:
                self.phase = Phase.PASSING

    def _head_end(self) -> None:
        head = request_meaning(self.grammar, self.state, self.limits, self.message_start)
        if not isinstance(head, RequestHead):
            self._stop(head)
            return
        self._events.append(replace(head, matched=self._matched(head.present)))
        if head.upgrade:
            self._events.append(MessageEnd())
            self.phase = Phase.HELD
        else:
            self._content(head.framing)


class ResponseMachine(Machine):
    """Follows what a server sends, and knows which answers it still owes.

    For each request that is passed on ``owe`` is told; a response that nobody asked for is
    UPSTREAM_NOT_HTTP.
    """

    def __init__(self, limits: Limits) -> None:
        self.owed = 0
        self.to_head = 0
        self.offered = 0
        self.status = 0
        super().__init__(response_grammar(), FieldBank({}), limits)

    def owe(self, *, is_head: bool = False, upgrade: bool = False) -> bool:
        """One more answer is owed, behind those that are. False if 64 are, which is the limit."""
        if self.owed == 64:
            return False
        self.to_head |= is_head << self.owed
        self.offered |= upgrade << self.owed
        self.owed += 1
        return True

    def eof(self) -> bool:
        """Tell that the server has closed. True if no message is cut short by it."""
        whole = self.phase is Phase.PASSING or self.position == self.message_start
        if self.phase is Phase.PASSING:
            self.phase = Phase.STOPPED
        return whole

    def _fault(self, reason: Reason) -> Reason:
        return Reason.UPSTREAM_NOT_HTTP

    def _may_begin(self) -> bool:
        return self.owed > 0

    def _status_line(self) -> None:
        self.status = self.state.number
        self.state.number = 0
        self.state.row = self.table.entries[Entry.FIELDS]

    def _head_end(self) -> None:
        head = response_meaning(
            self.state,
            self.limits,
            self.message_start,
            self.status,
            to_head=bool(self.to_head & 1),
            offered=bool(self.offered & 1),
        )
        if isinstance(head, Reason):
            self._stop(head)
            return
        self._events.append(head)
        if head.informational:
            self._begin()
        elif head.upgrade:
            self.phase = Phase.PASSING
        else:
            self._content(head.framing)

    def _end(self) -> None:
        self.owed -= 1
        self.to_head >>= 1
        self.offered >>= 1
        super()._end()
