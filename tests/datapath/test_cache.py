"""Compiled modules that are kept: which are used, and what becomes of those that cannot be.

Seen to fail: with ``_is_ours`` always true; with ``_make`` not trying again after a kept module
that the kernel refuses.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from l7proxy.datapath.cache import Cache
from l7proxy.datapath.compiled import Code, Compiled, MapShape
from l7proxy.datapath.loader import in_slot
from l7proxy.datapath.source import SLOT_PLACEHOLDER
from l7proxy.datapath.store import Store, open_store, remove_all
from l7proxy.demo.pods import Node
from l7proxy.limits import Limits

LD_MAP = b"\x18\x10\0\0" + b"\xff" * 4 + bytes(8)  # ld_imm64 r0, map
EXIT = b"\x95" + bytes(7)
MODULE = Compiled(
    b"BTF",
    {"state": MapShape(2, 4, 32, 1, 0, 1, 2)},
    {
        "state": {
            "key": {"size": 4, "fields": []},
            "value": {"size": 32, "fields": [["a", 0, 8, 4]]},
        }
    },
    {"on_it": Code(EXIT + LD_MAP + EXIT, ((8, "state"),))},
)
LIMITS = Limits(namespaces=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the module of build ``one``."""
    Cache(tmp_path / "cache").keep("one", MODULE.to_json())
    return tmp_path / "cache"


def kept(folder: Path, build: str = "one") -> Path:
    return folder / f"programs-{build}.json"


def test_what_is_kept_is_found(folder: Path) -> None:
    assert Cache(folder).find("one") == MODULE
    assert Cache(folder).find("two") is None
    assert (folder.stat().st_mode & 0o777, kept(folder).stat().st_mode & 0o777) == (0o700, 0o600)


def test_another_one_takes_the_place_of_the_first(folder: Path) -> None:
    other = dataclasses.replace(MODULE, types=b"other")
    Cache(folder).keep("one", other.to_json())
    assert Cache(folder).find("one") == other
    assert [path.name for path in folder.iterdir()] == ["programs-one.json"]


@pytest.mark.parametrize("of", ["folder", "file"])
@pytest.mark.parametrize("mode", [0o720, 0o702])
def test_what_others_may_write_is_not_read(folder: Path, of: str, mode: int) -> None:
    (folder if of == "folder" else kept(folder)).chmod(mode)
    assert Cache(folder).find("one") is None


@pytest.mark.parametrize("of", ["folder", "file"])
def test_what_belongs_to_another_user_is_not_read(folder: Path, of: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(folder if of == "folder" else kept(folder), 12345, -1)
    assert Cache(folder).find("one") is None


def test_links_are_not_followed(folder: Path, tmp_path: Path) -> None:
    kept(folder).rename(tmp_path / "elsewhere")
    kept(folder).symlink_to(tmp_path / "elsewhere")
    assert Cache(folder).find("one") is None
    kept(folder).unlink()
    (tmp_path / "elsewhere").rename(kept(folder))
    (tmp_path / "link").symlink_to(folder)
    assert Cache(folder).find("one") == MODULE
    assert Cache(tmp_path / "link").find("one") is None


def test_a_folder_of_others_is_not_written(folder: Path) -> None:
    folder.chmod(0o777)
    Cache(folder).keep("two", MODULE.to_json())
    assert not kept(folder, "two").exists()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"types": 1}', MODULE.to_json().replace("on_it", "\\ud800")[:-9]]
)
def test_what_is_damaged_is_not_there(folder: Path, text: str) -> None:
    kept(folder).write_text(text)
    assert Cache(folder).find("one") is None


def test_there_is_an_end_to_what_is_kept(folder: Path) -> None:
    for number in range(20):
        Cache(folder).keep(f"other-{number}", MODULE.to_json())
        os.utime(kept(folder, f"other-{number}"), (number, number))
    assert len(list(folder.iterdir())) == 8


def test_a_folder_that_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = Cache(tmp_path / "file" / "cache")
    cache.keep("one", MODULE.to_json())
    assert cache.find("one") is None
    cache.clear()


def test_clearing_leaves_what_is_not_ours(folder: Path) -> None:
    (folder / "notes").write_text("")
    Cache(folder).clear()
    assert [path.name for path in folder.iterdir()] == ["notes"]
    (folder / "notes").unlink()
    Cache(folder).clear()
    assert not folder.exists()


def test_instructions_get_their_maps() -> None:
    linked = MODULE.programs["on_it"].linked({"state": 0x01020304})
    assert linked == EXIT + LD_MAP[:4] + b"\x04\x03\x02\x01" + LD_MAP[8:] + EXIT
    with pytest.raises(KeyError):
        MODULE.programs["on_it"].linked({})


def test_each_copy_has_its_slot() -> None:
    whole = SLOT_PLACEHOLDER.to_bytes(8, "little")
    code = EXIT + b"\x18\1\0\0" + whole[:4] + bytes(4) + whole[4:] + EXIT
    assert in_slot(code, 7) == EXIT + b"\x18\1\0\0\7\0\0\0" + bytes(8) + EXIT
    with pytest.raises(ValueError, match="placeholder"):
        in_slot(EXIT * 3, 7)


def opened(node: Node, cache: Cache) -> Store:
    """Made, not adopted; nothing of it is left."""
    bpffs = node.bpffs / "cached"
    node.state.mkdir(exist_ok=True)
    try:
        store, adopted = open_store(bpffs, node.state, cache, LIMITS)
        assert not adopted
        assert store.has_kernel_road()
        return store
    finally:
        remove_all(bpffs, node.state, Cache(node.directory / "no-cache"))


@pytest.fixture(scope="module")
def good(node: Node, compiled: Path) -> tuple[str, Compiled]:
    """A build's name and its module."""
    build = opened(node, Cache(compiled)).folder.name
    module = Cache(compiled).find(build)
    assert module is not None
    return build, module


def test_a_start_takes_what_an_earlier_one_compiled(
    node: Node, good: tuple[str, Compiled], tmp_path: Path
) -> None:
    build, module = good
    marked = dataclasses.replace(module, layouts=module.layouts | {"mark": {}})
    cache = Cache(tmp_path / "cache")
    cache.keep(build, marked.to_json())
    assert opened(node, cache).layouts == marked.layouts


@pytest.mark.parametrize("damage", ["a program", "a map", "a name"])
def test_a_kept_module_that_cannot_be_loaded_is_made_anew(
    node: Node, good: tuple[str, Compiled], tmp_path: Path, damage: str
) -> None:
    build, module = good
    programs, maps = dict(module.programs), dict(module.maps)
    if damage == "a program":
        programs["on_send"] = Code(EXIT, ())
    elif damage == "a map":
        maps["state"] = dataclasses.replace(maps["state"], value_size=0)
    else:
        del maps["state"]
    cache = Cache(tmp_path / "cache")
    cache.keep(build, dataclasses.replace(module, programs=programs, maps=maps).to_json())
    assert opened(node, cache).layouts == module.layouts
    again = cache.find(build)
    assert again is not None
    assert (again.programs, again.maps) == (module.programs, module.maps)
