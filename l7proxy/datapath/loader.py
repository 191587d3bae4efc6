"""Compiles the programs with BCC, loads them and pins them: a process of its own.

Run as ``python -m l7proxy.datapath.loader FOLDER`` with a JSON request on standard input. It
leaves maps and programs pinned in FOLDER and prints the layouts of the maps' keys and values as
JSON. The compiler's memory goes with the process; the agent itself never imports BCC.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from l7proxy.compiler import head_map
from l7proxy.compiler.rules_map import SizeClass
from l7proxy.datapath import headers
from l7proxy.datapath.libbpf import link_create, map_of_maps_create, obj_pin, ring_create
from l7proxy.datapath.names import EPOCHS, FLOW_RECORDS, GRAMMARS, RULE_SETS
from l7proxy.datapath.programs import PROGRAMS, SK_MSG_VERDICT, SK_SKB_VERDICT, Program
from l7proxy.datapath.source import SLOT_PLACEHOLDER

STORAGE_MAPS = ("conns", "proxied", "sockets", "clients", "servers", "proxy_listeners")
"""Maps whose values are sockets or belong to them; BCC knows no layout for them."""

RULE_TABLES = {
    "grammars": (EPOCHS * GRAMMARS + 1, head_map.VALUE_BYTES),
    **{f"{size.name.lower()}_rules": (EPOCHS * RULE_SETS, size.value_bytes) for size in SizeClass},
}
"""The maps of maps: how many entries each has, and the bytes of the one value of an inner map."""


def _fields(structure: type[ctypes.Structure]) -> list[list[Any]]:
    """[name, offset, size of one element, number of elements] for each named field."""
    fields = []
    for name, kind, *_ in structure._fields_:
        if name.startswith("__pad"):
            continue
        at = getattr(structure, name).offset
        length = getattr(kind, "_length_", 1)
        fields.append([name, at, ctypes.sizeof(kind) // length, length])
    return fields


def _layout(kind: Any) -> dict[str, Any]:
    if isinstance(kind, type) and issubclass(kind, ctypes.Structure):
        return {"size": ctypes.sizeof(kind), "fields": _fields(kind)}
    return {"size": ctypes.sizeof(kind), "fields": []}


def _instructions(bcc: Any, module: Any, program: Program, slot: int) -> Any:
    """The program's instructions, the slot's number in the placeholder's place."""
    name = program.function.encode()
    start = bcc.lib.bpf_function_start(module, name)
    size = bcc.lib.bpf_function_size(module, name)
    code = ctypes.string_at(start, size)
    if program.per_slot:
        # ld_imm64 holds the constant's halves in two instructions, four bytes at offset 4 of each.
        low = SLOT_PLACEHOLDER & 0xFFFFFFFF
        high = SLOT_PLACEHOLDER >> 32
        patched = bytearray(code)
        found = 0
        for at in range(0, size - 8, 8):
            if (
                int.from_bytes(code[at + 4 : at + 8], "little") == low
                and int.from_bytes(code[at + 12 : at + 16], "little") == high
            ):
                patched[at + 4 : at + 8] = slot.to_bytes(4, "little")
                patched[at + 12 : at + 16] = bytes(4)
                found += 1
        if not found:
            raise RuntimeError(f"{program.function} has no slot placeholder")
        code = bytes(patched)
    return ctypes.create_string_buffer(code, size)


def _load(bcc: Any, module: Any, program: Program, slot: int = 0) -> int:
    """Loads one program; raises RuntimeError with the verifier's last words."""
    code = _instructions(bcc, module, program, slot)
    log = ctypes.create_string_buffer(1 << 20)
    for level in (0, 1):  # the log costs time: ask for it only after a failure
        fd = int(
            bcc.lib.bcc_func_load(
                module,
                program.kind,
                program.function.encode(),
                code,
                len(code),
                bcc.lib.bpf_module_license(module),
                bcc.lib.bpf_module_kern_version(module),
                level,
                log if level else None,
                len(log) if level else 0,
                None,
                program.attach_type,
            )
        )
        if fd >= 0:
            return fd
    words = log.value.decode(errors="replace").strip().splitlines()[-4:]
    error = os.strerror(ctypes.get_errno())
    raise RuntimeError(f"cannot load {program.function}: {error}: {' | '.join(words)}")


def load(folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Compiles ``request['text']`` and pins everything in ``folder``; returns the layouts, and the
    names of the pins."""
    with tempfile.TemporaryDirectory(prefix="l7proxy-headers-") as tree:
        headers.write(Path(tree))
        os.environ["BCC_KERNEL_SOURCE"] = tree
        import bcc  # the only import of bcc: it costs 120 MB, and only this process pays

        fds = {
            name: map_of_maps_create(name, entries, size)
            for name, (entries, size) in RULE_TABLES.items()
        }
        fds[FLOW_RECORDS] = ring_create(FLOW_RECORDS, int(request["macros"]["FLOW_RING_BYTES"]))
        macros = request["macros"] | {f"FD_{name.upper()}": fd for name, fd in fds.items()}
        cflags = [f"-D{name}={value}" for name, value in macros.items()]
        compiled = bcc.BPF(
            text=request["text"], cflags=[*cflags, "-Wno-macro-redefined", "-Wno-unused-function"]
        )
        module = compiled.module
        bcc.lib.bpf_table_name.restype = ctypes.c_char_p
        bcc.lib.bpf_table_name.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        layouts: dict[str, Any] = {}
        for number in range(bcc.lib.bpf_num_tables(module)):
            name = bcc.lib.bpf_table_name(module, number).decode()
            fds[name] = bcc.lib.bpf_table_fd(module, name.encode())
            if name not in STORAGE_MAPS:
                table = compiled[name]
                key = getattr(table, "Key", None)  # a queue has none
                layouts[name] = {
                    "key": _layout(key) if key else {"size": 0, "fields": []},
                    "value": _layout(table.Leaf),
                }
        programs = [
            (f"prog_{program.function}{f'_{slot}' if program.per_slot else ''}", program, slot)
            for program in PROGRAMS
            for slot in range(request["slots"] if program.per_slot else 1)
        ]
        loaded: dict[str, int] = {}
        lacking = ""
        # The verifier takes seconds over the largest, one processor each: they begin first.
        programs.sort(key=lambda each: bcc.lib.bpf_function_size(module, each[1].function.encode()))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            verified = {
                name: (program, pool.submit(_load, bcc, module, program, slot))
                for name, program, slot in reversed(programs)
            }
        for name, (program, result) in verified.items():
            try:
                loaded[name] = result.result()
            except RuntimeError as error:
                if not program.optional:
                    raise
                lacking = str(error)
        for name, fd in fds.items():
            obj_pin(fd, folder / name)
        for name, fd in loaded.items():
            obj_pin(fd, folder / name)
        _link(fds, loaded, folder, kernel_road=not lacking, receive=request["receive_verdict"])
    pins = sorted(path.name for path in folder.iterdir())
    return {"maps": layouts, "pins": pins, "kernel_road_lacks": lacking}


def _link(
    maps: dict[str, int],
    programs: dict[str, int],
    folder: Path,
    *,
    kernel_road: bool,
    receive: bool,
) -> None:
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
        link = link_create(programs[f"prog_{program}"], maps[target], kind)
        obj_pin(link, folder / f"link_{name}")


def main() -> int:
    """Reads the request, answers with layouts; a failure is one line and exit code 1."""
    try:
        request = json.load(sys.stdin)
        answer = load(Path(sys.argv[1]), request)
    except Exception as error:  # whatever BCC raises must reach the agent as one line
        print(" ".join(str(error).split()) or type(error).__name__, file=sys.stderr)
        return 1
    json.dump(answer, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
