"""Fixtures with pods. A folder's conftest.py imports the ones that its tests use.

A test that uses them is marked ``needs_ebpf``, which leaves it out where pods cannot be made.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from l7proxy.demo.pods import Node


@pytest.fixture(scope="module")
def node(compiled: Path) -> Iterator[Node]:
    """A node of the test module's own, without pods."""
    with Node("test", compiled) as made:
        yield made
