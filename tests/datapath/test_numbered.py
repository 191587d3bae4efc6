"""Content by number: what is in force and its successor side by side, in the kernel's own maps."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from l7proxy.compiler import head_map
from l7proxy.compiler.admission import compile_admission
from l7proxy.compiler.rules_map import SizeClass
from l7proxy.compiler.tables import Tables
from l7proxy.datapath import libbpf, objects
from l7proxy.datapath.names import EPOCHS, GRAMMARS, RULE_SETS, road_value
from l7proxy.datapath.numbered import Numbered
from l7proxy.datapath.rules import RESPONSES, RuleMaps
from l7proxy.datapath.store import Store
from l7proxy.policy.model import HeaderRule, HttpRule
from l7proxy.policy.verdict import Road
from tests.compiler.test_execute import of

pytestmark = pytest.mark.needs_ebpf


def pin_outer(path: Path, value_bytes: int, entries: int) -> None:
    """An array of maps as the loader makes it."""
    outer = objects.map_of_maps_make(path.name, entries, value_bytes)
    libbpf.obj_pin(outer, path)
    os.close(outer)


@pytest.fixture
def bpffs(tmp_path: Path) -> Iterator[Path]:
    subprocess.run(["mount", "-t", "bpf", "bpf", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def content(outer: Path, number: int, size: int) -> bytes | None:
    """What a program finds at a number."""
    fd = libbpf.obj_get(outer)
    found = libbpf.map_lookup(fd, number.to_bytes(4, sys.byteorder), 4)
    os.close(fd)
    if found is None:
        return None
    lib = ctypes.CDLL("libbpf.so.1", use_errno=True)
    inner = lib.bpf_map_get_fd_by_id(int.from_bytes(found, sys.byteorder))
    value = libbpf.map_lookup(inner, bytes(4), size)
    os.close(inner)
    return value


def test_content_is_found_by_its_number_until_it_is_retired(bpffs: Path) -> None:
    outer = bpffs / "outer"
    pin_outer(outer, 16, 4)
    numbered = Numbered(outer, 4, 16)
    one = numbered.assign("one", lambda: b"1" * 16)
    two = numbered.assign("two", lambda: b"2" * 16)
    assert one != two
    assert numbered.assign("one", lambda: pytest.fail("it is there")) == one
    assert content(outer, one, 16) == b"1" * 16
    numbered.retire({two})
    assert content(outer, one, 16) is None
    assert content(outer, two, 16) == b"2" * 16
    assert numbered.used == {two}
    assert numbered.assign("one", lambda: b"3" * 16) not in (None, two)
    numbered.close()


def test_numbers_of_an_agent_before_are_left_alone(bpffs: Path) -> None:
    outer = bpffs / "outer"
    pin_outer(outer, 16, 3)
    former = Numbered(outer, 3, 16)
    old = former.assign("old", lambda: b"o" * 16)
    former.close()
    numbered = Numbered(outer, 3, 16)
    assert numbered.used == {old}
    new = numbered.assign("new", lambda: b"n" * 16)
    assert new != old
    assert content(outer, old, 16) == b"o" * 16
    numbered.retire({new})
    assert numbered.used == {new}
    numbered.close()


def test_full(bpffs: Path) -> None:
    outer = bpffs / "outer"
    pin_outer(outer, 8, 2)
    numbered = Numbered(outer, 2, 8)
    for name in ("a", "b"):
        numbered.assign(name, lambda: bytes(8))
    with pytest.raises(OSError, match="all 2 numbers of outer are taken"):
        numbered.assign("c", lambda: bytes(8))
    numbered.close()


def test_a_value_of_another_size_is_never_written(bpffs: Path) -> None:
    outer = bpffs / "outer"
    pin_outer(outer, 8, 2)
    numbered = Numbered(outer, 2, 8)
    with pytest.raises(ValueError, match="takes 8 bytes, not 9"):
        numbered.assign("a", lambda: bytes(9))
    assert numbered.used == frozenset()
    numbered.close()


# The rules of the kernel road.


@pytest.fixture
def store(bpffs: Path) -> Store:
    pin_outer(bpffs / "grammars", head_map.VALUE_BYTES, EPOCHS * GRAMMARS + 1)
    for size in SizeClass:
        pin_outer(bpffs / f"{size.name.lower()}_rules", size.value_bytes, EPOCHS * RULE_SETS)
    return Store(bpffs, {})


def rules(path: str, *headers: bytes) -> Tables:
    asked = tuple(HeaderRule(name) for name in headers)
    return compile_admission(of(HttpRule("p", "0", path=path, headers=asked)))


def used(maps: RuleMaps) -> tuple[int, int]:
    sizes = maps.sizes()
    return sizes["kernel_rule_sets"], sizes["kernel_grammars"]


def value(maps: RuleMaps, tables: Tables) -> int:
    placed = maps.place(tables)
    return road_value(Road.KERNEL, placed.size.number, placed.number)


def test_rules_share_what_is_equal(store: Store) -> None:
    maps = RuleMaps(store)
    assert used(maps) == (0, 1)
    plain, other, keyed = rules("/a"), rules("/b"), rules("/a", b"x-key")
    assert maps.place(plain) == maps.place(rules("/a"))
    assert maps.place(plain).number != maps.place(other).number
    assert maps.place(plain).grammar == maps.place(other).grammar != RESPONSES
    assert maps.place(keyed).grammar not in (RESPONSES, maps.place(plain).grammar)
    assert used(maps) == (3, 3)
    found = content(
        store.folder / "small_rules", maps.place(keyed).number, SizeClass.SMALL.value_bytes
    )
    assert found is not None
    assert int.from_bytes(found[8:12], sys.byteorder) == maps.place(keyed).grammar


def test_rules_that_no_road_names_are_retired(store: Store) -> None:
    maps = RuleMaps(store)
    plain, keyed = value(maps, rules("/a")), value(maps, rules("/a", b"x-key"))
    splice = road_value(Road.SPLICE)
    maps.retire([plain, keyed, splice])
    assert used(maps) == (2, 3)
    maps.retire([plain, splice])
    assert used(maps) == (1, 2)
    assert value(maps, rules("/a")) == plain
    maps.retire([splice])
    assert used(maps) == (0, 1)


def test_rules_of_an_agent_before_stay_with_their_grammar(store: Store) -> None:
    former = RuleMaps(store)
    old = value(former, rules("/a", b"x-old"))
    former.close()
    maps = RuleMaps(store)
    new = value(maps, rules("/a", b"x-new"))
    assert new != old
    maps.retire([old, new])
    assert used(maps) == (2, 3)
    maps.retire([new])
    assert used(maps) == (1, 2)
