"""Makes the maps of a compiled module, loads its programs, and pins both."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from l7proxy.datapath import objects
from l7proxy.datapath.compiled import Compiled
from l7proxy.datapath.libbpf import link_create, obj_pin
from l7proxy.datapath.names import FLOW_RECORDS
from l7proxy.datapath.programs import PROGRAMS, SK_MSG_VERDICT, SK_SKB_VERDICT, Program
from l7proxy.datapath.source import RULE_TABLES, SLOT_PLACEHOLDER


def load(compiled: Compiled, folder: Path, *, ring_bytes: int, slots: int, receive: bool) -> str:
    """Everything of it: pinned in ``folder``, and the socket maps have their programs.

    ``slots``: copies of the steering program. ``receive``: whether sockets of the splice road are
    to have a program for what arrives. Returns why the kernel road's programs could not be loaded,
    where they could not. Raises OSError, objects.Rejected, KeyError for a module that lacks
    something.
    """
    with ExitStack() as stack:
        maps = _maps(compiled, ring_bytes, stack)
        loaded, lacking = _programs(compiled, maps, slots, stack)
        for name, fd in {**maps, **loaded}.items():
            obj_pin(fd, folder / name)
        for name, fd in _links(maps, loaded, kernel_road=not lacking, receive=receive):
            stack.callback(os.close, fd)
            obj_pin(fd, folder / f"link_{name}")
    return lacking


def _maps(compiled: Compiled, ring_bytes: int, stack: ExitStack) -> dict[str, int]:
    """Descriptors of all maps, which ``stack`` closes."""
    maps: dict[str, int] = {}

    def keep(name: str, fd: int) -> None:
        stack.callback(os.close, fd)
        maps[name] = fd

    for name, (entries, size) in RULE_TABLES.items():
        keep(name, objects.map_of_maps_make(name, entries, size))
    keep(FLOW_RECORDS, objects.ring_make(FLOW_RECORDS, ring_bytes))
    types = objects.types_load(compiled.types)
    stack.callback(os.close, types)
    for name, shape in compiled.maps.items():
        keep(name, objects.map_make(name, shape, types))
    return maps


def _programs(
    compiled: Compiled, maps: Mapping[str, int], slots: int, stack: ExitStack
) -> tuple[dict[str, int], str]:
    """Descriptors of all programs, which ``stack`` closes; and why optional ones are not there."""

    def load_one(program: Program, slot: int) -> int:
        code = compiled.programs[program.function].linked(maps)
        if program.per_slot:
            code = in_slot(code, slot)
        return objects.program_load(program.kind, program.attach_type, program.function, code)

    copies = [
        (f"prog_{program.function}{f'_{slot}' if program.per_slot else ''}", program, slot)
        for program in PROGRAMS
        for slot in range(slots if program.per_slot else 1)
    ]
    # The verifier takes seconds over the largest, one processor each: they begin first.
    copies.sort(key=lambda copy: len(compiled.programs[copy[1].function].instructions))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = {
            name: (program, pool.submit(load_one, program, slot))
            for name, program, slot in reversed(copies)
        }
    for _, result in results.values():
        if result.exception() is None:
            stack.callback(os.close, result.result())
    loaded: dict[str, int] = {}
    lacking = ""
    for name, (program, result) in results.items():
        try:
            loaded[name] = result.result()
        except objects.Rejected as error:
            if not program.optional:
                raise
            lacking = str(error)
    return loaded, lacking


def in_slot(code: bytes, slot: int) -> bytes:
    """``code`` with the slot's number in the placeholder's place. Raises ValueError without one."""
    # ld_imm64 holds the constant's halves in two instructions, four bytes at offset 4 of each.
    low = (SLOT_PLACEHOLDER & 0xFFFFFFFF).to_bytes(4, "little")
    high = (SLOT_PLACEHOLDER >> 32).to_bytes(4, "little")
    patched = bytearray(code)
    found = 0
    for at in range(0, len(code) - 8, 8):
        if code[at + 4 : at + 8] == low and code[at + 12 : at + 16] == high:
            patched[at + 4 : at + 8] = slot.to_bytes(4, "little")
            patched[at + 12 : at + 16] = bytes(4)
            found += 1
    if not found:
        raise ValueError("the steering program has no slot placeholder")
    return bytes(patched)


def _links(
    maps: Mapping[str, int], programs: Mapping[str, int], *, kernel_road: bool, receive: bool
) -> Iterator[tuple[str, int]]:
    """A socket takes a map's programs when it is enrolled; the links stay with the map.

    The splice road's sending program comes last: it tells that everything is in place.
    """
    links = []
    if kernel_road:
        links += [
            ("on_request", "on_request", "clients", SK_MSG_VERDICT),
            ("on_response", "on_response", "servers", SK_MSG_VERDICT),
            ("on_arrival", "on_arrival", "servers", SK_SKB_VERDICT),
            ("on_answer", "on_receive", "clients", SK_SKB_VERDICT),
        ]
    if receive:
        links.append(("on_receive", "on_receive", "sockets", SK_SKB_VERDICT))
    links.append(("on_send", "on_send", "sockets", SK_MSG_VERDICT))
    for name, program, target, kind in links:
        yield name, link_create(programs[f"prog_{program}"], maps[target], kind)
