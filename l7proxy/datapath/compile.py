"""Compiles the sources with BCC: a process of its own.

Run as ``python -m l7proxy.datapath.compile`` with a JSON request on standard input: the text and
its macros. It prints what ``compiled.Compiled`` reads. The compiler's memory goes with the process;
nothing else imports BCC.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from l7proxy.datapath import headers
from l7proxy.datapath.compiled import Code, Compiled, MapShape
from l7proxy.datapath.names import FLOW_RECORDS
from l7proxy.datapath.objects import map_shape, map_types
from l7proxy.datapath.programs import PROGRAMS
from l7proxy.datapath.source import RULE_TABLES

STORAGE_MAPS = ("conns", "proxied", "sockets", "clients", "servers", "proxy_listeners")
"""Maps whose values are sockets or belong to them; BCC knows no layout for them."""

_LD_IMM64 = 0x18  # BPF_LD | BPF_IMM | BPF_DW
_PSEUDO_MAP_FD = 1
_NO_DESCRIPTOR = 0x6C37_0000
"""Stand for the descriptors of maps that BCC cannot make, from this number on."""


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


def _code(instructions: bytes, names: Mapping[int, str]) -> Code:
    """``names``: of the maps, by the number that stands in the instructions."""
    return Code(instructions, tuple(_maps(instructions, names)))


def _maps(code: bytes, names: Mapping[int, str]) -> Iterator[tuple[int, str]]:
    at = 0
    while at < len(code):
        wide = code[at] == _LD_IMM64  # two instructions
        if wide and code[at + 1] >> 4 == _PSEUDO_MAP_FD:
            yield at, names[int.from_bytes(code[at + 4 : at + 8], "little")]
        at += 16 if wide else 8


def compile_module(text: str, macros: Mapping[str, str]) -> Compiled:
    """Compiles ``text``. Raises whatever BCC raises."""
    with tempfile.TemporaryDirectory(prefix="l7proxy-headers-") as tree:
        headers.write(Path(tree))
        os.environ["BCC_KERNEL_SOURCE"] = tree
        import bcc  # the only import of bcc: it costs 120 MB, and only this process pays

        names = dict(enumerate([*RULE_TABLES, FLOW_RECORDS], _NO_DESCRIPTOR))
        cflags = [f"-D{name}={value}" for name, value in macros.items()]
        cflags += [f"-DFD_{name.upper()}={number}" for number, name in names.items()]
        made = bcc.BPF(text=text, cflags=[*cflags, "-Wno-macro-redefined", "-Wno-unused-function"])
    module, lib = made.module, bcc.lib
    lib.bpf_table_name.restype = ctypes.c_char_p
    lib.bpf_table_name.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    types = b""
    shapes: dict[str, MapShape] = {}
    layouts: dict[str, Any] = {}
    for number in range(lib.bpf_num_tables(module)):
        name = lib.bpf_table_name(module, number).decode()
        descriptor = lib.bpf_table_fd(module, name.encode())
        names[descriptor] = name
        shapes[name] = map_shape(descriptor)
        types = types or map_types(descriptor)
        if name not in STORAGE_MAPS:
            table = made[name]
            key = getattr(table, "Key", None)  # a queue has none
            layouts[name] = {
                "key": _layout(key) if key else {"size": 0, "fields": []},
                "value": _layout(table.Leaf),
            }
    programs = {}
    for program in PROGRAMS:
        function = program.function.encode()
        start = lib.bpf_function_start(module, function)
        instructions = ctypes.string_at(start, lib.bpf_function_size(module, function))
        programs[program.function] = _code(instructions, names)
    return Compiled(types, shapes, layouts, programs)


def main() -> int:
    """Reads the request, answers with the module; a failure is one line and exit code 1."""
    try:
        request = json.load(sys.stdin)
        answer = compile_module(request["text"], request["macros"]).to_json()
    except Exception as error:  # whatever BCC raises must reach the agent as one line
        print(" ".join(str(error).split()) or type(error).__name__, file=sys.stderr)
        return 1
    print(answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
