"""Names and numbers that the eBPF programs and user space share; the C side is generated."""

from __future__ import annotations

from enum import Enum

from l7proxy.policy.verdict import Road
from l7proxy.reasons import Reason

IDENTITY_HOST = 1
IDENTITY_WORLD = 2
IDENTITY_PROXY = 3
"""The proxy's own upstream connections, which are never steered."""
IDENTITY_STRANGER = 4
"""A task of this node in a namespace that is not covered: its address has to tell."""
IDENTITY_CONTESTED = 5
"""Workloads that share one listening address and port: nobody may connect there."""
FIRST_FREE_IDENTITY = 256
"""Identities below are reserved."""

FLAG_LOCAL = 1
FLAG_NO_SPLICE = 2
NO_SLOT = 0xFFFF
"""The slot of an address whose namespace is not covered."""

LISTENERS_EACH = 1024
"""Listening sockets of one workload that are told apart, so that none can fill the map."""

CGROUP_DEPTH = 16
"""Levels below the cgroup2 mount at which a workload's cgroup is recognised."""

MAX_WORKERS = 16
"""Worker processes whose listeners the steering program can tell apart."""

ROAD_NUMBERS = {Road.SPLICE: 1, Road.REFUSED: 2, Road.PROXY: 3, Road.KERNEL: 4}
"""A pair of identities without an entry takes the splice road."""

ROAD_MASK = 15
RULES_CLASS_SHIFT = 4
RULES_NUMBER_SHIFT = 8
"""An entry of ``roads``: the road, the size class of the rules that decide the kernel road, and
their number in the map of that class."""

RULE_SETS = 4096
"""Sets of rules of one size class that a policy set may have for the kernel road."""

GRAMMARS = 64
"""Sets of headers that rules of one policy set look at."""

INGRESS = "INGRESS"
"""The direction of every request that the kernel decides: it does so at the server's end."""

FLOW_RECORDS = "flow_records"
"""The ring buffer of what is told of single requests."""

EPOCHS = 2
"""A policy set and its successor are in the maps at the same time."""

IN_PLACE_BYTES, IN_PLACE_FORMS = 256, 6
"""Of answers in the place of refused bytes: the most that either half has, and how many forms."""

ANSWER_BYTES = 376
"""The most that one of our own answers has."""

PHASE_PASSING, PHASE_BOUNDARY = 5, 6
"""Of a direction of a judged connection: nobody looks any more, and between two messages."""

ANSWER_KEEP, ANSWER_HTTP10, ANSWER_TO_HEAD = 1, 2, 4
"""The form of an answer: the connection goes on, the client is an HTTP/1.0 one, asked by HEAD. Its
number in the map ``answers`` is the reason's, times eight, and the form."""

REASON_NUMBERS = {reason: number for number, reason in enumerate(Reason)}
"""How the programs name a reason."""


def road_value(road: Road, size_class: int = 0, number: int = 0) -> int:
    """An entry of ``roads``; the kernel road needs the place of its rules."""
    return ROAD_NUMBERS[road] | size_class << RULES_CLASS_SHIFT | number << RULES_NUMBER_SHIFT


def rules_place(value: int) -> tuple[int, int] | None:
    """(size class, number) of the rules that an entry of ``roads`` names, if any."""
    if value & ROAD_MASK != ROAD_NUMBERS[Road.KERNEL]:
        return None
    return value >> RULES_CLASS_SHIFT & 15, value >> RULES_NUMBER_SHIFT


class Counter(Enum):
    """Every exit of a program that a person may want to know about, counted per CPU."""

    meaning: str

    def __new__(cls, name: str, meaning: str) -> Counter:
        member = object.__new__(cls)
        member._value_ = name
        member.meaning = meaning
        return member

    CONNECT_REFUSED = "connect_refused", "connect() refused by L3/L4 policy (EPERM)"
    CONNECT_ALLOWED = "connect_allowed", "connect() let through"
    CONNECT_PROXY = "connect_proxy", "connect() of the proxy itself"
    CONNECT_UNKNOWN = "connect_unknown", "connect() from a namespace that is not covered"
    CONNECT_EARLY = "connect_early", "connect() before the first policy set was applied"
    EGRESS_STEERED = "egress_steered", "connect() sent to the proxy for HTTP rules of egress"
    EGRESS_UNSTEERABLE = "egress_unsteerable", "connect() refused: it needs a proxy and has none"
    IDENTITY_UNKNOWN = "identity_unknown", "refused: policy in force knows not of the workload yet"
    ADDRESS_FORGED = "address_forged", "a pod's address used from a namespace that is not covered"
    LISTENER_UNRECORDED = "listener_unrecorded", "listening sockets beyond what can be recorded"
    STORAGE_FAILED = "storage_failed", "connect() refused: no memory for the socket's storage"
    SERVER_REFUSED = "server_refused", "incoming connection refused by L3/L4 policy (reset)"
    INGRESS_STEERED = "ingress_steered", "incoming connection handed to the proxy"
    UPSTREAM_ADMITTED = "upstream_admitted", "the proxy's own connection let through"
    ADMITTED = "connections_splice", "incoming connection let through to the server"
    NOT_READY = "not_ready", "incoming connection refused: no policy has been applied"
    PROXY_ABSENT = "proxy_absent", "incoming connection refused: the proxy is not running"
    PROXY_PORT_REFUSED = "proxy_port_refused", "connection made directly to the proxy's port"
    MPTCP_REFUSED = "mptcp_refused", "MPTCP socket refused; the application falls back to TCP"
    SOCKOPT_REFUSED = "sockopt_refused", "TCP_ULP, SO_ZEROCOPY or fast open refused"
    CLIENT_ENROLLED = "client_enrolled", "client socket ready for the short-circuit"
    PAIRED = "paired", "connection with both ends ready for the short-circuit"
    ENROL_FAILED = "enrol_failed", "socket that could not be enrolled; it stays on TCP"
    UNPAIRED_MESSAGES = "unpaired_messages", "messages by TCP: the other end is not enrolled"
    SENT_AFTER_END = "sent_after_end", "messages sent on a connection that is closing or gone"
    NOT_ENROLLED = "not_enrolled", "messages by TCP: this socket was connected anew"
    REDIRECTED_MESSAGES = "redirected_messages", "messages short-circuited"
    REDIRECTED_BYTES = "short_circuit_bytes", "bytes short-circuited"
    REDIRECT_FAILED = "redirect_failed", "messages by TCP: the redirect was not possible"
    OUT_OF_CREDIT = "out_of_credit", "times a slow reader moved a connection to TCP"
    BACK_TO_REDIRECT = "back_to_redirect", "times a drained connection left TCP again"
    OVERLAPS_CUT = "overlaps_cut", "segments after a loss whose known beginning was cut off"
    TCP_BYTES = "tcp_bytes", "bytes of enrolled connections that went by TCP"
    JUDGED = "connections_kernel", "connection whose requests the kernel judges"
    WAY_REDIRECT = (
        "kernel_way_redirect",
        "judged connection: its first request was short-circuited",
    )
    WAY_TCP = "kernel_way_tcp", "judged connection: its first request came by TCP"
    UNWATCHED = "kernel_road_unwatched", "sent to the proxy: no covered socket is known to listen"
    FULL = "kernel_road_full", "sent to the proxy: no room for another judged connection"
    NOT_JUDGED = "not_judged", "connection that could not be judged; nothing is let through"
    REQUESTS_REDIRECTED = "requests_redirected", "allowed requests that were short-circuited"
    REQUESTS_TO_TCP = "messages_to_tcp", "messages of requests left to TCP and the server's end"
    ANSWERED_BY_REDIRECT = "answered_by_redirect", "refusals answered at the client's own socket"
    ANSWERED_BY_TCP = "answered_by_tcp", "refusals answered from the server's socket"
    ANSWERED_IN_TURN = "answered_in_turn", "refusals sent behind an answer that was owed before"
    BYPASS_STOPPED = "bypass_stopped", "connections ended: bytes came around the client's program"
    DOOMED_UNRECORDED = "doomed_unrecorded", "connections to reset that the agent was not told of"
    UNCOUNTED = "requests_uncounted", "requests beyond what the kernel can count by rule and status"
    RECORDS_SKIPPED = "flow_records_skipped", "served requests that the rate left without a record"
    RECORDS_LOST = "flow_events_lost", "flow records lost: the agent did not read them in time"


class Doom(Enum):
    """Why a judged connection has to end; the agent resets it after a while."""

    REFUSED = "refused", "a refusal said that the connection closes"
    BROKEN = "broken", "broken content of a request that the server had begun to read"
    UNANSWERED = "unanswered", "a refusal could not be answered in its turn"
    SENDERS = "senders", "several tasks sent requests while answers were owed"
    BYPASS = "bypass", "bytes came around the program at the client's end"
    NO_RULES = "no-rules", "policy in force wants another road"
    UNTOLD = "untold", "the refused bytes were too few for an answer that says where it ends"
    UNDECIDED = "undecided", "bytes could not be read, or too many requests wait for answers"

    meaning: str

    def __new__(cls, name: str, meaning: str) -> Doom:
        member = object.__new__(cls)
        member._value_ = name
        member.meaning = meaning
        return member


def c_constants() -> dict[str, int]:
    """The macros that the C sources are compiled with."""
    constants = {
        "IDENTITY_HOST": IDENTITY_HOST,
        "IDENTITY_WORLD": IDENTITY_WORLD,
        "IDENTITY_PROXY": IDENTITY_PROXY,
        "IDENTITY_STRANGER": IDENTITY_STRANGER,
        "IDENTITY_CONTESTED": IDENTITY_CONTESTED,
        "LISTENERS_EACH": LISTENERS_EACH,
        "FLAG_LOCAL": FLAG_LOCAL,
        "FLAG_NO_SPLICE": FLAG_NO_SPLICE,
        "MAX_WORKERS": MAX_WORKERS,
        "CGROUP_DEPTH": CGROUP_DEPTH,
        "ROAD_MASK": ROAD_MASK,
        "RULES_CLASS_SHIFT": RULES_CLASS_SHIFT,
        "RULES_NUMBER_SHIFT": RULES_NUMBER_SHIFT,
        "MAX_RULES": EPOCHS * RULE_SETS,
        "MAX_GRAMMARS": EPOCHS * GRAMMARS + 1,  # and the one of responses
        "COUNTER_MAX": len(Counter),
        "REASON_MAX": len(REASON_NUMBERS),
    }
    constants |= {f"COUNTER_{counter.name}": number for number, counter in enumerate(Counter)}
    constants |= {f"DOOMED_{doom.name}": number for number, doom in enumerate(Doom)}
    constants |= {f"ROAD_{road.name}": number for road, number in ROAD_NUMBERS.items()}
    constants |= {f"REASON_{reason.name}": number for reason, number in REASON_NUMBERS.items()}
    return constants
