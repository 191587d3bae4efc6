"""One BCC module out of the files in ``bpf/``.

BCC rewrites map calls in the main source only, so the files are joined into one text, each under
a ``#line`` marker so that the compiler reports errors where they are.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from dataclasses import dataclass
from pathlib import Path

from l7proxy.compiler import head_map
from l7proxy.compiler.head_response import response_grammar
from l7proxy.compiler.rules_map import SizeClass
from l7proxy.datapath.libbpf import KernelTypes
from l7proxy.datapath.names import EPOCHS, GRAMMARS, MAX_WORKERS, RULE_SETS, c_constants
from l7proxy.limits import Limits
from l7proxy.observe.tally import LATENCY_BOUNDS

FILES = (
    "types.h", "tables.h", "http.h", "maps.h", "address.h", "identity.h", "guard.c",
    "connect.c", "peername.c", "steer.c", "redirect.c", "walk.h", "overlap.h", "receive.c",
    "recall.h", "meaning.h", "verdict.h", "tally.h", "record.h", "listening.h", "enrol.h",
    "connection.c", "ledger.h", "judge.h", "delivery.h", "answered.h", "follow.h", "bounce.h",
    "arrival.c", "message.h", "request.c", "response.c",
)  # fmt: skip
"""In this order; each may use what stands in the ones before it."""

SLOT_PLACEHOLDER = 0x6C37_736C_6F74_2121
"""Stands in the steering program for its namespace slot; each loaded copy has its own number."""

RULE_TABLES = {
    "grammars": (EPOCHS * GRAMMARS + 1, head_map.VALUE_BYTES),
    **{f"{size.name.lower()}_rules": (EPOCHS * RULE_SETS, size.value_bytes) for size in SizeClass},
}
"""The maps of maps, which BCC cannot make: how many entries each has, and the bytes of the one
value of an inner map."""

_LIMITS_OF_HTTP = (
    "head_bytes", "head_fields", "target_bytes", "trailer_bytes", "chunk_line_bytes",
    "refused_body",
)  # fmt: skip

_KERNEL_OFFSETS = {
    "OFF_RMEM_ALLOC": ("sock", "sk_backlog.rmem_alloc"),
    "OFF_RCVLOWAT": ("sock", "sk_rcvlowat"),
    "OFF_WMEM_QUEUED": ("sock", "sk_wmem_queued"),
    "OFF_SNDBUF": ("sock", "sk_sndbuf"),
    "OFF_SK_USER_DATA": ("sock", "sk_user_data"),
    "OFF_PSOCK_INGRESS_QLEN": ("sk_psock", "ingress_skb.qlen"),
    "OFF_PSOCK_REFCNT": ("sk_psock", "refcnt"),
    "OFF_TASK_STATE": ("task_struct", "__state"),
    "OFF_SND_UNA": ("tcp_sock", "snd_una"),
    "OFF_WRITE_SEQ": ("tcp_sock", "write_seq"),
    "OFF_COPIED_SEQ": ("tcp_sock", "copied_seq"),
    "OFF_RCV_NXT": ("tcp_sock", "rcv_nxt"),
    "OFF_TCP_MSTAMP": ("tcp_sock", "tcp_mstamp"),
}


def ring_bytes(limits: Limits) -> int:
    """The size of the ring buffer of flow records, which has to be a power of two of pages."""
    return 1 << max(limits.flow_ring_bytes - 1, mmap.PAGESIZE - 1).bit_length()


def _latency_bucket() -> str:
    """The body of a macro: the number of bounds that a latency in microseconds exceeds."""
    return "+".join(f"((us)>{round(bound * 1e6)})" for bound in LATENCY_BOUNDS)


@dataclass(frozen=True, slots=True)
class Source:
    """What to compile: the text, its macros, and a name for exactly this build on this kernel."""

    text: str
    macros: dict[str, str]
    build: str


def kernel_offsets() -> dict[str, int]:
    """Where the fields are that the short-circuit reads, on the running kernel.

    Raises KeyError naming the field where the kernel has no such field, OSError without BTF.
    """
    types = KernelTypes()
    try:
        return {name: types.offset(*where) for name, where in _KERNEL_OFFSETS.items()}
    finally:
        types.close()


def table_limits(limits: Limits) -> dict[str, int]:
    """Entries that one policy set may have in each table."""
    return {
        "identities": limits.workloads * 4,
        "port_classes": 65536,
        "roads": limits.kernel_roads,
        "namespaces": limits.namespaces,
    }


def assemble(folder: Path, limits: Limits) -> Source:
    """Joins the files of ``folder`` and works out the macros from limits and kernel."""
    room = table_limits(limits)
    constants = c_constants() | head_map.c_defines()
    macros: dict[str, str] = {name: str(value) for name, value in constants.items()}
    macros |= {name: str(value) for name, value in kernel_offsets().items()}
    macros |= {
        "SLOT_PLACEHOLDER": f'"{SLOT_PLACEHOLDER}"',
        "MAX_WORKLOADS": str(limits.workloads),
        "MAX_IDENTITIES": str(EPOCHS * room["identities"]),
        "MAX_PORT_CLASSES": str(EPOCHS * room["port_classes"]),
        "MAX_ROADS": str(EPOCHS * room["roads"]),
        "MAX_LISTENERS": "262144",
        "MAX_NAMESPACES": str(room["namespaces"]),
        "MAX_CONNECTIONS": str(limits.tracked_connections),
        "MAX_TALLIES": "16384",
        "MAX_BEGINNINGS": "4096",
        "FLOW_RING_BYTES": str(ring_bytes(limits)),
        "LATENCY_BUCKETS": str(len(LATENCY_BOUNDS) + 1),
        "LATENCY_BUCKET(us)": _latency_bucket(),
    }
    macros["GRAMMAR_BYTES"] = str(head_map.VALUE_BYTES)
    macros |= {f"{size.name}_RULES_BYTES": str(size.value_bytes) for size in SizeClass}
    macros |= {f"LIMIT_{name.upper()}": str(getattr(limits, name)) for name in _LIMITS_OF_HTTP}
    assert int(macros["MAX_WORKERS"]) == MAX_WORKERS
    text = "\n".join(f'#line 1 "bpf/{name}"\n{(folder / name).read_text()}' for name in FILES)
    digest = hashlib.sha256(text.encode())
    digest.update(repr(sorted(macros.items())).encode())
    digest.update(head_map.map_value(response_grammar()))  # it stays while this build is pinned
    digest.update(os.uname().release.encode())
    return Source(text, macros, digest.hexdigest()[:16])
