"""What would become of a request: the same functions that decide real ones, asked in advance."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from l7proxy.compiler.fit import KernelFit
from l7proxy.compiler.judge import Judged, judge
from l7proxy.compiler.tables import Tables
from l7proxy.http.refused import Refused
from l7proxy.http.request import Request, parse_request
from l7proxy.limits import Limits
from l7proxy.policy import explain as policy_explain
from l7proxy.policy import roads
from l7proxy.policy.decide import admit
from l7proxy.policy.explain import Explanation
from l7proxy.policy.model import NAMESPACE_LABEL, PolicySet
from l7proxy.policy.selectors import label_key
from l7proxy.policy.verdict import Action, Admission, Road, Verdict
from l7proxy.proxy.ports import Endpoint
from l7proxy.reasons import Reason
from l7proxy.workloads.directory import Directory
from l7proxy.workloads.model import HOST, Peer, Workload, World

# "The world" without an address: RFC 5737 keeps this one for examples, so nobody has it.
_L4_REFUSALS = (Reason.L4_DENY_RULE, Reason.L4_DEFAULT_DENY)
_SOMEWHERE = ip_address("192.0.2.1")


class QuestionError(ValueError):
    """The question cannot be asked; the text says why in one line."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request that somebody might send.

    ``client`` and ``server`` are labels (``app=users,env=prod``), ``namespace/name`` or a name, an
    IP address, ``host`` or ``world``.
    """

    client: str
    server: str
    port: int
    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "from": self.client,
            "to": self.server,
            "port": self.port,
            "method": self.method,
            "target": self.target,
            "headers": [list(header) for header in self.headers],
        }

    @classmethod
    def from_json(cls, text: bytes) -> Question:
        """The question that ``to_json`` wrote. Raises QuestionError for anything else."""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise QuestionError(f"the question is not JSON: {error}") from None
        try:
            headers = tuple((str(name), str(value)) for name, value in document["headers"])
            texts = [document[key] for key in ("from", "to", "method", "target")]
            port = document["port"]
        except (KeyError, TypeError, ValueError):
            raise QuestionError("the question lacks a field or has a wrong one") from None
        if not all(isinstance(text, str) for text in texts) or type(port) is not int:
            raise QuestionError("the question has a field of a wrong type")
        client, server, method, target = texts
        return cls(client, server, port, method, target, headers)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the answer depends on beside the question.

    ``node`` names this node; a workload is local if it is on it, or has a namespace or a cgroup
    here. ``userspace``: every connection goes through the proxy. ``kernel_road``: eBPF programs
    judge requests, see ``roads``. ``no_room``: of what is for them, see ``KernelFit``.
    """

    policies: PolicySet
    workloads: Sequence[Workload] = ()
    limits: Limits = field(default_factory=Limits)
    node: str | None = None
    userspace: bool = False
    kernel_road: bool = True
    no_room: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Answer:
    """What would happen, to whom; ``detail`` says what is wrong with a malformed request."""

    client: Peer
    server: Peer
    explanation: Explanation
    detail: str = ""

    def to_json(self) -> dict[str, Any]:
        """For the admin socket: the document of ``explain -o json``, and what people read too."""
        told = self.explanation
        return {
            "answer": told.as_json(),
            "exit_code": told.exit_code,
            "from": self.client.id,
            "to": self.server.id,
            "meaning": told.verdict.reason.meaning,
            "road_reason": told.road.reason,
            "nearest": None if told.nearest is None else str(told.nearest),
            "audit_meaning": None if told.together is None else told.together.reason.meaning,
            "notes": [note for note in (self.detail, *told.verdict.logged) if note],
        }


def explain(question: Question, around: Surroundings) -> Answer:
    """What would become of the request. Raises QuestionError."""
    directory = Directory(around.workloads)
    client = find(question.client, directory)
    server = find(question.server, directory)
    if isinstance(client, Workload) and client == server and "=" in question.client:
        # Labels mean any workload that has them: here another one than the server itself.
        client = dataclasses.replace(client, name=f"{client.name} (another)", addresses=())
    if not 1 <= question.port <= 65535:
        raise QuestionError(f"{question.port} is not a port from 1 to 65535")
    head = _head(question, server)
    admission = admit(around.policies, around.workloads, client, server, question.port)
    fit = KernelFit(around.limits, no_room=around.no_room)
    road = _road(admission, server, around, fit)
    request: Request | None = None
    verdict: Verdict | None = None
    if road.road is Road.KERNEL:
        judged = _judged(head, fit.tables(admission), around.limits)
        verdict = judged.verdict
        if not judged.understood:
            told = Explanation(admission, verdict, road)
            return Answer(client, server, told, judged.detail)
    if road.road in (Road.PROXY, Road.KERNEL):
        try:
            request = parse_request(head, around.limits)
        except Refused as refused:
            told = Explanation(admission, Verdict(Action.BLOCK, refused.reason), road)
            return Answer(client, server, told, refused.detail)
    elif policy_explain.audited_policies(around.policies, client, server):
        # Nobody reads these bytes, but they would be read if the policies were enforced.
        with suppress(Refused):
            request = parse_request(head, around.limits)
    told = policy_explain.explain(
        around.policies,
        around.workloads,
        client,
        server,
        question.port,
        request or _UNREAD,
    )
    if request is None:
        told = dataclasses.replace(told, together=_unread(told.together))
    # The tables' own verdict, though it is the same: who asks wants to know what the kernel does.
    told = dataclasses.replace(told, road=road, verdict=verdict or told.verdict)
    return Answer(client, server, told)


class _Unread:
    """The request on a connection whose bytes nobody reads."""

    method = path = host = b""

    def header(self, name: bytes) -> bytes | None:
        return None


_UNREAD = _Unread()


def _unread(together: Verdict | None) -> Verdict | None:
    """What audited policies say of bytes that are no request: only what they say at L3/L4."""
    rested_on_l4 = together is not None and together.reason in _L4_REFUSALS
    return together if rested_on_l4 else None


def find(text: str, directory: Directory) -> Peer:
    """Who ``text`` means.

    Labels mean the first known workload that has them all, else one that has just these. Raises
    QuestionError.
    """
    if text == "host":
        return HOST
    if text == "world":
        return World(_SOMEWHERE)
    try:
        return directory.identify(ip_address(text))
    except ValueError:
        pass
    if "=" in text:
        return _labelled(_labels(text), directory)
    known = directory.by_id(text if "/" in text else f"default/{text}")
    if known is None:
        raise QuestionError(
            f"no workload {text!r}: give labels (app=users), a known namespace/name, "
            "an IP address, host or world"
        )
    return known


def _labels(text: str) -> dict[str, str]:
    labels: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.strip().partition("=")
        if not equals:
            raise QuestionError(f"{part.strip()!r} is not a label: write key=value")
        try:
            labels[label_key(key)] = value
        except ValueError as error:
            raise QuestionError(str(error)) from None
    return labels


def _labelled(labels: Mapping[str, str], directory: Directory) -> Workload:
    wanted = dict(labels)
    namespace = wanted.pop(NAMESPACE_LABEL, None)
    for workload in directory.workloads:
        if namespace in (None, workload.namespace) and wanted.items() <= workload.labels.items():
            return workload
    name = ",".join(f"{key}={value}" for key, value in wanted.items())
    return Workload(namespace or "default", name, wanted)


def _judged(head: bytes, tables: Tables | str, limits: Limits) -> Judged:
    """By the kernel; with the parser's own words where it refuses the head for the same reason."""
    assert not isinstance(tables, str), "the kernel road is for rules that have tables"
    judged = judge(head, tables, limits)
    if not judged.understood and not judged.detail:
        try:
            parse_request(head, limits)
        except Refused as refused:
            if refused.reason is judged.verdict.reason:
                return dataclasses.replace(judged, detail=refused.detail)
    return judged


def _road(
    admission: Admission, server: Peer, around: Surroundings, fit: KernelFit
) -> roads.RoadChoice:
    choice = roads.choose(
        admission,
        server_is_local=_is_local(server, around),
        short_circuit=not isinstance(server, Workload) or server.short_circuit,
        kernel_road=around.kernel_road and not around.userspace,
        unfit=fit.unfit,
    )
    if around.userspace and choice.road is not Road.REFUSED:
        return roads.RoadChoice(Road.PROXY, "userspace mode has no other road")
    return choice


def _is_local(server: Peer, around: Surroundings) -> bool:
    """Whether the server is a workload of this node; one known by labels alone is taken for one."""
    if not isinstance(server, Workload):
        return False
    if server.netns or server.cgroup or not server.addresses:
        return True
    return around.node is not None and server.node == around.node


def _head(question: Question, server: Peer) -> bytes:
    """The request as a client would write it, with a Host if the question gives none."""
    headers = list(question.headers)
    if not any(name.lower() == "host" for name, _ in headers):
        headers.insert(0, ("Host", _host(server, question.port)))
    lines = [f"{question.method} {question.target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers]
    if any("\r" in line or "\n" in line for line in lines):
        raise QuestionError("a line break in the method, the target or a header")
    try:
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise QuestionError("half a character in the method, the target or a header") from None


def _host(server: Peer, port: int) -> str:
    known = isinstance(server, Workload) and server.addresses
    if isinstance(server, World):
        name = str(Endpoint(server.address, port)).rpartition(":")[0]
    elif isinstance(server, Workload) and not known:
        name = "server"
    else:
        name = server.name if isinstance(server, Workload) else server.id
    return name if port == 80 else f"{name}:{port}"
