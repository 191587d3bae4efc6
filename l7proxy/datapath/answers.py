"""Our own responses, as the programs find them: every refusal that the kernel road may answer."""

from __future__ import annotations

import itertools
import struct
import sys
from collections.abc import Iterator

from l7proxy.datapath import libbpf
from l7proxy.datapath.names import (
    ANSWER_BYTES,
    ANSWER_HTTP10,
    ANSWER_KEEP,
    ANSWER_TO_HEAD,
    IN_PLACE_BYTES,
    IN_PLACE_FORMS,
    REASON_NUMBERS,
)
from l7proxy.datapath.store import Store
from l7proxy.http.answers import answer
from l7proxy.http.in_place import forms
from l7proxy.reasons import Reason

# struct answer and struct in_place of bpf/tables.h
_ANSWER = struct.Struct(f"=I{ANSWER_BYTES + 4}s")
_IN_PLACE = struct.Struct(f"=6I{IN_PLACE_BYTES}s{IN_PLACE_BYTES}s")


def map_values() -> Iterator[tuple[int, bytes]]:
    """(number, struct answer) for each reason that is answered, in each of its eight forms.

    Raises ValueError where an answer is longer than ANSWER_BYTES.
    """
    for reason, number in REASON_NUMBERS.items():
        if not is_answered(reason):
            continue
        for form in range(8):
            text = answer(
                reason,
                keep_alive=bool(form & ANSWER_KEEP),
                client_minor=0 if form & ANSWER_HTTP10 else 1,
                head=bool(form & ANSWER_TO_HEAD),
            )
            if len(text) > ANSWER_BYTES:
                raise ValueError(f"the answer to {reason} has {len(text)} bytes: too many")
            yield number * 8 + form, _ANSWER.pack(len(text), text)


def in_place_values() -> Iterator[tuple[int, bytes]]:
    """(number, struct in_place) for each form of each answer: asked by HEAD or not, the connection
    goes on or not.

    Raises ValueError where there is no room for a form.
    """
    for reason, number in REASON_NUMBERS.items():
        if not is_answered(reason):
            continue
        for head, keep in itertools.product((False, True), repeat=2):
            first = (number * 4 + head * 2 + keep) * IN_PLACE_FORMS
            for place, form in enumerate(forms(reason, keep_alive=keep, head=head)):
                halves = form.head, form.tail
                if place == IN_PLACE_FORMS or max(map(len, halves)) > IN_PLACE_BYTES:
                    raise ValueError(f"there is no room for the forms of {reason}")
                sizes = form.least, len(form.head), len(form.tail)
                more = form.length_at, form.content, form.is_open
                yield first + place, _IN_PLACE.pack(*sizes, *more, *halves)


def write(store: Store) -> None:
    """Fills the maps ``answers`` and ``in_place``. Raises OSError."""
    for name, values in (("answers", map_values()), ("in_place", in_place_values())):
        fd = store.table(name).fd
        for number, value in values:
            libbpf.map_update(fd, number.to_bytes(4, sys.byteorder), value)


def is_answered(reason: Reason) -> bool:
    """Whether the kernel may have to answer it. It redirects nobody."""
    return reason.status is not None and reason is not Reason.ESCAPED_SLASH
