"""Every program passes the verifier in its largest configuration, within a budget.

Prints what the verifier counted; budgets have about as much to spare. Seen to fail: with
a counter raised 200 times in a row in bpf/redirect.c.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from l7proxy.datapath.cache import Cache
from l7proxy.datapath.libbpf import obj_get
from l7proxy.datapath.programs import PROGRAMS
from l7proxy.datapath.store import Store, open_store, remove_all
from l7proxy.demo.pods import Node
from l7proxy.limits import Limits

pytestmark = pytest.mark.needs_ebpf

LARGEST = Limits(
    workloads=65536, namespaces=1024, kernel_roads=1 << 20, tracked_connections=1 << 20
)
BUDGET = {
    "on_sock_create": 40,
    "on_setsockopt": 120,
    "on_connect4": 7000,
    "on_connect6": 9000,
    "on_getpeername4": 40,
    "on_getpeername6": 50,
    "on_sock_ops": 80_000,
    "on_sk_lookup": 2500,
    "on_send": 800,
    "on_receive": 250,
    "on_request": 250_000,
    "on_response": 250_000,
    "on_arrival": 350_000,
}
"""Instructions that the verifier walked through; the kernel's own limit is a million."""
VERIFIED_INSNS = 216
"""Offset of the number in struct bpf_prog_info (linux/bpf.h)."""


@pytest.fixture(scope="module")
def store(node: Node) -> Iterator[Store]:
    bpffs = node.bpffs / "largest"
    node.state.mkdir()
    made, adopted = open_store(bpffs, node.state, Cache(node.directory / "cache"), LARGEST)
    assert not adopted
    yield made
    remove_all(bpffs, node.state, Cache(node.directory / "cache"))


def verified_instructions(path: Path) -> int:
    """How many instructions the verifier processed for a pinned program."""
    libbpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
    info = ctypes.create_string_buffer(256)
    size = ctypes.c_uint32(len(info))
    program = obj_get(path)
    try:
        error = libbpf.bpf_obj_get_info_by_fd(program, info, ctypes.byref(size))
        assert error == 0, os.strerror(ctypes.get_errno())
    finally:
        os.close(program)
    return int.from_bytes(info.raw[VERIFIED_INSNS : VERIFIED_INSNS + 4], "little")


def test_every_program_loads(store: Store) -> None:
    assert store.programs() == [program.function for program in PROGRAMS]
    copies = [path for path in store.folder.iterdir() if "on_sk_lookup" in path.name]
    assert len(copies) == LARGEST.namespaces


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.function)
def test_program_is_within_its_budget(store: Store, program: object) -> None:
    name = f"prog_{program.function}{'_0' if program.per_slot else ''}"
    count = verified_instructions(store.folder / name)
    print(f"{program.function}: {count} instructions")
    assert 0 < count <= BUDGET[program.function]


def test_layouts_are_those_of_the_sources(store: Store) -> None:
    """The compiled module says them; the names are what user space writes and reads."""
    loaded = json.loads(next(store.folder.parent.parent.parent.glob("state/layouts-*")).read_text())
    layouts = loaded["maps"]
    assert layouts == store.layouts
    fields = {
        name: {field[0] for field in each["value"]["fields"]} for name, each in layouts.items()
    }
    assert {"epoch", "workers", "credit", "cgroups", "host_netns"} <= fields["state"]
    assert {"cookie", "identity", "proxy_port", "flags"} <= fields["namespaces"]


def test_build_is_named_after_everything_that_makes_it(node: Node, store: Store) -> None:
    """Another limit is another build, beside the first."""
    cache = Cache(node.directory / "cache")
    smaller = dataclasses.replace(LARGEST, namespaces=2)
    other, adopted = open_store(store.folder.parent, node.state, cache, smaller)
    assert not adopted
    assert other.folder.name != store.folder.name
    again, adopted = open_store(store.folder.parent, node.state, cache, LARGEST)
    assert adopted
    assert again.folder == store.folder
