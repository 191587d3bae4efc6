"""What compiling the rules of an admission yields: a table for each field, a mask for each layer.

Rules are numbered through all layers in order. Each field gives a bit set of the rules it
satisfies; the rules that match are the bits in all of them. Of these, within each layer, the
lowest in ``blocks`` decides, else the lowest, else ``otherwise``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from l7proxy.compiler.dfa import Dfa
from l7proxy.compiler.head_actions import Slot
from l7proxy.policy.model import Direction, HttpRule
from l7proxy.policy.verdict import Verdict


class Field(Enum):
    """What a table reads.

    METHOD_AND_PATH: the method, one space, the normalised path with its query. HOST: the
    authority with its port, in any case. HEADER: the value of one header.
    """

    METHOD_AND_PATH = "method-and-path"
    HOST = "host"
    HEADER = "header"


@dataclass(frozen=True)
class FieldTable:
    """One field's automaton. ``name``: of the header, lower-case, else empty. ``absent``: the
    rules that are satisfied where a request has no such field."""

    field: Field
    name: bytes
    dfa: Dfa
    absent: int


@dataclass(frozen=True)
class LayerTable:
    """One direction's rules: ``rules`` is the mask of all of them, ``blocks`` of those that block.
    ``otherwise`` is the verdict where none matches."""

    direction: Direction
    rules: int
    blocks: int
    otherwise: Verdict


@dataclass(frozen=True)
class Tables:
    """Everything that decides the requests of one admission.

    settled: the verdict on every request, where no rule has to be asked; there are no fields and
    layers then. digest: names the content, so that equal tables need be loaded only once.
    """

    settled: Verdict | None
    rules: tuple[HttpRule, ...]
    layers: tuple[LayerTable, ...]
    fields: tuple[FieldTable, ...]
    digest: str

    @property
    def states(self) -> int:
        return sum(each.dfa.states for each in self.fields)

    @property
    def table_bytes(self) -> int:
        return sum(each.dfa.table_bytes for each in self.fields)


def slots(fields: Sequence[FieldTable]) -> tuple[int, ...]:
    """By field: the slot of the head automaton that reads it."""
    fixed = {Field.METHOD_AND_PATH: Slot.METHOD_AND_PATH, Field.HOST: Slot.HOST}
    names = watched(fields)
    return tuple(
        fixed[each.field] if each.field in fixed else Slot.HEADER + names.index(each.name)
        for each in fields
    )


def watched(fields: Sequence[FieldTable]) -> tuple[bytes, ...]:
    """The headers that are read, in the order of their slots: what a grammar is made for."""
    return tuple(each.name for each in fields if each.field is Field.HEADER)
