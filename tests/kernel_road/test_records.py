"""Every request that the kernel decides is told of once, as its client saw it, and counted.

Seen to fail: with ``account`` left out of ``on_response``, with ``keep_beginning`` left out, with
the records of refusals submitted without ``told``, and with ``connection_ends`` left out.
"""

from __future__ import annotations

import contextlib
import socket
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from l7proxy.compiler.head_machine import Stopped
from l7proxy.compiler.head_meaning import RequestHead, refusal
from l7proxy.compiler.head_sides import RequestMachine
from l7proxy.datapath.names import Doom
from l7proxy.demo.pods import Node
from l7proxy.limits import Limits
from l7proxy.reasons import Reason
from tests.datapath.covered import PATIENCE
from tests.http.corpus import Case, load_cases
from tests.kernel_road.answers import Answers
from tests.kernel_road.recorder import Request, plain
from tests.kernel_road.town import WAYS, Town, get
from tests.support.waiting import eventually

pytestmark = pytest.mark.needs_ebpf

RULES = """[
  {name: read, method: "GET|HEAD", path: "/ok.*"},
  {name: write, method: "POST|PUT", path: "/ok.*"},
  {name: secret, path: "/ok/secret", action: block}]"""
Json = dict[str, Any]


@pytest.fixture(scope="module")
def watched(town: Town) -> Iterator[Town]:
    """The town with rules that have names."""
    town.apply(RULES)
    yield town
    town.apply('[{method: "GET|HEAD|POST|PUT", path: "/ok.*"}]')


@pytest.fixture
def records(watched: Town) -> Records:
    return Records(watched)


class Records:
    """What the datapath tells from now on."""

    def __init__(self, town: Town) -> None:
        self._town = town
        town.covered.ask("records")
        self._seen: list[Json] = []
        self._counted = counts(town)

    def await_all(self, number: int) -> list[Json]:
        """So many; more would be an error."""
        eventually(lambda: self._more() >= number, PATIENCE)
        assert len(self._seen) == number, self._seen
        return self._seen

    def refused(self, number: int) -> list[Json]:
        """All refused requests, once there are so many; before, none."""
        self._more()
        found = [each for each in self._seen if each["verdict"] == "DROPPED"]
        return found if len(found) >= number else []

    def resets(self) -> list[Json]:
        """Those of connections that were given up, so far."""
        self._more()
        return [each for each in self._seen if each["reason"] == "connection-reset"]

    def risen(self) -> Json:
        """What was counted since."""
        now = counts(self._town)
        return {name: now[name] - self._counted[name] for name in now}

    def _more(self) -> int:
        self._seen += self._town.covered.ask("records")
        return len(self._seen)


def counts(town: Town) -> dict[str, Counter[Any]]:
    """(method, reason, policy's rule) of all decided, (method, status) of all answered, and the
    number of latencies."""
    tally = town.covered.ask("tally")
    decided: Counter[Any] = Counter()
    for method, _, _, _, _, reason, _, _, rule, count in tally["requests"]:
        decided[method, reason, rule] += count
    answered: Counter[Any] = Counter()
    for method, _, status, _, count in tally["outcomes"]:
        answered[method, status] += count
    timed: Counter[Any] = Counter()
    for method, _, buckets in tally["latency"]:
        timed[method] += int(sum(buckets[:-1]))
    return {"decided": decided, "answered": answered, "timed": timed}


def test_served_and_refused(watched: Town, records: Records) -> None:
    """On both ways, one after the other on one connection."""
    for way in WAYS:
        with watched.recorder(), watched.connect(way) as sock:
            answers = Answers(sock)
            for target in ("/ok/1", "/ok/secret", "/no"):
                sock.sendall(get(target))
                answers.next()
            port = sock.getsockname()[1]
            told = records.await_all(3)
        client = "default/client" if way == "redirect" else watched.far.ip
        for each in told:
            assert each["client"] == client
            assert each["client_endpoint"]["port"] == port
            assert each["server"] == "default/server"
            assert each["method"] == "GET"
            assert each["host"] == "x"
            assert (each["road"], each["direction"], each["weight"]) == ("kernel", "INGRESS", 1)
        assert [
            (each["path"], each["status"], each["verdict"], each["reason"], each["rule"])
            for each in sorted(told, key=lambda each: each["time"])
        ] == [
            ("/ok/1", 200, "FORWARDED", "rule-allowed", "read"),
            ("/ok/secret", 403, "DROPPED", "rule-blocked", "secret"),
            ("/no", 403, "DROPPED", "no-rule-matched", None),
        ]
        served = next(each for each in told if each["status"] == 200)
        assert 0 <= served["latency_s"] < PATIENCE
        assert served["response_bytes"] == len("/ok/1\n")
        assert served["policy"] == "server"
        told.clear()


@pytest.mark.parametrize("way", WAYS)
def test_pipelined(watched: Town, records: Records, way: str) -> None:
    """Many requests in one segment are many records, each with its own answer."""
    targets = [f"/ok/{number}" for number in range(40)]
    with watched.recorder(), watched.connect(way) as sock:
        sock.sendall(b"".join(map(get, targets)))
        Answers(sock).until_refused(len(targets))
        told = records.await_all(len(targets))
    assert [each["path"] for each in told] == targets
    assert [each["response_bytes"] for each in told] == [len(f"{each}\n") for each in targets]
    risen = records.risen()
    assert risen["decided"]["GET", "rule-allowed", "read"] == len(targets)
    assert risen["answered"]["GET", 200] == len(targets)
    assert risen["timed"]["GET"] == len(targets)


@pytest.mark.parametrize("way", WAYS)
def test_head_in_pieces(watched: Town, records: Records, way: str) -> None:
    """What came ahead is in the record too, byte by byte if need be."""
    head = get("/ok/pieces", "HEAD")
    with watched.recorder(), watched.connect(way) as sock:
        for at in range(len(head)):
            sock.sendall(head[at : at + 1])
        assert Answers(sock).next("HEAD").status == 200
        (told,) = records.await_all(1)
    assert (told["method"], told["path"], told["host"]) == ("HEAD", "/ok/pieces", "x")
    assert (told["status"], told["rule"]) == (200, "read")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_content(watched: Town, records: Records, way: str, coding: str) -> None:
    """Bytes of content, both ways, however they are framed."""
    body = b"x" * 5000

    def chunks(request: Request) -> Iterable[bytes]:
        assert request.body == body
        yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        yield b"bb8\r\n" + b"y" * 3000 + b"\r\n"
        yield b"3e8\r\n" + b"y" * 1000 + b"\r\n0\r\n\r\n"

    head = b"POST /ok/up HTTP/1.1\r\nHost: x\r\n"
    if coding == "length":
        whole = head + b"Content-Length: 5000\r\n\r\n" + body
    else:
        whole = head + b"Transfer-Encoding: chunked\r\n\r\n1388\r\n" + body + b"\r\n0\r\n\r\n"
    with watched.recorder(chunks), watched.connect(way) as sock:
        sock.sendall(whole)
        assert len(Answers(sock).next().body) == 4000
        (told,) = records.await_all(1)
    assert (told["method"], told["rule"]) == ("POST", "write")
    assert (told["request_bytes"], told["response_bytes"]) == (5000, 4000)


@pytest.mark.parametrize("way", WAYS)
def test_no_answer(watched: Town, records: Records, way: str) -> None:
    """The server hangs up: what was owed is told of as unanswered, when the connection ends."""

    def nothing(request: Request) -> Iterable[bytes]:
        if request.target == "/ok/2":
            raise ConnectionAbortedError
        return plain(request)

    with watched.recorder(nothing), watched.connect(way) as sock:
        sock.sendall(b"".join(map(get, ("/ok/1", "/ok/2", "/ok/3"))))
        with contextlib.suppress(ConnectionError):
            Answers(sock).rest()
        told = records.await_all(3)
    assert [(each["path"], each["status"], each["verdict"], each["reason"]) for each in told] == [
        ("/ok/1", 200, "FORWARDED", "rule-allowed"),
        ("/ok/2", None, "ERROR", "unanswered"),
        ("/ok/3", None, "ERROR", "unanswered"),
    ]
    assert [each["rule"] for each in told] == ["read"] * 3
    assert records.risen()["answered"] == {("GET", 200): 1, ("GET", 0): 2}


@pytest.mark.parametrize("way", WAYS)
def test_answer_until_the_end(watched: Town, records: Records, way: str) -> None:
    """Content without a length: its end is the connection's."""

    def endless(request: Request) -> Iterable[bytes]:
        yield b"HTTP/1.1 200 OK\r\n\r\n"
        yield b"y" * 3000
        raise ConnectionAbortedError

    with watched.recorder(endless), watched.connect(way) as sock:
        sock.sendall(get("/ok/endless"))
        Answers(sock).rest()
        (told,) = records.await_all(1)
    assert (told["status"], told["verdict"], told["response_bytes"]) == (200, "FORWARDED", 3000)


@pytest.mark.parametrize("way", WAYS)
def test_answer_that_is_none(watched: Town, records: Records, way: str) -> None:
    """A server that does not speak HTTP: its bytes go on, and what they mean nobody claims."""

    def odd(request: Request) -> Iterable[bytes]:
        yield b"hello\n"
        raise ConnectionAbortedError

    with watched.recorder(odd), watched.connect(way) as sock:
        sock.sendall(get("/ok/odd"))
        assert Answers(sock).rest() == b"hello\n"
        (told,) = records.await_all(1)
    assert (told["verdict"], told["status"], told["reason"]) == ("FORWARDED", None, "rule-allowed")
    assert not records.risen()["answered"]


@pytest.mark.parametrize("way", WAYS)
def test_what_is_no_request(watched: Town, records: Records, way: str) -> None:
    """Its first bytes are in the record, and every refusal names its reason."""
    bad = {
        b"GET /ok HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n": ("GET", "bad-host"),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 40: ("other", "not-http"),
        b"PATCH /ok HTTP/3.0\r\nHost: a\r\nUser-Agent: something\r\n\r\n": ("PATCH", "bad-version"),
    }
    for data, (method, reason) in bad.items():
        with watched.recorder(), watched.connect(way) as sock:
            sock.sendall(data)
            Answers(sock).rest()
        (told,) = records.await_all(1)
        assert (told["verdict"], told["reason"], told["rule"]) == ("DROPPED", reason, None)
        assert told["status"] in (400, 505)
        assert records.risen()["decided"][method, reason, ""] == 1
        told_of = told["method"].encode("latin-1")
        assert data.startswith(told_of)
        records.await_all(1).clear()


@pytest.mark.parametrize("way", WAYS)
def test_every_refusal_of_the_corpus_names_its_reason(
    watched: Town, records: Records, way: str
) -> None:
    """And none a rule, because no rule decided."""
    cases = [(each, _reason(each)) for each in load_cases()]
    cases = [(case, reason) for case, reason in cases if reason is not None]
    ports: dict[int, str] = {}
    with watched.recorder():
        for case, _ in cases:
            with watched.connect(way) as sock:
                ports[sock.getsockname()[1]] = case.id
                with contextlib.suppress(OSError):
                    sock.sendall(case.wire)
                    sock.shutdown(socket.SHUT_WR)
                Answers(sock).rest()
    reasons = {case.id: str(reason) for case, reason in cases}
    named: dict[str, str] = {}
    for told in eventually(lambda: records.refused(len(cases)), PATIENCE):
        named.setdefault(ports[told["client_endpoint"]["port"]], told["reason"])
        assert told["rule"] is None
    assert named == reasons


def _reason(case: Case) -> Reason | None:
    """Why the kernel refuses a case before any rule is asked; None where it does not."""
    for event in RequestMachine(Limits()).feed(case.wire):
        if isinstance(event, Stopped):
            return refusal(event.cause)
        if isinstance(event, RequestHead):
            return None
    return None


def test_reset(watched: Town, records: Records) -> None:
    """A connection that has to end without an answer is told of, with what it met."""
    with watched.recorder(), watched.connect("redirect") as sock:
        sock.sendall(b"".join(map(get, ["/ok/1", *["/no"] * 9])))
        Answers(sock).rest()
        (told,) = eventually(records.resets, PATIENCE)
    assert (told["verdict"], told["status"], told["path"]) == ("DROPPED", None, "")
    assert told["client"] == "default/client"
    assert told["client_endpoint"]["port"]
    assert told["logged"] == [Doom.UNDECIDED.meaning]


@pytest.fixture(scope="module")
def hurried(compiled: Path) -> Iterator[Town]:
    """A town with little room for records."""
    with Node("records", compiled) as node:
        made = Town(node, RULES, {"flow_rate": 200, "flow_ring_bytes": 1 << 17})
        yield made
        made.covered.end()


def test_rate(hurried: Town) -> None:
    """Beyond the rate one record stands for several requests; all are counted, refusals told."""
    requests = 1500
    records = Records(hurried)
    told: list[Json] = []
    with hurried.recorder(), hurried.connect("redirect") as sock:
        answers = Answers(sock)
        for number in range(requests):
            sock.sendall(get("/ok/1" if number % 10 else "/no"))
            answers.next()
            if number % 100 == 99:
                told += hurried.covered.ask("records")
    refused = [each for each in told if each["verdict"] == "DROPPED"]
    served = [each for each in told if each["verdict"] == "FORWARDED"]
    assert len(refused) == requests // 10
    assert len(served) < requests // 2
    stood_for = sum(each["weight"] for each in served)
    risen = records.risen()
    assert stood_for <= risen["answered"]["GET", 200] == requests * 9 // 10
    skipped = hurried.covered.ask("counters")["flow_records_skipped"]
    assert len(served) + skipped == requests * 9 // 10


def test_nobody_reads(hurried: Town) -> None:
    """Traffic goes on when the ring is full, and what has no room is counted."""
    requests = 400
    hurried.covered.ask("records")
    with hurried.covered.counted() as risen:
        with hurried.recorder(), hurried.connect("redirect") as sock:
            answers = Answers(sock)
            for _ in range(requests):
                sock.sendall(get("/no"))
                assert answers.next().status == 403
        told: list[Json] = hurried.covered.ask("records")
    assert risen["flow_events_lost"] > 0
    assert len(told) + risen["flow_events_lost"] == requests
