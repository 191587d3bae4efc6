"""What the kernel road does with one request, asked in advance."""

from __future__ import annotations

from dataclasses import dataclass

from l7proxy.compiler.execute import verdict_of
from l7proxy.compiler.head_machine import Stopped
from l7proxy.compiler.head_meaning import RequestHead, Undecided, refusal
from l7proxy.compiler.head_sides import RequestMachine
from l7proxy.compiler.tables import Tables
from l7proxy.limits import Limits
from l7proxy.policy.verdict import Action, Verdict


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict. ``understood``: the rules decided it, and not the head alone. ``detail``: what is
    wrong with a head that is refused, where its reason does not say so."""

    verdict: Verdict
    understood: bool = True
    detail: str = ""


def judge(head: bytes, tables: Tables, limits: Limits) -> Judged:
    """The verdict on the request with this whole head, by the tables of its connection."""
    for event in RequestMachine(limits, tables).feed(head):
        if isinstance(event, RequestHead):
            return Judged(verdict_of(tables, event.matched))
        if isinstance(event, Stopped):
            detail = event.cause.value if isinstance(event.cause, Undecided) else ""
            return Judged(Verdict(Action.BLOCK, refusal(event.cause)), False, detail)
    raise ValueError("the head is not whole")
