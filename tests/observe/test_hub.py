from __future__ import annotations

import json
import threading

from l7proxy.observe.hub import FlowHub


def lines(*numbers: int) -> list[bytes]:
    return [b'{"n":%d}\n' % number for number in numbers]


def quiet() -> None:
    """A follower that asks when it likes."""


def test_the_last_lines_are_kept_oldest_first() -> None:
    hub = FlowHub(3)
    for line in lines(1, 2, 3, 4):
        hub.publish(line)

    assert hub.last() == lines(2, 3, 4)
    assert hub.last(2) == lines(3, 4)
    assert hub.last(0) == []
    assert hub.last(9) == lines(2, 3, 4)
    assert hub.first(2) == lines(2, 3)


def test_long_lines_push_out_more_than_one() -> None:
    hub = FlowHub(100)
    hub.publish_all([b"x" * 40_000] * 100)

    assert sum(map(len, hub.last())) <= 100 * 4096
    assert len(hub.last()) == 10


def test_a_follower_gets_the_past_it_asked_for_and_all_that_comes() -> None:
    hub = FlowHub(10)
    hub.publish_all(lines(1, 2, 3))
    woken: list[str] = []
    kept, follower = hub.subscribe(lambda: woken.append("up"), last=2)

    assert kept == lines(2, 3)
    assert follower.take() == []
    hub.publish(lines(4)[0])
    hub.publish(lines(5)[0])
    assert woken == ["up"]
    assert follower.take() == lines(4, 5)
    hub.publish(lines(6)[0])
    assert woken == ["up", "up"]

    follower.close()
    follower.close()
    hub.publish(lines(7)[0])
    assert follower.take() == lines(6)
    assert hub.followers == 0


def test_a_slow_follower_misses_the_newest_is_told_so_and_the_others_get_all() -> None:
    hub = FlowHub(100, "worker-1", queue_bytes=3 * len(lines(1)[0]))
    _, slow = hub.subscribe(quiet)
    _, quick = hub.subscribe(quiet)
    seen = []
    for line in lines(*range(8)):
        hub.publish(line)
        seen += quick.take()

    assert seen == lines(*range(8))
    *got, told = slow.take()
    assert got == lines(0, 1, 2)
    lost = json.loads(told)
    assert lost["lost_events"] == {"source": "OBSERVER_EVENTS_QUEUE", "num_events_lost": "5"}
    assert lost["node_name"] == "worker-1"
    assert lost["time"].endswith("Z")
    assert hub.lost == 5
    hub.publish(lines(8)[0])
    assert slow.take() == lines(8)


def test_threads_may_publish_while_others_read() -> None:
    hub = FlowHub(50)
    _, follower = hub.subscribe(quiet)

    def publish() -> None:
        for line in lines(*range(2000)):
            hub.publish(line)

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    got: list[bytes] = []
    while any(thread.is_alive() for thread in threads):
        got += follower.take()
        assert len(hub.last()) <= 50
    got += follower.take()

    assert sorted(got) == sorted(lines(*range(2000)) * 4)
