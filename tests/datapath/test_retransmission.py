"""A segment that begins with bytes of the one before it, on a connection between two pods.

Seen to fail: with ``cut_front`` of bpf/overlap.h left out of bpf/receive.c.
"""

from __future__ import annotations

import socket

import pytest

from tests.datapath.covered import Covered, accepted, received
from tests.support.segments import send_ahead

pytestmark = pytest.mark.needs_ebpf

BEGIN, REST, NEXT = b"a" * 400, b"b" * 300, b"c" * 50


@pytest.mark.parametrize("known", [0, 1, 400])
def test_each_byte_is_read_once(covered: Covered, known: int) -> None:
    a, b = covered.node.workloads
    with covered.counted() as risen, b.listen(b.ip, 0) as listener:
        near = a.connect(b.ip, listener.getsockname()[1])
        with near, accepted(listener) as far:
            # Nothing is short-circuited to somebody who waits for two bytes and more.
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 2)
            near.sendall(BEGIN)
            assert received(far, len(BEGIN)) == BEGIN
            send_ahead(a, near, BEGIN[len(BEGIN) - known :], REST)
            assert received(far, len(REST)) == REST
            near.sendall(REST + NEXT)
            assert received(far, len(NEXT)) == NEXT
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            near.sendall(NEXT)
            assert received(far, len(NEXT)) == NEXT
    assert risen["paired"] == 1
    assert risen["redirect_failed"] > 0, "nothing went by TCP"
