"""Fixtures with pods. A folder's conftest.py imports the ones that its tests use.

A test that uses them is marked ``needs_ebpf``, which leaves it out where pods cannot be made.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from l7proxy.demo.pods import Node


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """A node of the test module's own, without pods."""
    with Node("test") as made:
        yield made
