"""A recorded flow, of ours or of Hubble's, as the request that it was. Pure.

What a record does not tell is never guessed: such a flow is not replayed, and says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address
from typing import Any

from l7proxy.observe.flows import AUDIT, DROPPED, ERROR, FORWARDED, REDACTED, TEXT_MAX
from l7proxy.policy.model import NAMESPACE_LABEL
from l7proxy.reasons import POLICY_DENIALS
from l7proxy.workloads.directory import Directory
from l7proxy.workloads.model import HOST, Peer, Workload, World

_VERDICTS = frozenset((FORWARDED, DROPPED, ERROR, AUDIT))
_POLICY_DENIALS = frozenset(reason.value for reason in POLICY_DENIALS)
_PEERS_MAX = 8192


class Cause(Enum):
    """Why a line could not be replayed."""

    NOT_JSON = "lines that are no JSON object"
    NOT_A_FLOW = "lines without a flow in them, or with one that is malformed"
    NO_HTTP = "flows without an HTTP request in them"
    ANSWER = "answers, whose requests have flows of their own"
    VERDICT = "flows with another verdict than FORWARDED, DROPPED, ERROR and AUDIT"
    UNKNOWN_PEER = "requests whose client or server is unknown"
    NOT_BY_POLICY = "requests that were refused for another reason than policy"
    CUT = "requests whose URL is cut short, escaped or redacted in the record"
    HOST = "requests whose Host is not in the record, and rules ask for a host"
    HEADERS = "requests that rules decide by a header which is not in the record"


class NotReplayed(Exception):
    """This flow cannot be replayed, for ``cause``; ``detail`` says more, or nothing."""

    def __init__(self, cause: Cause, detail: str = "") -> None:
        super().__init__(cause.value)
        self.cause = cause
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Recorded:
    """A request and what became of it: ``verdict`` is FORWARDED, DROPPED, ERROR or AUDIT.

    ``target`` and ``host`` are as recorded. ``headers`` has only those that were asked for, by
    their lower-case names, repeats joined; what is not in it was absent or was not recorded.
    """

    client: Peer
    server: Peer
    port: int
    method: bytes
    target: bytes
    host: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    verdict: str


class Reader:
    """Reads flows. ``directory`` has the workloads whose labels are known better than by the
    flows; ``headers`` are the lower-case names of the header fields that rules ask for, and
    ``hosts_matter`` says that some ask for a host."""

    def __init__(
        self, directory: Directory, headers: frozenset[bytes], *, hosts_matter: bool
    ) -> None:
        self._directory = directory
        self._headers = headers
        self._hosts_matter = hosts_matter
        self._peers: dict[object, Peer] = {}

    def read(self, document: Any) -> Recorded:
        """The request of a ``GetFlowsResponse``, or of a bare flow. Raises NotReplayed."""
        try:
            return self._read(document.get("flow", document))
        except (AttributeError, KeyError, TypeError, ValueError):
            raise NotReplayed(Cause.NOT_A_FLOW) from None

    def _read(self, flow: Mapping[str, Any]) -> Recorded:
        if "verdict" not in flow:
            raise NotReplayed(Cause.NOT_A_FLOW)
        http = (flow.get("l7") or {}).get("http")
        if not http:
            raise NotReplayed(Cause.NO_HTTP)
        if flow.get("is_reply"):
            raise NotReplayed(Cause.ANSWER)
        verdict = flow["verdict"]
        if verdict not in _VERDICTS:
            raise NotReplayed(Cause.VERDICT)
        extensions = (flow.get("extensions") or {}).get("value") or {}
        reason = extensions.get("reason")
        if verdict == DROPPED and reason is not None and reason not in _POLICY_DENIALS:
            raise NotReplayed(Cause.NOT_BY_POLICY, str(reason))
        addresses = flow.get("IP") or {}
        destination = addresses.get("destination")
        client = self._peer(flow.get("source") or {}, addresses.get("source"))
        server = self._peer(flow.get("destination") or {}, destination)
        port = flow["l4"]["TCP"]["destination_port"]
        if type(port) is not int or not 0 < port < 65536:
            raise NotReplayed(Cause.NOT_A_FLOW)
        if extensions.get("path_cut"):
            raise NotReplayed(Cause.CUT)
        host, target = _split(http.get("url", ""))
        headers = self._fields(http.get("headers") or ())
        # What our records show where a request of HTTP/1.0 had no Host.
        if http.get("protocol") == "HTTP/1.0" and host == _endpoint(destination, port):
            host = ""
        if not host and self._hosts_matter:
            raise NotReplayed(Cause.HOST)
        method = http["method"]
        if method == "OPTIONS" and target == "/*":
            target = "*"  # which has no other spelling in a URL
        return Recorded(
            client,
            server,
            port,
            method.encode(),
            target.encode(),
            host.lower().encode(),
            headers,
            verdict,
        )

    def _fields(self, listed: Any) -> tuple[tuple[bytes, bytes], ...]:
        if not self._headers:
            return ()
        found: dict[bytes, bytes] = {}
        for each in listed:
            name = each["key"].lower().encode()
            if name in self._headers and REDACTED not in each.get("value", ""):
                value = each.get("value", "").encode()
                found[name] = found[name] + b"," + value if name in found else value
        return tuple(sorted(found.items()))

    def _peer(self, endpoint: Mapping[str, Any], address: str | None) -> Peer:
        labels = tuple(endpoint.get("labels") or ())
        key = (endpoint.get("namespace"), endpoint.get("pod_name"), labels, address)
        found = self._peers.get(key)
        if found is None:
            if len(self._peers) >= _PEERS_MAX:
                self._peers.clear()
            found = self._peers[key] = self._find(*key)
        return found

    def _find(
        self,
        namespace: str | None,
        pod: str | None,
        labels: tuple[str, ...],
        address: str | None,
    ) -> Peer:
        """A known workload has the labels it is known with, any other those of the flow."""
        own = dict(_label(each) for each in labels if not each.startswith("reserved:"))
        namespace = namespace or own.get(NAMESPACE_LABEL) or "default"
        own.pop(NAMESPACE_LABEL, None)
        if pod:
            return self._directory.by_id(f"{namespace}/{pod}") or Workload(namespace, pod, own)
        reserved = {each for each in labels if each.startswith("reserved:")}
        if "reserved:host" in reserved:
            return HOST
        by_address = None if not address else self._directory.by_address(ip_address(address))
        if by_address is not None:
            return by_address
        if any(each.startswith("reserved:world") for each in reserved):
            if address:
                return World(ip_address(address))
        elif own and not reserved:
            return Workload(namespace, address or "?", own)
        raise NotReplayed(Cause.UNKNOWN_PEER, ", ".join(sorted(reserved)))


def _label(written: str) -> tuple[str, str]:
    key, _, value = written.partition("=")
    return key.removeprefix("k8s:"), value


def _split(url: str) -> tuple[str, str]:
    """Host and target of a URL. Raises NotReplayed."""
    # A backslash is in no path that was served: it stands for a byte that has been escaped.
    if REDACTED in url or "\\" in url:
        raise NotReplayed(Cause.CUT)
    scheme, mark, rest = url.partition("://")
    if not mark or "/" in scheme:
        rest = url
    host, slash, path = rest.partition("/")
    if len(path.encode()) >= TEXT_MAX - 1 or not slash:
        raise NotReplayed(Cause.CUT)
    return host, slash + path


def _endpoint(address: object, port: int) -> str:
    return f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"
