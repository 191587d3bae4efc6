"""What ``l7proxy ui`` answers, over real sockets, with a fake agent behind it."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

import pytest

from l7proxy.ui.guard import BODY_BYTES
from tests.ui import traffic
from tests.ui.conftest import Site, prepare

JSON = {"Content-Type": "application/json"}
QUESTION: dict[str, Any] = {"from": "shop/frontend", "to": "shop/users", "port": 80}


def ask(
    site: Site, target: str, method: str = "GET", body: bytes = b"", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    """One answer; ``_`` in the names of headers stands for ``-``."""
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, target, body or None, named)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response, content


def refusal(site: Site, target: str, method: str = "GET", **more: Any) -> tuple[int, str]:
    response, content = ask(site, target, method, **more)
    return response.status, json.loads(content)["error"]


def raw(site: Site, request: bytes) -> bytes:
    """All that comes back for these bytes."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while data := connection.recv(65536):
            answer += data
    return answer


def open_stream(site: Site) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)
    connection.request("GET", "/api/flows?last=5")
    response = connection.getresponse()
    assert (response.status, response.headers["Content-Type"]) == (200, "application/x-ndjson")
    return response


def test_the_page_and_its_files_are_served(site: Site) -> None:
    page, content = ask(site, "/")
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"l7proxy" in content
    script, _ = ask(site, "/vendor/dagre.mjs")
    assert (script.status, script.headers["Content-Type"]) == (
        200,
        "text/javascript; charset=utf-8",
    )


@pytest.mark.parametrize(
    "target", ["/", "/api/status", "/api/flows?last=x", "/nothing", "/js/main.mjs"]
)
def test_every_answer_confines_the_page(site: Site, target: str) -> None:
    answer, _ = ask(site, target)
    policy = answer.headers["Content-Security-Policy"].split("; ")
    assert policy[0] == "default-src 'self'"
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    "target",
    ["/../server.py", "/js/../../server.py", "/%2e%2e/server.py", "/vendor/LICENSE", "/README.md"],
)
def test_nothing_but_the_pages_files_is_served(site: Site, target: str) -> None:
    assert refusal(site, target)[0] == 404


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:9966",
        "localhost",
        "localhost:1",
        "[::1]:9966",
        "127.9.9.9",
        "LocalHost",
    ],
)
def test_loopback_names_are_its_own(site: Site, host: str) -> None:
    assert ask(site, "/api/status", Host=host)[0].status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:9966",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "10.0.0.1",
        "[::2]",
        "0.0.0.0",
        "localhost.",
        "1",
        "127.1",
    ],
)
@pytest.mark.parametrize("target", ["/", "/api/status", "/api/flows?last=1"])
def test_a_name_that_was_rebound_is_refused(site: Site, host: str, target: str) -> None:
    status, error = refusal(site, target, Host=host)
    assert (status, error) == (403, "ask for this server by its address or as localhost")


def test_a_request_without_one_host_is_refused(site: Site) -> None:
    own = b"Host: localhost\r\n"
    for heads in (b"", own + own, b"Host: evil.example\r\n" + own):
        assert raw(site, b"GET /api/status HTTP/1.1\r\n" + heads + b"\r\n").startswith(
            b"HTTP/1.1 400 "
        )
    assert raw(site, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 403 ")


def test_another_sites_page_may_not_ask(site: Site) -> None:
    for site_of in ("cross-site", "same-site"):
        status, _ = refusal(site, "/api/status", Sec_Fetch_Site=site_of)
        assert status == 403
    assert ask(site, "/api/status", Sec_Fetch_Site="same-origin")[0].status == 200
    # A link to the page is no harm.
    assert ask(site, "/", Sec_Fetch_Site="cross-site")[0].status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("target", ["/", "/api/status", "/api/flows?last=1"])
def test_it_only_reads(site: Site, method: str, target: str) -> None:
    answer, _ = ask(site, target, method, b"{}", **JSON)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET")


def test_explain_is_asked_by_post(site: Site) -> None:
    answer, _ = ask(site, "/api/explain")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_what_a_form_can_send_is_no_question(site: Site, kind: str | None) -> None:
    named = {} if kind is None else {"Content-Type": kind}
    status, error = refusal(site, "/api/explain", "POST", body=b"{}", **named)
    assert (status, error) == (415, "the question must be application/json")


def test_bodies_are_bounded(site: Site) -> None:
    large = b"x" * (BODY_BYTES + 1)
    assert refusal(site, "/api/explain", "POST", body=large, **JSON)[0] == 413
    chunked = (
        b"POST /api/explain HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    )
    assert raw(site, chunked).startswith(b"HTTP/1.1 411 ")
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 100_000 + b"\r\n\r\n"
    assert raw(site, head)[:13] in (b"HTTP/1.1 431 ", b"HTTP/1.1 400 ")


@pytest.mark.parametrize("bytes_", [b"\r\n\r\n", b"\x16\x03\x01\r\n\r\n", b"GET /\r\n\r\n", b"GET"])
def test_what_is_no_request_does_no_harm(site: Site, bytes_: bytes) -> None:
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as connection:
        connection.sendall(bytes_)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(65536)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    assert ask(site, "/api/status")[0].status == 200


def test_questions_are_passed_on_and_answers_back(site: Site) -> None:
    for name in ("status", "workloads", "policies"):
        answer, content = ask(site, f"/api/{name}")
        assert (answer.status, json.loads(content)) == site.agent.answers[f"/{name}"]
    while not site.agent.asked.empty():
        site.agent.asked.get()
    _, content = ask(site, "/api/explain", "POST", json.dumps(QUESTION).encode(), **JSON)
    assert json.loads(content) == traffic.EXPLAINED
    assert site.agent.asked.get(timeout=10) == ("POST", "/explain", QUESTION)


def test_what_the_agent_refuses_is_refused_with_its_words(site: Site) -> None:
    site.agent.answers["/explain"] = (400, {"error": "no workload 'x'"})
    try:
        told = refusal(site, "/api/explain", "POST", body=b"{}", **JSON)
    finally:
        prepare(site.agent)
    assert told == (400, "no workload 'x'")


def test_flows_come_as_they_are_made(site: Site) -> None:
    users, frontend = traffic.PODS["users"], traffic.PODS["frontend"]
    site.agent.history = [traffic.flow(frontend, users, path=b"/before")]
    stream = open_stream(site)
    assert json.loads(stream.readline()) == site.agent.history[0]
    for path in (b"/one", b"/<script>"):
        line = traffic.flow(frontend, users, path=path)
        site.agent.say([line])
        assert json.loads(stream.readline()) == line
    stream.close()


def test_the_agents_stream_ends_when_the_browser_goes_away(site: Site) -> None:
    site.agent.history = [traffic.lost(1)]
    stream = open_stream(site)
    stream.readline()
    while not site.agent.closed.empty():
        site.agent.closed.get()
    stream.close()
    assert site.agent.closed.get(timeout=10) == "flows"


@pytest.mark.parametrize("query", ["", "?last=", "?last=-1", "?last=999999", "?last=1&follow=0"])
def test_flows_are_asked_for_in_one_way(site: Site, query: str) -> None:
    assert refusal(site, f"/api/flows{query}")[0] == 400


def test_too_many_pages_are_told_so(site: Site) -> None:
    site.agent.history = [traffic.lost(1)]
    streams = [open_stream(site) for _ in range(16)]
    assert [json.loads(stream.readline()) for stream in streams] == [traffic.lost(1)] * 16
    status, error = refusal(site, "/api/flows?last=1")
    assert (status, error) == (503, "16 pages are open already: close one")
    for stream in streams:
        stream.close()


def test_an_agent_that_goes_away_ends_the_stream_and_can_come_back(site: Site) -> None:
    site.agent.history = [traffic.lost(1)]
    stream = open_stream(site)
    stream.readline()
    site.agent.stop()
    try:
        assert stream.read() == b""
        for target in ("/api/status", "/api/flows?last=1"):
            status, error = refusal(site, target)
            assert status == 502
            assert error.startswith("no agent answers at ")
            assert error.endswith("; start one with: l7proxy run")
    finally:
        site.agent.start()
    assert ask(site, "/api/status")[0].status == 200


def test_an_agent_without_flows_is_told_of(site: Site) -> None:
    site.agent.answers["/flows"] = (404, {"error": "/flows is nothing that can be asked"})
    try:
        told = refusal(site, "/api/flows?last=1")
    finally:
        prepare(site.agent)
    assert told == (404, "/flows is nothing that can be asked")
