"""Applications notice nothing: the same script sees the same with and without the datapath.

``DIFFERENT`` holds the exceptions, exactly; a script that is not there must see no difference.
Seen to fail: with ``on_receive`` not attached, ``bytes_queued`` sees 0 for what came by TCP.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from l7proxy.demo.pods import Node
from tests.datapath import scripts_bytes, scripts_endings
from tests.datapath.covered import Covered
from tests.datapath.scripts import Ends

pytestmark = pytest.mark.needs_ebpf

SCRIPTS = {**scripts_bytes.SCRIPTS, **scripts_endings.SCRIPTS}
ROUTES = ("ip4", "ip6", "loopback")

DIFFERENT: dict[str, tuple[Any, Any]] = {
    "bytes_counted_by_tcp": (6, 0),
    "close_with_unread_bytes": (["ECONNRESET", b""], [b"", b""]),
    "inquiry_beside_bytes": ([b"ab", [4]], [b"ab", []]),
    "small_buffers_bound_what_waits": (True, False),
    "splice_out": (3, "EAGAIN"),
    "urgent_byte": ([b"ab", "EINVAL"], [b"ab!", b""]),
    "wait_for_all": (b"abcdef", b"abc"),
}
"""(without the datapath, with it): all of them are in l7proxy/datapath/short_circuit.py"""


def route(node: Node, name: str) -> Ends:
    a, b = node.workloads
    return {
        "ip4": Ends(a, b, b.ip),
        "ip6": Ends(a, b, b.ip6),
        "loopback": Ends(a, a, "127.0.0.1"),
    }[name]


@pytest.fixture(scope="module")
def plain(node: Node) -> dict[str, Any]:
    """What each script sees on the node's network alone."""
    for name in ("a", "b"):
        node.add_pod(name)
    return {name: script(route(node, "ip4")) for name, script in SCRIPTS.items()}


@pytest.fixture(scope="module")
def covered(node: Node, plain: dict[str, Any]) -> Iterator[Covered]:
    made = Covered(node)
    made.start()
    made.apply("")
    yield made
    made.end()


@pytest.mark.parametrize("way", ROUTES)
@pytest.mark.parametrize("name", SCRIPTS)
def test_script_sees_the_same(covered: Covered, plain: dict[str, Any], name: str, way: str) -> None:
    with covered.counted() as risen:
        seen = SCRIPTS[name](route(covered.node, way))
    assert risen.get("paired"), "the datapath had no part in it"
    if name in DIFFERENT:
        assert (plain[name], seen) == DIFFERENT[name]
    else:
        assert seen == plain[name]
