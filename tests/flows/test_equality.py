"""What clients wrote down is what records and metrics say, request for request, on every road.

The long form is ``python -m tests.flows --requests 100000``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.flows.town import PATIENCE, Watched, counted, expected, statuses, told, watched
from tests.support.waiting import eventually

pytestmark = pytest.mark.needs_ebpf

EACH = 700
ALL = 10**9


@pytest.fixture(scope="module")
def recorded() -> Iterator[Watched]:
    """Every request has a record."""
    with watched(flow_rate=ALL, flow_read_rate=ALL, flow_ring_bytes=1 << 26) as made:
        yield made


def test_records_and_counts_are_what_clients_saw(recorded: Watched) -> None:
    before = recorded.metrics()
    said = recorded.load(EACH)
    flows = recorded.records(len(said))
    assert Counter(map(told, flows)) == Counter(expected(way.road, each) for way, each in said)
    roads = {way.name: way.road for way, _ in said}
    for flow in flows:
        name = told(flow)[1].split("/")[2].split("-")[0]
        assert flow["extensions"]["value"]["road"] == roads[name]
        assert flow["destination"]["pod_name"] == "server"
        assert flow["source"].get("pod_name") == (None if name == "tcp" else "near")
        assert "stands_for" not in flow["extensions"]["value"]
    # Workers save their counts four times a second.
    eventually(lambda: counted(before, recorded.metrics()) == statuses(said), PATIENCE)
