"""Named limits: every bound that l7proxy puts on what others send it, with default and reason.

The configuration's ``limits:`` section sets them by these names; nothing else in the code holds
a bound of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field


def _limit(default: float, reason: str) -> float:
    return field(default=default, metadata={"reason": reason})


def _count(default: int, reason: str) -> int:
    return field(default=default, metadata={"reason": reason})


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on sizes (bytes), counts and times (seconds). ``metadata['reason']`` says why."""

    head_bytes: int = _count(32768, "four times nginx's default; one kernel page order less")
    head_fields: int = _count(100, "as Envoy; more is an attack or a mistake")
    target_bytes: int = _count(8192, "RFC 9112 section 3 asks for at least 8000 octets")
    trailer_bytes: int = _count(8192, "trailers are rare and small")
    chunk_line_bytes: int = _count(1024, "a chunk size needs 16 digits; extensions are ignored")
    body_buffer: int = _count(65536, "high watermark per direction before reading pauses")
    connections: int = _count(50000, "Cilium's proxy-max-active-downstream-connections")
    pool_idle: int = _count(256, "idle upstream connections kept for one destination")
    connect_timeout: float = _limit(2.0, "Cilium's proxy-connect-timeout; a node is near")
    head_timeout: float = _limit(10.0, "a head is a packet or two: slower is a slow attack")
    body_timeout: float = _limit(60.0, "silence inside a request body, as nginx")
    first_byte_timeout: float = _limit(60.0, "silence before the response, as nginx")
    stream_timeout: float = _limit(300.0, "silence inside a response or a tunnel, as Envoy")
    idle_timeout: float = _limit(75.0, "an idle kept-alive client connection, as nginx")
    pool_timeout: float = _limit(30.0, "an idle upstream connection; below servers' own 65 to 75")
    linger_timeout: float = _limit(5.0, "for a refused client to read the answer, as nginx")
    refused_body: int = _count(65536, "of a refused request, read to keep its connection")
    overload_answers: int = _count(256, "503s being delivered past the limit of connections")
    drain_timeout: float = _limit(30.0, "from SIGTERM to closing what is still open")
    redirect_credit: int = _count(1048576, "bytes queued to a reader before the kernel uses TCP")
    flow_rate: int = _count(100, "served requests recorded each second; refusals always are")
    flow_read_rate: int = _count(1000, "records read from the kernel each second; more may be lost")
    flow_ring_bytes: int = _count(4194304, "flow records that wait for the agent: some 6,000")
    kernel_roads: int = _count(262144, "identity pairs and port classes that policy speaks of")
    kernel_table_bytes: int = _count(2**28, "HTTP rules in the kernel; more take the proxy road")
    workloads: int = _count(16384, "identities in the kernel's tables")
    namespaces: int = _count(128, "covered network namespaces; Kubernetes runs 110 pods on a node")
    tracked_connections: int = _count(65536, "connections whose identity the kernel remembers")
    flows_kept: int = _count(4096, "the last requests, for observe; Hubble's buffer has 4095")
    flow_queue_bytes: int = _count(4194304, "flows that wait for a follower or leave a worker")
    flow_followers: int = _count(16, "observe -f and pages that follow the flows at one time")
    policy_file_bytes: int = _count(4194304, "a policy file; thousands of rules fit")
    policy_depth: int = _count(64, "nesting of a policy document; real ones have 12 levels")
    policy_values: int = _count(500000, "values in a policy file, aliases counted each time")
    workload_file_bytes: int = _count(2**28, "every pod of a large cluster, written out in full")
    workload_values: int = _count(2**23, "the same, in values; it bounds what aliases multiply")
