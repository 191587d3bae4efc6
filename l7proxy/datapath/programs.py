"""The eBPF programs: function in ``bpf/``, kernel type, and where each is attached."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

SK_MSG_VERDICT = 7
SK_SKB_VERDICT = 38


class Hook(Enum):
    """What a program is attached to."""

    CGROUP = "cgroup"
    NETNS = "netns"
    SOCKET_MAP = "socket map"


@dataclass(frozen=True, slots=True)
class Program:
    """``kind`` and ``attach_type`` are enum bpf_prog_type and bpf_attach_type of linux/bpf.h.

    ``optional``: a kernel that cannot load it does without the kernel road.
    """

    function: str
    kind: int
    attach_type: int
    hook: Hook
    per_slot: bool = False
    optional: bool = False


PROGRAMS = (
    Program("on_sock_create", 9, 2, Hook.CGROUP),
    Program("on_setsockopt", 25, 22, Hook.CGROUP),
    Program("on_connect4", 18, 10, Hook.CGROUP),
    Program("on_connect6", 18, 11, Hook.CGROUP),
    Program("on_getpeername4", 18, 29, Hook.CGROUP),
    Program("on_getpeername6", 18, 30, Hook.CGROUP),
    Program("on_sock_ops", 13, 3, Hook.CGROUP),
    Program("on_sk_lookup", 30, 36, Hook.NETNS, per_slot=True),
    Program("on_send", 16, SK_MSG_VERDICT, Hook.SOCKET_MAP),
    Program("on_receive", 14, SK_SKB_VERDICT, Hook.SOCKET_MAP),
    Program("on_request", 16, SK_MSG_VERDICT, Hook.SOCKET_MAP, optional=True),
    Program("on_response", 16, SK_MSG_VERDICT, Hook.SOCKET_MAP, optional=True),
    Program("on_arrival", 14, SK_SKB_VERDICT, Hook.SOCKET_MAP, optional=True),
)
