"""The answers that the kernel gives are those of ``http.answers``, and fit."""

from __future__ import annotations

import ctypes
import itertools

from l7proxy.datapath import names
from l7proxy.datapath.answers import in_place_values, is_answered, map_values
from l7proxy.datapath.names import ANSWER_BYTES, REASON_NUMBERS, c_constants
from l7proxy.http.answers import answer
from l7proxy.http.in_place import LENGTH_DIGITS, forms
from l7proxy.reasons import Reason
from tests.compiler.structs import defines, structure

Layout = structure("answer")
InPlace = structure("in_place")


def test_every_form_of_every_answer() -> None:
    found = dict(map_values())
    constants = c_constants()
    for reason in Reason:
        for keep in (False, True):
            for minor in (0, 1):
                for head in (False, True):
                    number = constants[f"REASON_{reason.name}"] * 8 + keep
                    number += (2 if minor == 0 else 0) + (4 if head else 0)
                    assert (number in found) == is_answered(reason)
                    if number in found:
                        assert len(found[number]) == ctypes.sizeof(Layout)
                        read = Layout.from_buffer_copy(found[number])
                        assert bytes(read.bytes)[: read.size] == answer(
                            reason, keep_alive=keep, client_minor=minor, head=head
                        )
    assert max(found) < constants["REASON_MAX"] * 8


def test_what_is_answered() -> None:
    assert is_answered(Reason.RULE_BLOCKED)
    assert is_answered(Reason.PATH_NOT_NORMAL)
    assert not is_answered(Reason.ESCAPED_SLASH)
    assert not is_answered(Reason.RULE_ALLOWED)


def test_every_form_in_place_of_refused_bytes() -> None:
    found = dict(in_place_values())
    for reason in filter(is_answered, Reason):
        for head, keep in itertools.product((False, True), repeat=2):
            made = list(forms(reason, keep_alive=keep, head=head))
            first = (REASON_NUMBERS[reason] * 4 + head * 2 + keep) * names.IN_PLACE_FORMS
            for place in range(names.IN_PLACE_FORMS):
                packed = found.get(first + place, bytes(ctypes.sizeof(InPlace)))
                assert len(packed) == ctypes.sizeof(InPlace)
                read = InPlace.from_buffer_copy(packed)
                if place >= len(made):
                    assert read.least == 0
                    continue
                form = made[place]
                assert bytes(read.head)[: read.head_size] == form.head
                assert bytes(read.tail)[: read.tail_size] == form.tail
                assert (read.least, read.length_at) == (form.least, form.length_at)
                assert (read.content, read.is_open) == (form.content, form.is_open)
    assert max(found) < c_constants()["REASON_MAX"] * 4 * names.IN_PLACE_FORMS


def test_sizes_are_those_of_the_programs() -> None:
    written = defines()
    assert written["ANSWER_BYTES"] == ANSWER_BYTES
    assert written["IN_PLACE_BYTES"] == names.IN_PLACE_BYTES
    assert written["IN_PLACE_FORMS"] == names.IN_PLACE_FORMS
    assert written["IN_PLACE_DIGITS"] == LENGTH_DIGITS
    assert written["PHASE_BOUNDARY"] == names.PHASE_BOUNDARY
    assert written["PHASE_PASSING"] == names.PHASE_PASSING
