"""Questions to ``explain``, and the admin socket that they come by."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
from collections.abc import Iterator
from functools import cache

from l7proxy.agent.flows import Flows
from l7proxy.agent.httpd import (
    HEAD_BYTES,
    Answer,
    HttpServer,
    Question,
    Stream,
    error_answer,
    json_answer,
)
from l7proxy.compiler.head_meaning import Undecided
from l7proxy.explain import Question as Asked
from l7proxy.explain import QuestionError, Surroundings, explain
from l7proxy.limits import Limits
from l7proxy.observe.recorder import RecorderSettings
from l7proxy.policy.verdict import Action, Road
from l7proxy.reasons import Reason
from tests.fuzz.records import POLICIES, WORKLOADS
from tests.fuzz.target import Target, check_line
from tests.http.others import response_by_h11

KERNEL = Surroundings(POLICIES, WORKLOADS)
PROXY = dataclasses.replace(KERNEL, kernel_road=False)
USERSPACE = dataclasses.replace(KERNEL, userspace=True)
_STRICTER = {each.value for each in Undecided}


def run(data: bytes) -> None:
    """The kernel's answer is the proxy's, or one of the stricter ones that are documented."""
    try:
        asked = Asked.from_json(data)
    except QuestionError as error:
        check_line(str(error))
        return
    try:
        kernel, proxy, userspace = (explain(asked, each) for each in (KERNEL, PROXY, USERSPACE))
    except QuestionError as error:
        check_line(str(error))
        return
    for document in (kernel.to_json(), proxy.to_json(), userspace.to_json()):
        assert json.loads(json.dumps(document)) == document
    assert proxy.explanation.road.road is not Road.KERNEL
    if proxy.explanation.road.road is Road.PROXY:
        assert userspace.explanation.verdict == proxy.explanation.verdict
    told, expected = kernel.explanation.verdict, proxy.explanation.verdict
    if kernel.detail in _STRICTER or expected.reason is Reason.ESCAPED_SLASH:
        assert told.action is Action.BLOCK
    else:
        assert (told.action, told.reason) == (expected.action, expected.reason)
        assert (told.policy, told.rule) == (expected.policy, expected.rule)


def admin(data: bytes) -> None:
    """Bytes on the admin socket are answered or let go; never is a fault in the agent told."""
    answer = _loop().run_until_complete(_converse(data))
    if answer:
        found = response_by_h11(answer, b"GET")
        assert found is not None
        assert found.start[0] in (200, 400, 404, 411, 413, 431, 503), found


async def _converse(data: bytes) -> bytes:
    """All that the server says to a client that says ``data`` and no more."""
    server, client = socket.socketpair()
    with client:
        reader, writer = await asyncio.open_connection(sock=server, limit=HEAD_BYTES)
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        await HttpServer(_answer).serve(reader, writer)
        client.setblocking(False)
        said = b""
        while part := await asyncio.get_running_loop().sock_recv(client, 65536):
            said += part
        return said


async def _answer(question: Question) -> Answer | Stream:
    """The two questions of the admin socket that take something from who asks."""
    if question.path == "/flows":
        return _flows().answer(question.query)
    if question.path == "/explain":
        try:
            return json_answer(explain(Asked.from_json(question.body), KERNEL).to_json())
        except QuestionError as error:
            return error_answer(400, str(error))
    return error_answer(404, f"{question.path} is nothing that can be asked")


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


@cache
def _flows() -> Flows:
    flows = Flows(RecorderSettings("n"), Limits())
    flows.hub.publish(b'{"flow":{}}\n')
    return flows


def seeds() -> Iterator[bytes]:
    asked = Asked("app=frontend", "app=users", 80, "GET", "/users/1", (("X-Key", "v"),))
    for each in (
        asked,
        dataclasses.replace(asked, server="org=empire,class=deathstar", client="org=empire"),
        dataclasses.replace(asked, client="default/frontend", server="users", target="/a/../b"),
        dataclasses.replace(asked, client="host", server="app=orders", port=8080, target="/admin"),
        dataclasses.replace(asked, client="192.0.2.9", server="world", target="http://a/b"),
        dataclasses.replace(asked, client="app=crawler", server="app=search", port=9200),
        dataclasses.replace(asked, headers=(("Host", "[::1.2.3.4]"), ("Connection", "x-key"))),
        dataclasses.replace(asked, target="/a%2fb", method="POST"),
        dataclasses.replace(asked, target="/users/root", method="OPTIONS"),
    ):
        yield json.dumps(each.to_json()).encode()


def admin_seeds() -> Iterator[bytes]:
    for target in ("/flows?last=1", "/flows?follow=1", "/flows?first=1&last=x", "/flows?a=b", "/x"):
        yield f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    for body in seeds():
        yield b"POST /explain HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    yield b"POST /explain HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n"
    yield b"POST /explain HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"


TOKENS = (
    *b'"from" "to" "port" "method" "target" "headers" "app=users" "host" "world"'.split(b" "),
    *b'"Host" "Connection" "Content-Length" "Transfer-Encoding" "x-key" "GET" "*"'.split(b" "),
    *(b'"/users/1"', b'"http://users/"', b'"\\ud800"', b'"\\r\\n"', b"[[", b"null", b"8080"),
    *(b'"10.0.0.2"', b'"fe80::1%eth0"', b'"::ffff:10.0.0.2"', b"k8s:", b"reserved:", b"\\u001b"),
)
ADMIN_TOKENS = (
    *(b"GET /flows?", b"POST /explain HTTP/1.1\r\n", b"last=", b"first=", b"follow=1", b"&", b"%"),
    *(b"Content-Length: ", b"Transfer-Encoding: chunked", b"\r\n\r\n", b"9" * 20, b"+5", b"0x5"),
)

QUESTIONS = Target(run, seeds, TOKENS, most_bytes=1024)
ADMIN = Target(admin, admin_seeds, (*ADMIN_TOKENS, *TOKENS), most_bytes=16384)
