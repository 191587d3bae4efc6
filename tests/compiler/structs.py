"""The structures of bpf/ that user space fills, laid out by the rules of C."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

_FOLDER = Path(__file__).resolve().parents[2] / "bpf"
HEADER = "".join((_FOLDER / name).read_text() for name in ("tables.h", "http.h"))
FIELD_SLOTS = 16

_KINDS = {
    "u8": ctypes.c_uint8,
    "u16": ctypes.c_uint16,
    "u32": ctypes.c_uint32,
    "u64": ctypes.c_uint64,
}
_MEMBER = re.compile(r"(u8|u16|u32|u64) (\w+)((?:\[[^\]]+\])*);?")


def defines() -> dict[str, int]:
    """The plain numbers among the macros."""
    found = re.findall(r"^#define (\w+) \(?(\d+)(?: << (\d+)\))?", HEADER, re.MULTILINE)
    return {name: int(value) << int(shift or 0) for name, value, shift in found}


def structure(name: str) -> type[ctypes.Structure]:
    """The structure ``name``, read from the text."""
    head = re.search(r"#define RULES_HEAD.*?\n(?!.*\\\n).*?\n\n", HEADER, re.DOTALL)
    assert head is not None
    found = re.search(rf"^struct {name} \{{\n(.*?)^\}};", HEADER, re.DOTALL | re.MULTILINE)
    assert found is not None, name
    text = found[1].replace("RULES_HEAD;", head[0].replace("\\\n", "\n").partition("\n")[2])
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    members = []
    for kind, member, sizes in _MEMBER.findall(text):
        of: type[ctypes.Array[ctypes.c_uint8]] | type = _KINDS[kind]
        for size in reversed(re.findall(r"\[([^\]]+)\]", sizes)):
            of = of * eval(size, {}, defines())
        members.append((member, of))
    return type(name, (ctypes.Structure,), {"_fields_": members})
