"""Fixtures with pods. A folder's conftest.py imports the ones that its tests use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from l7proxy.demo import cgroups, namespaces
from l7proxy.demo.pods import Node


def can_make_pods() -> bool:
    """Whether namespaces, cgroups and mounts may be made here."""
    try:
        return namespaces.available() and cgroups.mount_point().is_dir()
    except (cgroups.CgroupError, OSError):
        return False


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """A node of the test module's own, without pods."""
    if not can_make_pods():
        pytest.skip("needs root: network namespaces, cgroups and mounts")
    with Node("test") as made:
        yield made
