"""A bad network between the node and a client far away."""

from __future__ import annotations

import time

from tests.faults.fault import Fault
from tests.faults.relay import Weather
from tests.faults.samples import total
from tests.faults.town import Town

DISTANT = frozenset({"distant"})
BAD = Weather(delay=0.005, jitter=0.01, loss=0.02, twice=0.02)
CUT = Weather(reset=0.02)
SECONDS = 8.0


def _under(town: Town, weather: Weather) -> None:
    town.weather(weather)
    time.sleep(SECONDS)
    town.weather(Weather())


def bad_weather(town: Town) -> None:
    """Packets come late, in another order, twice, or never."""
    _under(town, BAD)


def resets(town: Town) -> None:
    """Connections are reset at both ends in the middle of what they carry."""
    _under(town, CUT)


FAULTS = {
    "delay, loss, duplicates, disorder": Fault(
        bad_weather, total("l7proxy_tcp_retransmitted_segments_total", least=5), DISTANT
    ),
    "connections reset on the way": Fault(
        resets, total("hubble_http_requests_total", 'status="0"'), DISTANT
    ),
}
