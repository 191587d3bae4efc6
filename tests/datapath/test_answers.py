"""The answers that the kernel gives are those of ``http.answers``, and fit."""

from __future__ import annotations

import ctypes

from l7proxy.datapath.answers import is_answered, map_values
from l7proxy.datapath.names import ANSWER_BYTES, c_constants
from l7proxy.http.answers import answer
from l7proxy.reasons import Reason
from tests.compiler.structs import defines, structure

Layout = structure("answer")


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


def test_sizes_are_those_of_the_programs() -> None:
    assert defines()["ANSWER_BYTES"] == ANSWER_BYTES
