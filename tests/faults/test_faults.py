"""The harness itself, with a few of its faults; ``python -m tests.faults`` tries all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.fault import Fault
from tests.faults.faults import FAULTS
from tests.faults.relay import resets
from tests.faults.report import Row, markdown
from tests.faults.samples import total
from tests.faults.town import Town, town
from tests.faults.trial import trial

pytestmark = pytest.mark.needs_ebpf


@pytest.fixture(scope="module")
def place() -> Iterator[Town]:
    with town() as made:
        yield made


@pytest.mark.parametrize("name", ["workers killed", "pins removed"])
def test_nothing_is_wrong_and_a_metric_tells(place: Town, name: str) -> None:
    row = Row(name, FAULTS[name])
    trial(place, row)
    assert row.problems == []
    assert row.answered > 100
    assert f"| {name} | 1 |" in markdown([row])


def test_what_is_wrong_is_found(place: Town) -> None:
    """Rules that let everything in, and a fault that no metric tells of."""

    def let_in(town: Town) -> None:
        path = town.policies / "server.yaml"
        path.write_text(path.read_text().replace("/ok/.*", "/.*"))
        town.agent.reload()

    before = (place.policies / "server.yaml").read_text()
    row = Row("let in", Fault(let_in, total("l7proxy_no_such_metric")))
    try:
        trial(place, row)
    finally:
        (place.policies / "server.yaml").write_text(before)
    assert row.unapproved > 0
    assert row.wrong > 0
    assert any("did not tell" in each for each in row.problems)


def test_a_reset_takes_the_place_of_content_only() -> None:
    ports = (40000).to_bytes(2, "big") + (80).to_bytes(2, "big")
    ip = bytes([0x45, 0, 0, 44, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2])
    tcp = ports + b"SEQN" + b"ACKN" + bytes([0x50, 0x10]) + bytes(6)
    assert resets(ip + tcp) is None
    both = resets(ip + tcp + b"data")
    assert both is not None
    on, back = both
    assert (on[12:24], on[24:32], on[33]) == (ip[12:20] + ports, b"SEQNACKN", 0x14)
    assert (back[12:20], back[24:32]) == (ip[16:20] + ip[12:16], b"ACKNSEQN")
