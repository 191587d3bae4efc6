"""What the metrics address says is well-formed, only grows, and is bounded."""

from __future__ import annotations

import re
import subprocess
import threading

import pytest

from tests.monitoring.conftest import Watched
from tests.monitoring.scrapes import OPENMETRICS, TEXT, Scrape, scrape

GROWING = ("counter", "histogram")


@pytest.fixture(scope="module")
def settled(watched: Watched) -> Scrape:
    watched.client.mixed(1)
    return watched.settled()


@pytest.mark.parametrize("accept", [TEXT, OPENMETRICS])
def test_every_family_has_help_and_type(watched: Watched, settled: Scrape, accept: str) -> None:
    scraped = scrape(watched.metrics, accept)
    assert scraped.content_type.startswith(accept.partition(";")[0])
    prefixes = ("hubble_", "cilium_", "l7proxy_")
    assert len(scraped.families) > 20
    for family in scraped.families:
        assert family.name.startswith(prefixes)
        assert family.type in {"counter", "gauge", "histogram"}
        assert family.documentation
        total = "" if accept == OPENMETRICS or family.type != "counter" else "_total"
        for keyword in ("HELP", "TYPE"):
            assert scraped.text.count(f"# {keyword} {family.name}{total} ") == 1


OF_PROCESSES = re.compile("l7proxy_(agent_process|worker)_")
"""What a process has used so far changes from one scrape to the next."""


def test_both_formats_say_the_same(watched: Watched, settled: Scrape) -> None:
    said = []
    for accept in (TEXT, OPENMETRICS):
        samples = scrape(watched.metrics, accept).samples
        said.append({key: samples[key] for key in samples if not OF_PROCESSES.match(key[0])})
        assert {key[0] for key in samples} > {key[0] for key in said[-1]}
    assert said[0] == said[1]


@pytest.mark.needs_command("promtool")
def test_promtool_finds_nothing_to_mend(settled: Scrape) -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=settled.text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_what_counts_only_grows_under_load(watched: Watched) -> None:
    load = threading.Thread(target=watched.client.mixed, args=(20,))
    before = watched.settled()
    first = before
    load.start()
    while load.is_alive():
        after = watched.scrape()
        assert fallen(before, after) == []
        before = after
    load.join()
    last = watched.settled()
    assert fallen(before, last) == []
    requests = "hubble_http_requests_total"
    assert last.sum(requests) == first.sum(requests) + 20 * 15 == watched.client.counts.total()


def fallen(before: Scrape, after: Scrape) -> list[str]:
    """What counts and is less than it was, or gone."""
    now = after.samples
    growing = {family.name for family in before.families if family.type in GROWING}
    return [
        f"{sample.name}{sample.labels}"
        for family in before.families
        if family.name in growing
        for sample in family.samples
        if now.get((sample.name, frozenset(sample.labels.items())), -1.0) < sample.value
    ]


def test_a_flood_of_made_up_words_makes_no_series(watched: Watched, settled: Scrape) -> None:
    """Methods, paths, hosts, versions and headers are the client's own words."""

    def words(number: int) -> None:
        ask = watched.client.raw
        ask(f"GET /path-{number} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode(), "GET")
        ask(f"M{number} /users HTTP/1.1\r\nHost: h{number}\r\nX-{number}: {number}\r\n"
            "Connection: close\r\n\r\n".encode(), "other")  # fmt: skip
        ask(f"GET /users HTTP/{number % 8 + 2}.0\r\nHost: h{number}\r\n\r\n".encode(), "GET")
        ask(f"GET /\x01{number} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), "GET")

    words(0)
    before = watched.settled()
    for number in range(1, 50):
        words(number)
    after = watched.settled()

    assert after.samples.keys() == before.samples.keys()
    requests = "hubble_http_requests_total"
    assert after.sum(requests) == before.sum(requests) + 4 * 49
