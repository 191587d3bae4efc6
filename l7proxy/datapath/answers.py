"""Our own responses, as the programs find them: every refusal that the kernel road may answer."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator

from l7proxy.datapath import libbpf
from l7proxy.datapath.names import (
    ANSWER_BYTES,
    ANSWER_HTTP10,
    ANSWER_KEEP,
    ANSWER_TO_HEAD,
    REASON_NUMBERS,
)
from l7proxy.datapath.store import Store
from l7proxy.http.answers import answer
from l7proxy.reasons import Reason

_ANSWER = struct.Struct(f"=I{ANSWER_BYTES + 4}s")  # struct answer of bpf/http.h


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


def write(store: Store) -> None:
    """Fills the map ``answers``. Raises OSError."""
    fd = store.table("answers").fd
    for number, value in map_values():
        libbpf.map_update(fd, number.to_bytes(4, sys.byteorder), value)


def is_answered(reason: Reason) -> bool:
    """Whether the kernel may have to answer it. It redirects nobody."""
    return reason.status is not None and reason is not Reason.ESCAPED_SLASH
