"""Requests that are refused: what the client gets, and that the backend gets nothing.

Seen to fail: without the branch for blocked verdicts in ``Exchange.begin``, the denied requests
reach the backend; without the refusal of Content-Length beside Transfer-Encoding in
``l7proxy/http/framing.py``, its cases of the corpus do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from l7proxy.limits import Limits
from l7proxy.observe.flows import DROPPED
from l7proxy.policy.verdict import Road
from l7proxy.proxy.downstream import ClientConnection
from l7proxy.proxy.userspace import Adapter
from l7proxy.reasons import Reason
from l7proxy.workloads.model import Workload
from tests.http.corpus import Case, load_cases
from tests.proxy.harness import USERS, Handler, Peer, policies, proxied, run, serving, until

ONLY_OK = '{path: "/ok", name: fine}, {path: "/blocked", action: block, name: never}'
REFUSED = [case for case in load_cases() if case.reason is not None]


def test_the_corpus_is_there() -> None:
    assert len(REFUSED) >= 60


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_a_malformed_request_is_answered_and_goes_nowhere(tmp_path: Path, case: Case) -> None:
    """Sent at once: the stated status, then the end of the connection, and no backend is asked."""
    assert case.reason is not None

    async def test() -> None:
        async with proxied(tmp_path) as proxy:
            client = await proxy.client()
            await client.send(case.wire)
            answer = await client.answer()
            assert answer.status == case.status
            assert answer.header(b"connection") == b"close"
            assert answer.header(b"location") == case.location
            assert await client.closed() == b""
            (record,) = await proxy.recorded()
            assert (record.reason, record.verdict) == (case.reason, DROPPED)
            assert record.status == case.status
            assert proxy.backend.connections == []

    run(test())


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_a_malformed_request_byte_by_byte(tmp_path: Path, case: Case) -> None:
    """The same answer. A head that was fine goes on before its body is known to be broken, but
    then the backend never gets a whole request."""

    async def test() -> None:
        async with proxied(tmp_path, swallow) as proxy:
            client = await proxy.client()
            await trickle(client.send, case.wire)
            assert (await client.answer()).status == case.status
            assert await client.closed() == b""
            for connection in proxy.backend.connections:
                head, _, content = connection.seen.partition(b"\r\n\r\n")
                assert b"chunked" in head
                assert not content.endswith(b"0\r\n\r\n")

    run(test())


async def swallow(peer: Peer) -> None:
    """Reads and never answers."""
    while data := await peer.reader.read(65536):
        peer.seen += data


async def trickle(send: Callable[[bytes], Awaitable[None]], wire: bytes) -> None:
    """Bytes one by one where it matters, at both ends of long wires."""
    edges = 300
    middle = wire[edges:-edges]
    pieces = [bytes((byte,)) for byte in wire[:edges]]
    if len(wire) > edges:
        pieces += [middle] if middle else []
        pieces += [bytes((byte,)) for byte in wire[max(edges, len(wire) - edges) :]]
    with contextlib.suppress(OSError):  # it may be refused before its last byte
        for piece in pieces:
            await send(piece)


def test_denied_requests_keep_the_connection(tmp_path: Path) -> None:
    async def test() -> None:
        async with proxied(tmp_path, rules=ONLY_OK) as proxy:
            client = await proxy.client()
            for path, reason in ((b"/x", "no-rule-matched"), (b"/blocked", "rule-blocked")):
                answer = await client.get(path)
                assert answer.status == 403
                assert answer.content == b"Access denied\r\n"
                assert answer.header(b"content-type") == b"text/plain"
                assert proxy.witness.records[-1].reason.value == reason
                assert proxy.witness.records[-1].verdict == DROPPED
            assert proxy.witness.records[-1].rule == "never"
            assert proxy.backend.connections == []
            assert (await client.get(b"/ok")).content == b"/ok"

    run(test())


def test_a_denied_request_is_recorded_with_its_id(tmp_path: Path) -> None:
    async def test() -> None:
        async with proxied(tmp_path, rules=ONLY_OK) as proxy:
            client = await proxy.client()
            await client.send(b"GET /x HTTP/1.1\r\nHost: u\r\nX-Request-Id: mine\r\n\r\n")
            assert (await client.answer()).status == 403
            assert proxy.witness.records[-1].request_id == b"mine"

    run(test())


def test_a_waived_header_condition_is_recorded(tmp_path: Path) -> None:
    rules = "{headerMatches: [{name: X-Key, value: v, mismatch: LOG}]}"

    async def test() -> None:
        async with proxied(tmp_path, rules=rules) as proxy:
            client = await proxy.client()
            assert (await client.get(b"/")).status == 200
            (record,) = await proxy.recorded()
            (said,) = record.logged
            assert said == "x-key: is missing"

    run(test())


@pytest.mark.parametrize(
    "head",
    [
        b"POST /x HTTP/1.1\r\nHost: u\r\nContent-Length: 50000\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: u\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_a_small_denied_body_is_thrown_away(tmp_path: Path, head: bytes) -> None:
    body = b"GET /ok HTTP/1.1\r\nHost: u\r\n\r\n" * 2000
    content = b"4\r\nabcd\r\n0\r\n\r\n" if b"chunked" in head else body[:50000]

    async def test() -> None:
        async with proxied(tmp_path, rules=ONLY_OK) as proxy:
            client = await proxy.client()
            await client.send(head + content)
            assert (await client.answer()).status == 403
            assert (await client.get(b"/ok")).content == b"/ok"
            assert len(proxy.witness.records) == 2

    run(test())


def test_draining_waits_for_a_denied_body(tmp_path: Path) -> None:
    async def test() -> None:
        async with proxied(tmp_path, rules=ONLY_OK) as proxy:
            client = await proxy.client()
            await client.send(b"POST /x HTTP/1.1\r\nHost: u\r\nContent-Length: 5\r\n\r\nab")
            assert (await client.answer()).status == 403
            proxy.state.draining = True
            await client.send(b"cde")
            assert await client.closed() == b""

    run(test())


@pytest.mark.parametrize(
    "head",
    [
        b"POST /x HTTP/1.1\r\nHost: u\r\nContent-Length: 50000000\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: u\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: u\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    ],
)
def test_a_denied_body_of_unknown_or_great_length_ends_the_connection(
    tmp_path: Path, head: bytes
) -> None:
    """The client goes on sending for a while and still gets to read the answer."""

    async def test() -> None:
        async with proxied(tmp_path, rules=ONLY_OK) as proxy:
            client = await proxy.client()
            await client.send(head)
            await until(lambda: proxy.witness.records)
            if b"Expect" not in head:
                await client.send(b"x" * 100_000)
            answer = await client.answer()
            assert (answer.status, answer.header(b"connection")) == (403, b"close")
            assert await client.closed() == b""
            assert proxy.backend.connections == []

    run(test())


def test_what_comes_after_a_closing_answer_is_not_kept(tmp_path: Path) -> None:
    async def test() -> None:
        async with proxied(tmp_path, limits=Limits(linger_timeout=1)) as proxy:
            client = await proxy.client()
            await client.send(b"nonsense\r\n\r\n")
            assert (await client.answer()).status == 400
            (connection,) = proxy.state.clients
            assert isinstance(connection, ClientConnection)
            await client.send(*[bytes(64_000)] * 100)
            assert connection.buffer == b""
            # Listening to it has an end too.
            await until(lambda: not proxy.state.clients)

    run(test())


def test_a_connection_that_no_policy_admits_is_reset(tmp_path: Path) -> None:
    async def test() -> None:
        async with proxied(tmp_path) as proxy:
            before = await proxy.client()
            assert (await before.get()).status == 200
            # The rules now belong to another port: nobody may connect to this one.
            proxy.apply(policies(tmp_path, "{}", 1))
            await before.send(b"GET / HTTP/1.1\r\nHost: u\r\n\r\n")
            with pytest.raises(ConnectionResetError):
                await before.rest()
            after = await proxy.client()
            with pytest.raises(ConnectionResetError):
                await after.rest()
            assert proxy.witness.reasons[-1] is Reason.L4_DEFAULT_DENY
            assert proxy.witness.connections[-1] == (Road.REFUSED, Reason.L4_DEFAULT_DENY)

    run(test())


def test_nothing_is_served_before_the_first_snapshot(tmp_path: Path) -> None:
    async def test() -> None:
        async with proxied(tmp_path, ready=False) as proxy:
            early, patient = await proxy.client(), await proxy.client()
            answer = await early.get()
            assert (answer.status, answer.header(b"connection")) == (503, b"close")
            assert answer.content.startswith(b"not-ready: ")
            assert await early.closed() == b""
            assert proxy.backend.connections == []
            # Who was silent until then is judged by what is known now.
            proxy.apply(policies(tmp_path, ONLY_OK, proxy.backend.port))
            assert (await patient.get(b"/no")).status == 403
            assert (await patient.get(b"/ok")).status == 200

    run(test())


def test_a_listener_of_an_unknown_workload_serves_nobody(tmp_path: Path) -> None:
    async def test() -> None:
        async with proxied(tmp_path) as proxy:
            proxy.apply(policies(tmp_path, "{}", proxy.backend.port), workloads=())
            client = await proxy.client()
            with pytest.raises(ConnectionResetError):
                await client.get()

    run(test())


def test_a_workload_that_vanished_keeps_its_policy(tmp_path: Path) -> None:
    async def test() -> None:
        async with proxied(tmp_path, rules=ONLY_OK) as proxy:
            client = await proxy.client()
            assert (await client.get(b"/x")).status == 403
            proxy.apply(policies(tmp_path, ONLY_OK, proxy.backend.port), workloads=())
            assert (await client.get(b"/x")).status == 403

    run(test())


def test_forwarded_requests_take_turns(tmp_path: Path) -> None:
    other = Workload("default", "auth2", {"app": "auth"}, (USERS.addresses[0],))

    async def test() -> None:
        async with (
            serving(said(b"auth"), "127.0.0.2") as auth,
            serving(said(b"auth2"), str(USERS.addresses[0]), auth.port),
            proxied(tmp_path, ready=False) as proxy,
        ):
            rules = (
                "{path: /login, action: forward, name: to-auth, "
                f"forward: {{endpoints: {{matchLabels: {{app: auth}}}}, port: {auth.port}}}}}, "
                "{path: /ok}"
            )
            auth_at = Workload("default", "auth", {"app": "auth"}, (auth.ip,))
            found = policies(tmp_path, rules, proxy.backend.port)
            proxy.apply(found, (USERS, auth_at, other))
            client = await proxy.client()
            got = [(await client.get(b"/login")).content for _ in range(4)]
            assert sorted(got) == [b"auth", b"auth", b"auth2", b"auth2"]
            assert (await client.get(b"/ok")).content == b"/ok"
            first, *_, last = proxy.witness.records
            assert (first.reason, first.rule) == (Reason.RULE_FORWARDED, "to-auth")
            assert first.backend is not None
            assert first.backend.port == auth.port
            assert last.backend is None
            # Nobody left who could take it.
            proxy.apply(found, (USERS,))
            answer = await client.get(b"/login")
            assert answer.status == 503
            assert answer.content.startswith(b"no-backend: ")

    run(test())


def said(word: bytes) -> Handler:
    async def handler(peer: Peer) -> None:
        while True:
            await peer.head()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(word), word))

    return handler


def test_too_many_connections(tmp_path: Path) -> None:
    async def test() -> None:
        limits = Limits(connections=2, overload_answers=1)
        async with proxied(tmp_path, limits=limits) as proxy:
            served = [await proxy.client(), await proxy.client()]
            await until(lambda: len(proxy.state.clients) == 2)
            late = await proxy.client()
            answer = await late.answer()
            assert (answer.status, answer.header(b"connection")) == (503, b"close")
            assert answer.content.startswith(b"overloaded: ")
            too_late = await proxy.client()
            with pytest.raises(ConnectionResetError):
                await too_late.rest()
            for client in served:
                assert (await client.get()).status == 200
            assert proxy.witness.reasons.count(Reason.OVERLOADED) == 1

    run(test())


def test_a_fault_is_answered_500_and_reported_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Adapter):
        def route(self, destination: object, netns: str | None) -> str | None:
            raise ZeroDivisionError("broken on purpose")

    async def test() -> None:
        rules = '{action: forward, forward: {address: "127.0.0.1:9"}}'
        async with proxied(tmp_path, rules=rules, adapter=Broken) as proxy:
            client = await proxy.client()
            answer = await client.get()
            assert answer.status == 500
            assert answer.content.startswith(b"internal: ")
            assert await client.closed() == b""
            assert proxy.backend.connections == []
            assert proxy.witness.reasons == [Reason.INTERNAL]

    run(test())
    (message,) = [record.getMessage() for record in caplog.records]
    assert "ZeroDivisionError: broken on purpose" in message
    assert "\n" not in message
