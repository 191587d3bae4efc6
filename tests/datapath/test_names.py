"""Numbers that the programs share with user space."""

from __future__ import annotations

from l7proxy.compiler.rules_map import SizeClass
from l7proxy.datapath.names import c_constants, road_value, rules_place
from l7proxy.datapath.source import assemble
from l7proxy.limits import Limits
from l7proxy.paths import bpf_dir
from l7proxy.policy.verdict import Road
from l7proxy.reasons import Reason


def test_an_entry_of_roads_names_its_rules() -> None:
    constants = c_constants()
    value = road_value(Road.KERNEL, SizeClass.LARGE.number, 4711)
    assert value & constants["ROAD_MASK"] == constants["ROAD_KERNEL"]
    assert value >> constants["RULES_CLASS_SHIFT"] & 15 == SizeClass.LARGE.number == 1
    assert value >> constants["RULES_NUMBER_SHIFT"] == 4711
    assert rules_place(value) == (1, 4711)
    assert rules_place(road_value(Road.PROXY)) is None
    assert road_value(Road.PROXY) == constants["ROAD_PROXY"]


def test_reasons_are_numbered_in_their_order() -> None:
    constants = c_constants()
    numbers = [constants[f"REASON_{reason.name}"] for reason in Reason]
    assert numbers == list(range(constants["REASON_MAX"]))


def test_limits_and_names_of_heads_are_macros() -> None:
    macros = assemble(bpf_dir(), Limits(head_bytes=2048)).macros
    assert macros["LIMIT_HEAD_BYTES"] == "2048"
    assert {f"LIMIT_{name}" for name in ("HEAD_FIELDS", "TARGET_BYTES", "TRAILER_BYTES")} <= {
        *macros
    }
    assert {"LIMIT_CHUNK_LINE_BYTES", "LIMIT_REFUSED_BODY", "HEAD_FLAG_HOST"} <= {*macros}
